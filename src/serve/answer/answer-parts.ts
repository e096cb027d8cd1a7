// What an answer is written from, and what it says about itself.

import type { ResolvedSubject } from '../engine/engine.ts';
import type { CompiledFilter } from '../engine/filters.ts';
import type { Hits, HitsPlan } from '../retrieve/hits.ts';
import type { PipelineRequest } from '../request/request-types.ts';

/** Why the store could not read a state; undefined when it read the state or there is none. */
export type StateFailure = 'store_unavailable' | 'store_corrupt' | undefined;

export interface StateSummary {
  readonly status: 'fresh' | 'stale' | 'missing' | 'version_mismatch';
  readonly ageSeconds: number | null;
}

/** What an answer was computed without, and why. */
export interface Degradation {
  readonly mode: 'previous-bundle' | 'context-only' | 'popular';
  readonly reason: string;
}

export interface AnswerParts<R extends PipelineRequest = PipelineRequest> {
  readonly request: R;
  readonly requestId: string;
  readonly subject: ResolvedSubject;
  readonly filter: CompiledFilter | undefined;
  readonly state: StateSummary;
  readonly degraded: Degradation | undefined;
  /** [D] query embedding; valid until the answer is written. */
  readonly embedding: Float32Array;
  readonly hits: Hits;
  readonly batchSize: number;
  readonly stagesMs: Readonly<Record<string, number>>;
}

/** What the access log records about an answer. */
export interface AnswerFacts {
  readonly user: string;
  readonly bundleId: string;
  readonly state: StateSummary;
  readonly degraded: Degradation | undefined;
  readonly plan: HitsPlan;
  /** Candidates or scores in the answer. */
  readonly items: number;
}
