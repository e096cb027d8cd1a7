// What retrieval offers to the request path: the best items for query embeddings, and how they were found.

import type { SearchOutput } from '../native/binding.ts';
import type { AllowList } from './allow-list.ts';
import type { IndexKind } from './approximate-index.ts';

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
export type SearchPlace = 'here' | 'apart';

export interface CandidateIndex {
  /** N. */
  readonly size: number;
  /** D. */
  readonly dimensions: number;
  /**
   * The best k allowed items for each of B queries, by inner product, ties by lower slot.
   *
   * Fewer than k only when fewer are allowed: then counts[b] says how many. k may exceed the size of the index.
   *
   * @param queries - [B, D] f32 unit rows.
   * @param count - B.
   * @param allow - one list for all B queries; null allows every item.
   * @param out - arrays of at least [B, k], written in full; owned by the caller.
   * @returns how the answer was found and why so.
   * @throws RangeError for sizes that do not fit; ERR_NON_FINITE for a query that is NaN, infinite or zero.
   */
  search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: AllowList | null,
    out: SearchOutput,
    place: SearchPlace,
  ): Promise<SearchPlan>;
  /** Inner products of one query [D] with the given slots; out [slots.length]. */
  score(query: Float32Array, slots: Int32Array, out: Float32Array): void;
}

/** Arrays for the results of B queries. */
export function newSearchOutput(count: number, k: number): SearchOutput {
  return {
    slots: new Int32Array(count * k).fill(-1),
    scores: new Float32Array(count * k).fill(Number.NEGATIVE_INFINITY),
    counts: new Int32Array(count),
  };
}
