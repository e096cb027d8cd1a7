// The parts that an answer is written from, and the facts about it that are logged.

import type { ResolvedSubject } from '../engine/engine.ts';
import type { CompiledFilter } from '../engine/filters.ts';
import type { Hits, HitsPlan } from '../retrieve/hits.ts';
import type { PipelineRequest } from '../request/request-types.ts';
import type { AnswerDegradation } from '../request/response-types.ts';

/** Why the store could not read a state; undefined if it read the state or the user has none. */
export type StateFailure = 'store_unavailable' | 'store_corrupt' | undefined;

/** The user's state as the answer reports it. */
export interface ReportedState {
  readonly status: 'fresh' | 'stale' | 'missing' | 'version_mismatch';
  /** Seconds since the state was known to be complete; null without a state. */
  readonly ageSeconds: number | null;
}

export interface AnswerParts<R extends PipelineRequest = PipelineRequest> {
  readonly request: R;
  readonly requestId: string;
  readonly subject: ResolvedSubject;
  readonly filter: CompiledFilter | undefined;
  readonly state: ReportedState;
  readonly degraded: AnswerDegradation | undefined;
  /** [D] query embedding, valid until the answer is written. */
  readonly embedding: Float32Array;
  readonly hits: Hits;
  /** Requests in the micro-batch. */
  readonly batchSize: number;
  /** Milliseconds in each stage. */
  readonly stagesMs: Readonly<Record<string, number>>;
}

/** What the access log records about an answer. */
export interface AnswerFacts {
  readonly user: string;
  readonly bundleId: string;
  readonly state: ReportedState;
  readonly degraded: AnswerDegradation | undefined;
  readonly plan: HitsPlan;
  /** Candidates or scores in the answer. */
  readonly items: number;
}
