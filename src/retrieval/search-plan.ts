// How a search runs and how its answer was found.

import type { SearchOutput } from '../native/binding.ts';

/** Kinds of approximate indexes that a bundle can have. */
export type IndexKind = 'clusters' | 'hnsw';

/** exact: every allowed vector was looked at; else the kind of the bundle's index, whose recall the bundle states. */
export type PlanName = 'exact' | IndexKind;

export type PlanReason =
  /** The configuration asks for this plan. */
  | 'forced'
  /** So few vectors are allowed, by size or by filter, that looking at all of them is cheap. */
  | 'few-vectors'
  /** More vectors than an exact scan should touch. */
  | 'many-vectors'
  /** The bundle's index was not loaded. */
  | 'no-index'
  /** The index gave fewer items than asked for and allowed, so the exact scan answered. */
  | 'index-fell-short';

export interface SearchPlan {
  readonly plan: PlanName;
  readonly reason: PlanReason;
}

/**
 * Where a search runs: on the calling thread, before search() returns; or apart from it, on a thread of libuv's pool: then the arrays
 * and the list must be left alone until it resolves.
 */
export type SearchMode = 'inline' | 'async';

/** Arrays for the results of B queries. */
export function newSearchOutput(count: number, k: number): SearchOutput {
  return {
    rows: new Int32Array(count * k).fill(-1),
    scores: new Float32Array(count * k).fill(Number.NEGATIVE_INFINITY),
    counts: new Int32Array(count),
  };
}
