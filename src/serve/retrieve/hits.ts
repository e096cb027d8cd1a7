// What retrieval finds for one request.

import type { PlanName, PlanReason } from '../../retrieval/search-plan.ts';

/** Hits of one request, best first. */
export interface RankedHits {
  /** [n] rows of LiveItems. */
  readonly rows: Int32Array;
  /** [n] scores; higher is better. */
  readonly scores: Float32Array;
}

/**
 * How hits were found: by an index, by popularity, or not at all because the request asks for none.
 */
export type HitsPlan = PlanName | 'popular' | 'none';

export type HitsPlanReason = PlanReason | 'given-items' | 'no-history-no-context' | 'not-asked';

/**
 * The hits of a request for candidates, best first. For a request with given items: one entry for
 * each item in the order of the request, with row -1 and score NaN for an item that the bundle
 * lacks.
 */
export interface Hits extends RankedHits {
  readonly plan: HitsPlan;
  readonly planReason: HitsPlanReason;
}
