// A request from its arrival to its answer.

import type { AnswerFacts } from './answer-parts.ts';
import type { Endpoint } from './endpoint.ts';
import type { Stage } from '../metrics/metrics.ts';
import type { PipelineRequest } from '../request/request-types.ts';
import type { ResolvedQuery } from '../retrieve/resolved-query.ts';

/** The answer of a request. */
export interface Answer<Body = unknown> {
  /** As the endpoint wrote it. */
  readonly body: Body;
  /** Milliseconds in each stage. */
  readonly stagesMs: Readonly<Record<Stage, number>>;
  readonly facts: AnswerFacts;
}

/** Whoever waits for an answer: a connection. */
export interface Caller {
  /** Whether the client has disconnected. */
  readonly aborted: boolean;
}

/** A request that waits for its answer. */
export interface Pending {
  readonly endpoint: Endpoint<PipelineRequest, unknown>;
  readonly request: PipelineRequest;
  readonly requestId: string;
  readonly caller: Caller;
  readonly parseMs: number;
  readonly queuedAtMs: number;
  /** From then on the client does not wait for the answer any more. */
  readonly deadlineMs: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * The bundle that answers a request:
 * - `current`: the active bundle.
 * - `previous`: the bundle before it, because its encoder made the user's state.
 * - `mismatch`: the active bundle without that state, because the bundle before it does not know
 *   the item of the request.
 */
export type BundleVersion = 'current' | 'previous' | 'mismatch';

/** A request whose ids were replaced by rows of the bundle that answers it. */
export interface Resolved extends Pending, ResolvedQuery {
  readonly request: PipelineRequest;
  readonly version: BundleVersion;
}
