// How a search runs, and how its hits were found.

import type { SearchOutput } from '../native/search-output.ts';

/** Kinds of approximate indexes that a bundle can have. */
export type IndexKind = 'clusters' | 'hnsw';

/**
 * `exact`: every allowed vector was read. Else the kind of the bundle's index, whose recall the
 * bundle states.
 */
export type PlanName = 'exact' | IndexKind;

export type PlanReason =
  /** The settings ask for this plan. */
  | 'forced'
  /** So few vectors are allowed, by size or by filter, that reading all of them is cheap. */
  | 'few-vectors'
  /** More vectors are allowed than an exact scan should read. */
  | 'many-vectors'
  /** The bundle's index was not loaded. */
  | 'no-index'
  /** The index found fewer items than asked for and allowed, so the exact scan answered. */
  | 'index-fell-short';

/** The plan that answered a search. */
export interface SearchPlan {
  readonly plan: PlanName;
  readonly reason: PlanReason;
}

/**
 * Where a search runs. `inline`: on the calling thread, before search() returns. `async`: on a
 * thread of libuv's pool; do not change the arrays and the allow list until the promise resolves.
 */
export type SearchMode = 'inline' | 'async';

/** New arrays for the best k hits of each of `count` queries. */
export function newSearchOutput(count: number, k: number): SearchOutput {
  return {
    rows: new Int32Array(count * k).fill(-1),
    scores: new Float32Array(count * k).fill(Number.NEGATIVE_INFINITY),
    counts: new Int32Array(count),
  };
}
