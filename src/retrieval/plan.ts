// Which index answers a search: the exact scan where it is cheap, the graph where it is not, and the scan again where
// the graph falls short under a filter.

import type { NativeExactIndex, NativeHnswIndex, SearchOutput } from '../native/binding.ts';
import type { AllowList } from './allow-list.ts';
import { newSearchOutput, type CandidateIndex, type SearchPlan } from './candidate-index.ts';

/**
 * Vectors that an exact scan may touch before the graph takes over: a count, for catalogues and for filters alike.
 *
 * Measured on 2 busy AVX2 cores, width 64, k = 100, ms a query, scan alone / scan in a batch of 32 / graph at
 * expansion 128 and 256: 20,000 vectors 1.3 / 0.5 / 0.8 and 1.4; 50,000 vectors 2.5 / 0.8 / 0.5 and 0.8. At 20,000 the scan
 * costs about as much as the graph and misses nothing.
 */
export const EXACT_LIMIT = 20_000;

export interface PlannedIndexOptions {
  /** Scan of all vectors; also scores given items. */
  readonly exact: NativeExactIndex;
  /** Graph over the same vectors, slot for slot. */
  readonly hnsw?: NativeHnswIndex | undefined;
  /** BundleManifest.index.expansionSearch. */
  readonly expansionSearch: number;
  /** `auto` decides for each search; the others force one plan (hnsw still falls back when it falls short). */
  readonly plan?: 'auto' | 'exact' | 'hnsw' | undefined;
  /** EXACT_LIMIT unless a measurement on your machine says otherwise. */
  readonly exactLimit?: number | undefined;
}

// One object for each outcome: nothing is allocated on the request path.
const FORCED_EXACT: SearchPlan = { plan: 'exact', reason: 'forced' };
const FORCED_HNSW: SearchPlan = { plan: 'hnsw', reason: 'forced' };
const FEW_VECTORS: SearchPlan = { plan: 'exact', reason: 'few-vectors' };
const MANY_VECTORS: SearchPlan = { plan: 'hnsw', reason: 'many-vectors' };
const NO_GRAPH: SearchPlan = { plan: 'exact', reason: 'no-graph' };
const FELL_SHORT: SearchPlan = { plan: 'exact', reason: 'graph-fell-short' };

export class PlannedIndex implements CandidateIndex {
  readonly size: number;
  readonly dimensions: number;
  readonly #exact: NativeExactIndex;
  readonly #hnsw: NativeHnswIndex | undefined;
  readonly #expansionSearch: number;
  readonly #mode: 'auto' | 'exact' | 'hnsw';
  readonly #exactLimit: number;

  /** @throws RangeError when the two indexes differ in size, or hnsw is forced without a graph. */
  constructor(options: PlannedIndexOptions) {
    const { exact, hnsw, plan = 'auto' } = options;
    if (hnsw !== undefined && (hnsw.size !== exact.size || hnsw.dimensions !== exact.dimensions))
      throw new RangeError(
        `Expected a graph of ${exact.size} x ${exact.dimensions} like the vectors, received ${hnsw.size} x ${hnsw.dimensions}.`,
      );
    if (plan === 'hnsw' && hnsw === undefined)
      throw new RangeError(
        'Expected a graph for plan "hnsw", received none: use "auto" or "exact".',
      );
    this.size = exact.size;
    this.dimensions = exact.dimensions;
    this.#exact = exact;
    this.#hnsw = hnsw;
    this.#expansionSearch = options.expansionSearch;
    this.#mode = plan;
    this.#exactLimit = options.exactLimit ?? EXACT_LIMIT;
  }

  search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: AllowList | null,
    out: SearchOutput,
  ): SearchPlan {
    if (!Number.isInteger(k) || k < 1)
      throw new RangeError(`Expected k >= 1 for a search, received ${k}.`);
    if (allow !== null && allow.size !== this.size)
      throw new RangeError(
        `Expected an allow list of ${this.size} items, received one of ${allow.size}.`,
      );
    if (k <= this.size) return this.#search(queries, count, k, allow, out);

    // The indexes fill rows of min(k, size); spread them over the caller's rows of k.
    const width = this.size;
    const narrow = newSearchOutput(count, width);
    const plan = this.#search(queries, count, width, allow, narrow);
    out.slots.fill(-1, 0, count * k);
    out.scores.fill(Number.NEGATIVE_INFINITY, 0, count * k);
    for (let row = 0; row < count; row++) {
      out.slots.set(narrow.slots.subarray(row * width, (row + 1) * width), row * k);
      out.scores.set(narrow.scores.subarray(row * width, (row + 1) * width), row * k);
      out.counts[row] = narrow.counts[row]!;
    }
    return plan;
  }

  score(query: Float32Array, slots: Int32Array, out: Float32Array): void {
    this.#exact.score(query, slots, out);
  }

  #search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: AllowList | null,
    out: SearchOutput,
  ): SearchPlan {
    const allowed = allow === null ? this.size : allow.count;
    const words = allow === null ? null : allow.words;
    const chosen = this.#choose(allowed);
    if (chosen.plan === 'hnsw') {
      this.#hnsw!.search(queries, count, k, this.#expansionSearch, words, out);
      const wanted = Math.min(k, allowed);
      let short = false;
      for (let row = 0; row < count; row++) short ||= out.counts[row]! < wanted;
      if (!short) return chosen;
    }
    this.#exact.search(queries, count, k, words, out);
    return chosen.plan === 'exact' ? chosen : FELL_SHORT;
  }

  #choose(allowed: number): SearchPlan {
    if (this.#mode === 'exact') return FORCED_EXACT;
    if (this.#mode === 'hnsw') return FORCED_HNSW;
    if (allowed <= this.#exactLimit) return FEW_VECTORS;
    return this.#hnsw === undefined ? NO_GRAPH : MANY_VECTORS;
  }
}
