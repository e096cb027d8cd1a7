// Decides which index answers a search: an exact scan if few vectors are allowed, else the bundle's
// approximate index, and the exact scan again if a graph finds too few items under a filter.

import { nativeAddon } from '../native/addon.ts';
import type { NativeExactIndex } from '../native/exact-index.ts';
import type { SearchOutput } from '../native/search-output.ts';
import type { Ticket } from '../native/ticket.ts';
import type { AllowList } from './allow-list.ts';
import {
  attachIndex,
  NATIVE_SEARCH,
  type ApproximateIndex,
  type SharedIndex,
} from './approximate-index.ts';
import { newSearchOutput, type SearchMode, type SearchPlan } from './search-plan.ts';

/**
 * Most vectors that an exact scan may read before the bundle's index takes over. It is a count, not
 * a share, for catalogues and for filters. `npm run bench -- retrieval filters` measures both sides
 * of it.
 */
export const EXACT_LIMIT = 20_000;
/**
 * The allowed rows of a filter are scored one by one, which costs one read each. Under the same
 * filter the index must look at about k / selectivity items around the query. The costs are equal
 * at allowed = sqrt(FILTERED_READS k N).
 */
const FILTERED_READS = 4;
/** Scoring one row by itself costs about as much as eight rows in a scan. */
const DENSE_FRACTION = 8;

export type PlanMode = 'auto' | 'exact' | 'approximate';

export interface PlannedIndexOptions {
  /** The exact scan; it also scores given items. */
  readonly exact: NativeExactIndex;
  /** The approximate index over the same vectors in the same order. */
  readonly approximate?: ApproximateIndex | undefined;
  /**
   * `auto` decides for each search. The others force one plan, but `approximate` still falls back
   * to the scan if a graph finds too few.
   */
  readonly plan?: PlanMode | undefined;
}

/**
 * Whether a search without a filter scans every vector. Then 8-bit codes of the vectors are worth
 * their memory.
 */
export function scansAll(size: number, plan: PlanMode): boolean {
  return plan === 'exact' || (plan === 'auto' && size <= EXACT_LIMIT);
}

/** A planned index that is passed to another thread, which can attach() it once. */
export interface SharedPlan {
  readonly exact: Ticket<NativeExactIndex>;
  readonly approximate: SharedIndex | undefined;
  readonly plan: PlanMode;
}

// One object for each outcome, so that the request path allocates none.
const FORCED_EXACT: SearchPlan = { plan: 'exact', reason: 'forced' };
const FEW_VECTORS: SearchPlan = { plan: 'exact', reason: 'few-vectors' };
const NO_INDEX: SearchPlan = { plan: 'exact', reason: 'no-index' };
const FELL_SHORT: SearchPlan = { plan: 'exact', reason: 'index-fell-short' };
const FORCED = {
  clusters: { plan: 'clusters', reason: 'forced' },
  hnsw: { plan: 'hnsw', reason: 'forced' },
} as const;
const MANY_VECTORS = {
  clusters: { plan: 'clusters', reason: 'many-vectors' },
  hnsw: { plan: 'hnsw', reason: 'many-vectors' },
} as const;

export class PlannedIndex {
  /** N, number of vectors. */
  readonly size: number;
  /** D, width of a vector. */
  readonly dimensions: number;
  readonly #exact: NativeExactIndex;
  readonly #approximate: ApproximateIndex | undefined;
  readonly #mode: PlanMode;

  /**
   * @throws RangeError when the two indexes differ in size, or `approximate` is forced without an
   *   index.
   */
  constructor(options: PlannedIndexOptions) {
    const { exact, approximate, plan = 'auto' } = options;
    if (
      approximate !== undefined &&
      (approximate.size !== exact.size || approximate.dimensions !== exact.dimensions)
    )
      throw new RangeError(
        `Expected an index of ${exact.size} x ${exact.dimensions} like the vectors, ` +
          `received ${approximate.size} x ${approximate.dimensions}.`,
      );
    if (plan === 'approximate' && approximate === undefined)
      throw new RangeError(
        'Expected an index for plan "approximate", received none: use "auto" or "exact".',
      );
    this.size = exact.size;
    this.dimensions = exact.dimensions;
    this.#exact = exact;
    this.#approximate = approximate;
    this.#mode = plan;
  }

  /** Prepares the index for another thread. */
  share(): SharedPlan {
    return {
      exact: this.#exact.share(),
      approximate: this.#approximate?.share(),
      plan: this.#mode,
    };
  }

