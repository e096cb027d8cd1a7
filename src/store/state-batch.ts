// The states of a micro-batch of users as flat arrays, which the caller owns and reuses. A store
// fills them; the request path and the batch job read them.

import type { HistoryBoosts } from '../features/item-frequency.ts';

/** States of a micro-batch of C users. */
export interface StateBatch {
  /** D. */
  readonly dimensions: number;
  /** [C, R, D] f32; R is the largest number of rows that a state may have. */
  readonly states: Float32Array;
  /** [C] rows of each state; 0 where no state was found. */
  readonly lengths: Int32Array;
  /** [C, M] items with a history boost; M = 0 when the caller does not read boosts. */
  readonly boostedItems: Int32Array;
  /** [C, M] what is added to the score of each of those items. */
  readonly boosts: Float32Array;
  /** [C] number of boosted items; undefined content where no state was found. */
  readonly boostCounts: Int32Array;
  /** [C] Unix seconds; NaN where no state was found. */
  readonly lastEventSeconds: Float64Array;
  /** [C] Unix seconds; NaN where no state was found. */
  readonly encodedAtSeconds: Float64Array;
}

/**
 * Allocates the arrays of a batch.
 *
 * @param count - C, users.
 * @param dimensions - D, width of a state's row.
 * @param rows - R, the largest number of rows of a state.
 * @param boosted - M, the largest number of boosted items of a user.
 */
export function newStateBatch(
  count: number,
  dimensions: number,
  rows = 1,
  boosted = 0,
): StateBatch {
  return {
    dimensions,
    states: new Float32Array(count * rows * dimensions),
    lengths: new Int32Array(count),
    boostedItems: new Int32Array(count * boosted),
    boosts: new Float32Array(count * boosted),
    boostCounts: new Int32Array(count),
    lastEventSeconds: new Float64Array(count).fill(Number.NaN),
    encodedAtSeconds: new Float64Array(count).fill(Number.NaN),
  };
}

/** State of user `index` of a batch: a view [L, D], empty where no state was found. */
export function stateOf(batch: StateBatch, index: number): Float32Array {
  const { states, lengths, dimensions } = batch;
  const begin = index * (states.length / lengths.length);
  return states.subarray(begin, begin + lengths[index]! * dimensions);
}

const NO_BOOSTS: HistoryBoosts = { items: new Int32Array(0), boosts: new Float32Array(0) };

/** History boosts of user `index` of a batch: views, empty where there are none. */
export function boostsOf(batch: StateBatch, index: number): HistoryBoosts {
  const { lengths, boostedItems, boosts, boostCounts } = batch;
  if (lengths[index] === 0 || boostCounts[index] === 0) return NO_BOOSTS;
  const begin = index * (boostedItems.length / boostCounts.length);
  const end = begin + boostCounts[index]!;
  return { items: boostedItems.subarray(begin, end), boosts: boosts.subarray(begin, end) };
}

/** User `index` of a batch as a batch of one user, over the same memory. */
export function onlyState(batch: StateBatch, index: number): StateBatch {
  const { lengths, dimensions } = batch;
  const own = <T extends Float32Array | Float64Array | Int32Array>(values: T): T => {
    const size = values.length / lengths.length;
    return values.subarray(index * size, (index + 1) * size) as T;
  };
  return {
    dimensions,
    states: own(batch.states),
    lengths: own(lengths),
    boostedItems: own(batch.boostedItems),
    boosts: own(batch.boosts),
    boostCounts: own(batch.boostCounts),
    lastEventSeconds: own(batch.lastEventSeconds),
    encodedAtSeconds: own(batch.encodedAtSeconds),
  };
}

/** Marks user `index` as having no state; the values stay as they were. */
export function markMissing(batch: StateBatch, index: number): void {
  batch.lengths[index] = 0;
  batch.encodedAtSeconds[index] = Number.NaN;
  batch.lastEventSeconds[index] = Number.NaN;
}
