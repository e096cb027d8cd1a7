// Builds the graph of a bundle and measures what it finds, so that the bundle can state how hard a search must look.

import { availableParallelism } from 'node:os';
import {
  nativeAddon,
  type NativeExactIndex,
  type NativeHnswIndex,
  type SearchOutput,
} from '../native/binding.ts';
import { Random } from '../random.ts';
import { newSearchOutput } from './candidate-index.ts';

export interface HnswBuild {
  readonly index: NativeHnswIndex;
  /** usearch's own file bytes, for the bundle. */
  readonly bytes: Uint8Array;
  readonly connectivity: number;
  readonly expansionAdd: number;
  /** The smallest of 64, 128, 256, ... that reached RECALL_TARGET, or the largest tried. */
  readonly expansionSearch: number;
  /** Share of the true top 100 that it finds; in [0, 1]. */
  readonly recallAt100: number;
}

export interface HnswBuildOptions {
  readonly connectivity?: number;
  readonly expansionAdd?: number;
  /** 1 gives the same graph every time. Unless given: 1 up to 100,000 items, every core beyond. */
  readonly threads?: number;
}

const CONNECTIVITY = 16;
const EXPANSION_ADD = 128;
/** Building 100,000 x 64 on one thread takes well under a minute; up to there a reproducible index is worth it. */
const REPRODUCIBLE_ITEMS = 100_000;

const RECALL_TARGET = 0.99;
const FIRST_EXPANSION = 64;
const LAST_EXPANSION = 4096;
const SAMPLE_QUERIES = 200;
const SAMPLE_SEED = 7;
/** Length of the noise against the vector's 1: a query lands near items, as a trained tower's does, but on none. */
const SAMPLE_NOISE = 0.3;

/**
 * Builds an HNSW graph over unit vectors and chooses expansionSearch by measuring.
 *
 * Recall is measured against the exact scan, with SAMPLE_QUERIES vectors plus noise as queries: the same sample each time.
 *
 * @param vectors - [N, D] f32 unit rows; kept by the exact index for the time of the call.
 * @param onProgress - called with the number of items added, at most ten times a second.
 * @throws ERR_NON_FINITE naming the row for NaN, infinite or zero rows.
 */
export async function buildHnsw(
  vectors: Float32Array,
  dimensions: number,
  onProgress?: (added: number) => void,
  options: HnswBuildOptions = {},
): Promise<HnswBuild> {
  const { HnswIndex, ExactIndex } = nativeAddon();
  const size = vectors.length / dimensions;
  const connectivity = options.connectivity ?? CONNECTIVITY;
  const expansionAdd = options.expansionAdd ?? EXPANSION_ADD;
  const threads = options.threads ?? (size <= REPRODUCIBLE_ITEMS ? 1 : availableParallelism());
  const index = await HnswIndex.build(vectors, dimensions, {
    connectivity,
    expansionAdd,
    threads,
    ...(onProgress && { onProgress }),
  });
  const exact = new ExactIndex(vectors, dimensions);
  const queries = sampleQueries(vectors, dimensions);
  const k = Math.min(100, size);
  const truth = newSearchOutput(SAMPLE_QUERIES, k);
  exact.search(queries, SAMPLE_QUERIES, k, null, truth);

  let expansionSearch = FIRST_EXPANSION;
  let recallAt100 = graphRecall(index, queries, k, expansionSearch, truth);
  while (recallAt100 < RECALL_TARGET && expansionSearch < LAST_EXPANSION) {
    expansionSearch *= 2;
    recallAt100 = graphRecall(index, queries, k, expansionSearch, truth);
  }
  return {
    index,
    bytes: index.serialize(),
    connectivity,
    expansionAdd,
    expansionSearch,
    recallAt100,
  };
}

/** Share of the true top k (by `exact`) that the graph finds for the queries; 1 is all. */
export function measureRecall(
  index: NativeHnswIndex,
  exact: NativeExactIndex,
  queries: Float32Array,
  k: number,
  expansionSearch: number,
): number {
  const count = queries.length / exact.dimensions;
  const truth = newSearchOutput(count, k);
  exact.search(queries, count, k, null, truth);
  return graphRecall(index, queries, k, expansionSearch, truth);
}

function graphRecall(
  index: NativeHnswIndex,
  queries: Float32Array,
  k: number,
  expansionSearch: number,
  truth: SearchOutput,
): number {
  const count = queries.length / index.dimensions;
  const found = newSearchOutput(count, k);
  index.search(queries, count, k, expansionSearch, null, found);
  let hits = 0;
  let wanted = 0;
  for (let row = 0; row < count; row++) {
    const begin = row * k;
    const expected = new Set(truth.slots.subarray(begin, begin + truth.counts[row]!));
    for (const slot of found.slots.subarray(begin, begin + found.counts[row]!))
      if (expected.has(slot)) hits++;
    wanted += expected.size;
  }
  return wanted === 0 ? 1 : hits / wanted;
}

/** [SAMPLE_QUERIES, D] unit rows near randomly drawn vectors. */
function sampleQueries(vectors: Float32Array, dimensions: number): Float32Array {
  const random = new Random(SAMPLE_SEED);
  const size = vectors.length / dimensions;
  const queries = new Float32Array(SAMPLE_QUERIES * dimensions);
  const deviation = SAMPLE_NOISE / Math.sqrt(dimensions);
  for (let query = 0; query < SAMPLE_QUERIES; query++) {
    const source = random.integer(size) * dimensions;
    const target = query * dimensions;
    let squares = 0;
    for (let i = 0; i < dimensions; i++) {
      const value = vectors[source + i]! + deviation * random.normal();
      queries[target + i] = value;
      squares += value * value;
    }
    const scale = 1 / Math.sqrt(squares);
    for (let i = target; i < target + dimensions; i++) queries[i]! *= scale;
  }
  return queries;
}