  /**
   * Makes the index that another thread has shared.
   *
   * @param vectors - this thread's view of the indexed vectors, in shared memory.
   */
  static attach({ exact, approximate, plan }: SharedPlan, vectors: Float32Array): PlannedIndex {
    return new PlannedIndex({
      plan,
      exact: new (nativeAddon().ExactIndex)(vectors, exact),
      approximate: approximate && attachIndex(approximate, vectors),
    });
  }

  /**
   * Finds the best k allowed items for each of B queries, by inner product, ties by lower row.
   *
   * A query has fewer than k hits only if fewer items are allowed; counts[b] states how many. k may
   * exceed the size of the index.
   *
   * @param queries - [B, D] f32 unit rows.
   * @param count - B.
   * @param allow - one list for all B queries; null allows every item.
   * @param out - arrays of at least [B, k], written in full, owned by the caller.
   * @param mode - for `async`, do not change the arrays until the promise resolves.
   * @returns which plan answered, and why.
   * @throws RangeError for sizes that do not fit; ERR_NON_FINITE for a query that is NaN, infinite
   *   or zero.
   */
  async search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: AllowList | null,
    out: SearchOutput,
    mode: SearchMode,
  ): Promise<SearchPlan> {
    if (!Number.isInteger(k) || k < 1)
      throw new RangeError(`Expected k >= 1 for a search, received ${k}.`);
    if (allow !== null && allow.size !== this.size)
      throw new RangeError(
        `Expected an allow list of ${this.size} items, received one of ${allow.size}.`,
      );
    if (k <= this.size) return this.#search(queries, count, k, allow, out, mode);

    // The indexes find at most `size` hits a query; copy them into the caller's rows of k.
    const width = this.size;
    const found = newSearchOutput(count, width);
    const plan = await this.#search(queries, count, width, allow, found, mode);
    out.rows.fill(-1, 0, count * k);
    out.scores.fill(Number.NEGATIVE_INFINITY, 0, count * k);
    for (let q = 0; q < count; q++) {
      out.rows.set(found.rows.subarray(q * width, (q + 1) * width), q * k);
      out.scores.set(found.scores.subarray(q * width, (q + 1) * width), q * k);
      out.counts[q] = found.counts[q]!;
    }
    return plan;
  }

  /**
   * Finds the true best items of one query, on a worker thread. Do not change query and allow list
   * until the promise resolves.
   *
   * @returns at most k rows, best first.
   */
  async nearest(query: Float32Array, k: number, allow: AllowList | null): Promise<Int32Array> {
    const out = newSearchOutput(1, Math.min(k, this.size));
    await this.#exact.searchAsync(query, 1, out.rows.length, allow?.words ?? null, out);
    return out.rows.subarray(0, out.counts[0]);
  }

  /** Writes the inner products of one query [D] with the given rows into out [rows.length]. */
  score(query: Float32Array, rows: Int32Array, out: Float32Array): void {
    this.#exact.score(query, rows, out);
  }

  async #search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: AllowList | null,
    out: SearchOutput,
    mode: SearchMode,
  ): Promise<SearchPlan> {
    const allowed = allow === null ? this.size : allow.count;
    const chosen = this.#choose(allowed, k);
    if (chosen.plan !== 'exact') {
      const words = allow === null ? null : allow.words;
      await this.#approximate!.search(queries, count, k, words, allowed / this.size, out, mode);
      const wanted = Math.min(k, allowed);
      let isShort = false;
      for (let q = 0; q < count; q++) isShort ||= out.counts[q]! < wanted;
      if (!isShort) return chosen;
    }
    const isSparse = allow !== null && allowed < this.size / DENSE_FRACTION;
    const allowedItems = isSparse ? allow.rows() : (allow?.words ?? null);
    await this.#exact[NATIVE_SEARCH[mode]](queries, count, k, allowedItems, out);
    return chosen.plan === 'exact' ? chosen : FELL_SHORT;
  }

  #choose(allowed: number, k: number): SearchPlan {
    if (this.#mode === 'exact') return FORCED_EXACT;
    const approximate = this.#approximate;
    if (this.#mode === 'approximate') return FORCED[approximate!.kind];
    const limit =
      allowed === this.size
        ? EXACT_LIMIT
        : Math.max(EXACT_LIMIT / DENSE_FRACTION, Math.sqrt(FILTERED_READS * k * this.size));
    if (allowed <= limit) return FEW_VECTORS;
    return approximate === undefined ? NO_INDEX : MANY_VECTORS[approximate.kind];
  }
}
