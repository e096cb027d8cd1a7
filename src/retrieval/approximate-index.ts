// The index file of a bundle behind one interface: partitions of our own, or a usearch graph.

import {
  nativeAddon,
  type NativeClusterIndex,
  type NativeHnswIndex,
  type SearchOutput,
  type Ticket,
} from '../native/binding.ts';
import type { IndexKind, SearchMode } from './search-plan.ts';

/** What a bundle states about its index: the kind decides how the file is read. */
export type IndexSettings =
  | {
      readonly kind: 'clusters';
      readonly clusters: number;
      /** Share of the true top 100 that it was calibrated to find, and found for queries that were held out. */
      readonly recallTarget: number;
      readonly recallAt100: number;
    }
  | {
      readonly kind: 'hnsw';
      readonly connectivity: number;
      readonly expansionAdd: number;
      /** Candidates that a search keeps in view, and the share of the true top 100 found with them. */
      readonly expansionSearch: number;
      readonly recallAt100: number;
    };

/** An index on its way to another thread, good for one: attachIndex(). */
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
   * Approximate top k; contract of NativeExactIndex for queries, allow and out. A graph may find fewer than k although
   * k are allowed, partitions never do.
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

/** What every native index calls a search in each mode. */
export const NATIVE_SEARCH = { inline: 'search', async: 'searchAsync' } as const;

/** A walk that passes over items left out must keep more in view to find as many; this much more at most. */
const MAX_EXPANSION_FACTOR = 16;

/**
 * Opens the bytes of an index, off this thread.
 *
 * @param vectors - [N, D] what it was built over; partitions refer to it, a graph brings its own copy.
 * @throws ERR_INDEX_INVALID when they are not what `settings` says, or damaged.
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
 * The index that another thread shares, at once.
 *
 * @param vectors - this thread's view of what it was built over.
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
