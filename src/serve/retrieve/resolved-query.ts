// What retrieval needs to know of a request.

import type { ResolvedSubject } from '../engine/engine.ts';
import type { LiveFilter } from '../engine/live-items.ts';
import type { PipelineRequest } from '../request/request-types.ts';

/** A request whose ids were replaced by rows of the bundle. */
export interface ResolvedQuery {
  readonly request: PipelineRequest;
  readonly subject: ResolvedSubject;
  readonly filter: LiveFilter | undefined;
  /** Rows that must not be in the answer. */
  readonly excluded: ReadonlySet<number>;
}
