// The serialised indexes that the addon loads, for tests that cover all of them. A new format
// becomes an entry here.

import { nativeAddon } from '../../src/native/addon.ts';
import type { SearchOutput } from '../../src/native/search-output.ts';
import { Random } from '../../src/random.ts';
import { newSearchOutput } from '../../src/retrieval/search-plan.ts';
import type { HeaderField } from './corruption.ts';

export interface LoadedIndex {
  readonly size: number;
  search(queries: Float32Array, count: number, k: number, out: SearchOutput): void;
}

export interface IndexFormat {
  /** Serialises a valid index of FORMAT_SIZE vectors. */
  make(): Promise<Uint8Array>;
  /** Finds the integers in the bytes that say how the rest is read. */
  fields(valid: Uint8Array): readonly HeaderField[];
  /** Whether the format has a checksum, so that loading detects any damage. */
  readonly checked: boolean;
  /** Loads the index as a server does. */
  load(bytes: Uint8Array): Promise<LoadedIndex>;
}

export const FORMAT_SIZE = 150;
export const FORMAT_WIDTH = 8;
const EXPANSION = 64;

export const INDEX_FORMATS: Readonly<Record<string, IndexFormat>> = {
  clusters: {
    checked: true,
    make: async () => {
      const vectors = formatVectors();
      const queries = vectors.subarray(0, 20 * FORMAT_WIDTH);
      const options = { queries, k: 10, recallTarget: 0.9 };
      const { ClusterIndex } = nativeAddon();
      return (await ClusterIndex.build(vectors, FORMAT_WIDTH, options)).serialize();
    },
    // The header of cluster_index_file.cpp, then the first block count, after the centroids.
    fields: (valid) => {
      const clusters = new DataView(valid.buffer, valid.byteOffset).getUint32(20, true);
      return [8, 12, 16, 20, 24, 28, 32, 36, 40, 44 + clusters * FORMAT_WIDTH * 4].map(
        (offset) => ({ offset, bytes: 4 }) as const,
      );
    },
    load: async (bytes) => {
      const index = await nativeAddon().ClusterIndex.load(bytes, formatVectors(), FORMAT_WIDTH);
      return {
        size: index.size,
        search: (queries, count, k, out): void => {
          index.search(queries, count, k, null, 1, out);
        },
      };
    },
  },
  hnsw: {
    checked: false,
    make: async () => {
      const options = { connectivity: 4, expansionAdd: 32, threads: 1 };
      const { HnswIndex } = nativeAddon();
      return (await HnswIndex.build(formatVectors(), FORMAT_WIDTH, options)).serialize();
    },
    // The layout that native/core/indexes/hnsw_file.h describes.
    fields: (valid) => {
      const rows = new DataView(valid.buffer, valid.byteOffset).getUint32(0, true);
      const head = 8 + rows * FORMAT_WIDTH * 4;
      const graph = head + 64;
      const levels = graph + 40;
      const firstNode = levels + 2 * rows;
      return [
        { offset: 0, bytes: 4 },
        { offset: 4, bytes: 4 },
        ...[7, 9, 11].map((at) => ({ offset: head + at, bytes: 2 }) as const),
        ...[13, 14, 15, 16, 41].map((at) => ({ offset: head + at, bytes: 1 }) as const),
        ...[17, 25, 33].map((at) => ({ offset: head + at, bytes: 8 }) as const),
        ...[0, 8, 16, 24, 32].map((at) => ({ offset: graph + at, bytes: 8 }) as const),
        { offset: levels, bytes: 2 },
        { offset: firstNode, bytes: 8 },
        { offset: firstNode + 8, bytes: 2 },
        { offset: firstNode + 10, bytes: 4 },
        { offset: firstNode + 14, bytes: 4 },
      ];
    },
    load: async (bytes) => {
      const index = await nativeAddon().HnswIndex.load(bytes, FORMAT_WIDTH);
      return {
        size: index.size,
        search: (queries, count, k, out): void => {
          index.search(queries, count, k, EXPANSION, null, out);
        },
      };
    },
  },
};

/** Makes the vectors of every format, [FORMAT_SIZE, FORMAT_WIDTH]. */
function formatVectors(): Float32Array {
  const random = new Random(11);
  return Float32Array.from({ length: FORMAT_SIZE * FORMAT_WIDTH }, () => random.normal());
}

/**
 * Searches for a few items and for all of them.
 *
 * @throws Error when a hit is not an item.
 */
export function searchThoroughly(index: LoadedIndex): void {
  const queries = formatVectors().subarray(0, 4 * FORMAT_WIDTH);
  for (const k of [10, FORMAT_SIZE]) {
    const out = newSearchOutput(4, k);
    index.search(queries, 4, k, out);
    for (const count of out.counts)
      if (count < 0 || count > k) throw new Error(`Expected 0 to ${k} hits, received ${count}.`);
    for (const row of out.rows)
      if (row < -1 || row >= index.size)
        throw new Error(`Expected rows below ${index.size}, received ${row}.`);
  }
}
