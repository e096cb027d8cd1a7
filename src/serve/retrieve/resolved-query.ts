import type { ResolvedSubject } from '../engine/engine.ts';
import type { LiveFilter } from '../engine/live-items.ts';
import type { PipelineRequest } from '../request/request-types.ts';

/** What a request asks for, in rows of the bundle. */
export interface ResolvedQuery {
  readonly request: PipelineRequest;
  readonly subject: ResolvedSubject;
  readonly filter: LiveFilter | undefined;
  /** Rows that must not come back. */
  readonly excluded: ReadonlySet<number>;
}
