// A request from its arrival until it is answered.

import type { AnswerFacts } from './answer-parts.ts';
import type { Endpoint } from './endpoint.ts';
import type { Stage } from '../metrics/metrics.ts';
import type { PipelineRequest } from '../request/request-types.ts';
import type { ResolvedQuery } from '../retrieve/resolved-query.ts';

/** A request's answer: the body as its endpoint wrote it, and where its time went. */
export interface Answer<Body = unknown> {
  readonly body: Body;
  readonly stagesMs: Readonly<Record<Stage, number>>;
  readonly facts: AnswerFacts;
}

/** Anything that can tell that nobody waits for the answer any more. */
export interface Caller {
  readonly aborted: boolean;
}

export interface Pending {
  readonly endpoint: Endpoint<PipelineRequest, unknown>;
  readonly request: PipelineRequest;
  readonly requestId: string;
  readonly caller: Caller;
  readonly parseMs: number;
  readonly queuedAtMs: number;
  /** Once it is over, nobody wants the answer. */
  readonly deadlineMs: number;
  readonly resolve: (answer: Answer<never>) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Which bundle a request is answered from: the current one; the previous one, whose encoder made the user's state; or the
 * current one without that state, because the previous one does not know what the request names.
 */
export type BundleVersion = 'current' | 'previous' | 'mismatch';

/** A request whose ids became rows of the bundle. */
export interface Resolved extends Pending, ResolvedQuery {
  readonly request: PipelineRequest;
  readonly version: BundleVersion;
}
