// One interface for both kinds of index files of a bundle: our own partitions, and usearch graphs.

import { nativeAddon } from '../native/addon.ts';
import type { NativeClusterIndex } from '../native/cluster-index.ts';
import type { NativeHnswIndex } from '../native/hnsw-index.ts';
import type { SearchOutput } from '../native/search-output.ts';
import type { Ticket } from '../native/ticket.ts';
import type { IndexKind, SearchMode } from './search-plan.ts';

/** The statement of a bundle about its index. The kind decides how the file is read. */
export type IndexSettings =
  | {
      readonly kind: 'clusters';
      readonly clusters: number;
      /**
       * Share of the true top 100 that the index was calibrated to find, and the share that it
       * found for queries that were held out.
       */
      readonly recallTarget: number;
      readonly recallAt100: number;
    }
  | {
      readonly kind: 'hnsw';
      readonly connectivity: number;
      readonly expansionAdd: number;
      /**
       * Candidates that a search keeps in view, and the share of the true top 100 that it finds
       * with them.
       */
      readonly expansionSearch: number;
      readonly recallAt100: number;
    };

/** An index that is passed to another thread, which can attachIndex() it once. */
export type SharedIndex =
  | { readonly kind: 'clusters'; readonly ticket: Ticket<NativeClusterIndex> }
  | {
      readonly kind: 'hnsw';
      readonly ticket: Ticket<NativeHnswIndex>;
      readonly expansionSearch: number;
    };

export interface ApproximateIndex {
  readonly kind: IndexKind;
  readonly size: number;
  readonly dimensions: number;
  /**
   * Finds the approximate top k. Queries, allow and out are as for NativeExactIndex. A graph may
   * find fewer than k although k are allowed; partitions never do.
   *
   * @param selectivity - share of the items that `allow` leaves, in [0, 1]; 1 for null.
   */
  search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: Uint32Array | null,
    selectivity: number,
    out: SearchOutput,
    mode: SearchMode,
  ): void | Promise<void>;
  share(): SharedIndex;
}

/** The method of every native index that searches in each mode. */
export const NATIVE_SEARCH = { inline: 'search', async: 'searchAsync' } as const;

/**
 * Under a filter a graph search must keep more candidates in view to find as many items. This is
 * the largest factor.
 */
const MAX_EXPANSION_FACTOR = 16;

/**
 * Opens the bytes of an index, on a worker thread.
 *
 * @param vectors - [N, D] the vectors that it was built over. Partitions refer to them; a graph has
 *   its own copy.
 * @throws ERR_INDEX_INVALID for damaged bytes, or bytes that are not what `settings` states.
 */
export async function openIndex(
  settings: IndexSettings,
  bytes: Uint8Array,
  vectors: Float32Array,
  dimensions: number,
): Promise<ApproximateIndex> {
  const addon = nativeAddon();
  return settings.kind === 'clusters'
    ? clusterIndex(await addon.ClusterIndex.load(bytes, vectors, dimensions))
    : graphIndex(await addon.HnswIndex.load(bytes, dimensions), settings.expansionSearch);
}

/**
 * Makes the index that another thread has shared.
 *
 * @param vectors - this thread's view of the vectors that it was built over.
 */
export function attachIndex(shared: SharedIndex, vectors: Float32Array): ApproximateIndex {
  const addon = nativeAddon();
  return shared.kind === 'clusters'
    ? clusterIndex(addon.ClusterIndex.attach(shared.ticket, vectors))
    : graphIndex(addon.HnswIndex.attach(shared.ticket), shared.expansionSearch);
}

export function clusterIndex(native: NativeClusterIndex): ApproximateIndex {
  return {
    kind: 'clusters',
    size: native.size,
    dimensions: native.dimensions,
    search: (queries, count, k, allow, selectivity, out, mode) =>
      native[NATIVE_SEARCH[mode]](queries, count, k, allow, selectivity, out),
    share: () => ({ kind: 'clusters', ticket: native.share() }),
  };
}

export function graphIndex(native: NativeHnswIndex, expansionSearch: number): ApproximateIndex {
  return {
    kind: 'hnsw',
    size: native.size,
    dimensions: native.dimensions,
    search: (queries, count, k, allow, selectivity, out, mode) => {
      const factor = Math.min(MAX_EXPANSION_FACTOR, 1 / Math.max(selectivity, Number.EPSILON));
      return native[NATIVE_SEARCH[mode]](
        queries,
        count,
        k,
        Math.ceil(expansionSearch * factor),
        allow,
        out,
      );
    },
    share: () => ({ kind: 'hnsw', ticket: native.share(), expansionSearch }),
  };
}
