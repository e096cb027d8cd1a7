// Which index answers a search: every allowed vector where they are few, the bundle's index where they are not, and the
// exact scan again where a graph falls short under a filter.

import {
  nativeAddon,
  type NativeExactIndex,
  type SearchOutput,
  type Ticket,
} from '../native/binding.ts';
import type { AllowList } from './allow-list.ts';
import {
  attachIndex,
  NATIVE_SEARCH,
  type ApproximateIndex,
  type SharedIndex,
} from './approximate-index.ts';
import { newSearchOutput, type SearchMode, type SearchPlan } from './search-plan.ts';

/**
 * Vectors that an exact scan may touch before the bundle's index takes over: a count, for catalogues and for filters
 * alike. `npm run bench -- retrieval filters` measures both sides of it.
 */
export const EXACT_LIMIT = 20_000;
/**
 * A filter's rows are scored one by one, which costs as many reads as there are; under the same filter the index must
 * look at about k / selectivity items around the query. The two meet where allowed = sqrt(FILTERED_READS k N).
 */
const FILTERED_READS = 4;
/** Scoring one row by itself costs about as much as eight in a scan. */
const DENSE_FRACTION = 8;

export type PlanMode = 'auto' | 'exact' | 'approximate';

export interface PlannedIndexOptions {
  /** Scan of all vectors; also scores given items. */
  readonly exact: NativeExactIndex;
  /** Index over the same vectors, row for row. */
  readonly approximate?: ApproximateIndex | undefined;
  /** `auto` decides for each search; the others force one plan (approximate still falls back when it falls short). */
  readonly plan?: PlanMode | undefined;
  /** EXACT_LIMIT unless a measurement on your machine says otherwise. */
  readonly exactLimit?: number | undefined;
}

/** Whether a search without a filter scans every vector: then 8-bit codes of them are worth their memory. */
export function scansAll(size: number, plan: PlanMode): boolean {
  return plan === 'exact' || (plan === 'auto' && size <= EXACT_LIMIT);
}

/** A planned index on its way to another thread, good for one. */
export interface SharedPlan {
  readonly exact: Ticket<NativeExactIndex>;
  readonly approximate: SharedIndex | undefined;
  readonly plan: PlanMode;
  readonly exactLimit: number;
}

// One object for each outcome: nothing is allocated on the request path.
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
  /** N. */
  readonly size: number;
  /** D. */
  readonly dimensions: number;
  readonly #exact: NativeExactIndex;
  readonly #approximate: ApproximateIndex | undefined;
  readonly #mode: PlanMode;
  readonly #exactLimit: number;

  /** @throws RangeError when the two indexes differ in size, or `approximate` is forced without an index. */
  constructor(options: PlannedIndexOptions) {
    const { exact, approximate, plan = 'auto' } = options;
    if (
      approximate !== undefined &&
      (approximate.size !== exact.size || approximate.dimensions !== exact.dimensions)
    )
      throw new RangeError(
        `Expected an index of ${exact.size} x ${exact.dimensions} like the vectors, received ${approximate.size} x ${approximate.dimensions}.`,
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
    this.#exactLimit = options.exactLimit ?? EXACT_LIMIT;
  }

  share(): SharedPlan {
    return {
      exact: this.#exact.share(),
      approximate: this.#approximate?.share(),
      plan: this.#mode,
      exactLimit: this.#exactLimit,
    };
  }

  /** @param vectors - this thread's view of the indexed vectors, in shared memory. */
  static attach({ exact, approximate, ...rest }: SharedPlan, vectors: Float32Array): PlannedIndex {
    return new PlannedIndex({
      ...rest,
      exact: new (nativeAddon().ExactIndex)(vectors, exact),
      approximate: approximate && attachIndex(approximate, vectors),
    });
  }

  /**
   * The best k allowed items for each of B queries, by inner product, ties by lower row.
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

    // The indexes fill rows of min(k, size); spread them over the caller's rows of k.
    const width = this.size;
    const narrow = newSearchOutput(count, width);
    const plan = await this.#search(queries, count, width, allow, narrow, mode);
    out.rows.fill(-1, 0, count * k);
    out.scores.fill(Number.NEGATIVE_INFINITY, 0, count * k);
    for (let row = 0; row < count; row++) {
      out.rows.set(narrow.rows.subarray(row * width, (row + 1) * width), row * k);
      out.scores.set(narrow.scores.subarray(row * width, (row + 1) * width), row * k);
      out.counts[row] = narrow.counts[row]!;
    }
    return plan;
  }

  /** The true best of one query, off this thread: at most k rows, best first. Leave query and allow list alone meanwhile. */
  async nearest(query: Float32Array, k: number, allow: AllowList | null): Promise<Int32Array> {
    const out = newSearchOutput(1, Math.min(k, this.size));
    await this.#exact.searchAsync(query, 1, out.rows.length, allow?.words ?? null, out);
    return out.rows.subarray(0, out.counts[0]);
  }

  /** Inner products of one query [D] with the given rows; out [rows.length]. */
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
      let short = false;
      for (let row = 0; row < count; row++) short ||= out.counts[row]! < wanted;
      if (!short) return chosen;
    }
    const narrow = allow !== null && allowed < this.size / DENSE_FRACTION;
    const allowedItems = narrow ? allow.rows() : (allow?.words ?? null);
    await this.#exact[NATIVE_SEARCH[mode]](queries, count, k, allowedItems, out);
    return chosen.plan === 'exact' ? chosen : FELL_SHORT;
  }

  #choose(allowed: number, k: number): SearchPlan {
    if (this.#mode === 'exact') return FORCED_EXACT;
    const approximate = this.#approximate;
    if (this.#mode === 'approximate') return FORCED[approximate!.kind];
    const limit =
      allowed === this.size
        ? this.#exactLimit
        : Math.max(this.#exactLimit / DENSE_FRACTION, Math.sqrt(FILTERED_READS * k * this.size));
    if (allowed <= limit) return FEW_VECTORS;
    return approximate === undefined ? NO_INDEX : MANY_VECTORS[approximate.kind];
  }
}
