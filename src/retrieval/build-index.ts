// Builds the index of a bundle and measures its recall, which the bundle states.

import { usableCpus } from '../platform/cpus.ts';
import { nativeAddon } from '../native/addon.ts';
import type { SearchOutput } from '../native/search-output.ts';
import { Random } from '../random.ts';
import {
  clusterIndex,
  graphIndex,
  type ApproximateIndex,
  type IndexSettings,
} from './approximate-index.ts';
import { newSearchOutput, type IndexKind } from './search-plan.ts';

export interface IndexBuild {
  readonly index: ApproximateIndex;
  /** Bytes of the index file. */
  readonly bytes: Uint8Array;
  readonly settings: IndexSettings;
}

export interface IndexBuildOptions {
  /** Kind of index, `clusters` by default. */
  readonly kind?: IndexKind;
  /**
   * [Q, D] unit rows from the distribution of later searches; by default noisy copies of vectors.
   */
  readonly queries?: Float32Array;
  /** Called with the share of the work done, at most ten times a second. */
  readonly onProgress?: (share: number) => void;
}

const RECALL_TARGET = 0.99;
const CONNECTIVITY = 16;
const EXPANSION_ADD = 128;
/**
 * Up to this size a graph is built on one thread, which makes it reproducible. 100,000 x 64 takes
 * well under a minute.
 */
const REPRODUCIBLE_ITEMS = 100_000;
const FIRST_EXPANSION = 64;
const LAST_EXPANSION = 4096;
const SAMPLE_QUERIES = 512;
const SAMPLE_SEED = 7;
/**
 * Length of the noise relative to the vector's length of 1. Such a query lies near items but on
 * none, like one of a trained tower.
 */
const SAMPLE_NOISE = 0.3;

/**
 * Builds an index over unit vectors, and sets how far its searches look to reach a recall@100 of
 * RECALL_TARGET.
 *
 * @param vectors - [N, D] f32 unit rows; partitions refer to them.
 * @throws ERR_NON_FINITE naming the row for NaN, infinite or zero rows.
 */
export async function buildIndex(
  vectors: Float32Array,
  dimensions: number,
  options: IndexBuildOptions = {},
): Promise<IndexBuild> {
  const queries = options.queries ?? sampleQueries(vectors, dimensions);
  const size = vectors.length / dimensions;
  const k = Math.min(100, size);
  return options.kind === 'hnsw'
    ? buildGraph(vectors, dimensions, queries, k, options)
    : buildClusters(vectors, dimensions, queries, k, options);
}

async function buildClusters(
  vectors: Float32Array,
  dimensions: number,
  queries: Float32Array,
  k: number,
  { onProgress }: IndexBuildOptions,
): Promise<IndexBuild> {
  const native = await nativeAddon().ClusterIndex.build(vectors, dimensions, {
    queries,
    k,
    recallTarget: RECALL_TARGET,
    ...(onProgress && { onProgress }),
  });
  return {
    index: clusterIndex(native),
    bytes: native.serialize(),
    settings: {
      kind: 'clusters',
      clusters: native.clusters,
      recallTarget: RECALL_TARGET,
      recallAt100: native.recall,
    },
  };
}

async function buildGraph(
  vectors: Float32Array,
  dimensions: number,
  queries: Float32Array,
  k: number,
  { onProgress }: IndexBuildOptions,
): Promise<IndexBuild> {
  const size = vectors.length / dimensions;
  const native = await nativeAddon().HnswIndex.build(vectors, dimensions, {
    connectivity: CONNECTIVITY,
    expansionAdd: EXPANSION_ADD,
    threads: size <= REPRODUCIBLE_ITEMS ? 1 : usableCpus(),
    ...(onProgress && { onProgress }),
  });
  const truth = trueTop(vectors, dimensions, queries, k);
  let expansionSearch = FIRST_EXPANSION;
  let recallAt100 = await recallOf(graphIndex(native, expansionSearch), queries, k, truth);
  while (recallAt100 < RECALL_TARGET && expansionSearch < LAST_EXPANSION) {
    expansionSearch *= 2;
    recallAt100 = await recallOf(graphIndex(native, expansionSearch), queries, k, truth);
  }
  return {
    index: graphIndex(native, expansionSearch),
    bytes: native.serialize(),
    settings: {
      kind: 'hnsw',
      connectivity: native.connectivity,
      expansionAdd: EXPANSION_ADD,
      expansionSearch,
      recallAt100,
    },
  };
}

/** Share of the true top k that the index finds for the queries, in [0, 1]. */
export async function measureRecall(
  index: ApproximateIndex,
  vectors: Float32Array,
  queries: Float32Array,
  k: number,
): Promise<number> {
  return recallOf(index, queries, k, trueTop(vectors, index.dimensions, queries, k));
}

function trueTop(
  vectors: Float32Array,
  dimensions: number,
  queries: Float32Array,
  k: number,
): SearchOutput {
  const exact = new (nativeAddon().ExactIndex)(vectors, dimensions);
  exact.addCodes();
  const count = queries.length / dimensions;
  const truth = newSearchOutput(count, k);
  exact.search(queries, count, k, null, truth);
  return truth;
}

async function recallOf(
  index: ApproximateIndex,
  queries: Float32Array,
  k: number,
  truth: SearchOutput,
): Promise<number> {
  const count = queries.length / index.dimensions;
  const found = newSearchOutput(count, k);
  await index.search(queries, count, k, null, 1, found, 'inline');
  let hits = 0;
  let wanted = 0;
  for (let q = 0; q < count; q++) {
    const begin = q * k;
    const expected = new Set(truth.rows.subarray(begin, begin + truth.counts[q]!));
    for (const itemRow of found.rows.subarray(begin, begin + found.counts[q]!))
      if (expected.has(itemRow)) hits++;
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
