// Our cluster-pruned index as the benchmarks open it: built to a recall, loaded from bench/cache where it was built before.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { writeFileAtomic } from '../../src/files.ts';
import { nativeAddon, type SearchOutput } from '../../src/native/binding.ts';
import type { OpenData } from './indexes.ts';

export const RECALL_TARGET = 0.99;

/** What is used of the index. */
export interface ClusterIndex {
  /** @param effort - 0 for what building measured to reach its recall target. */
  search(
    queries: Float32Array,
    count: number,
    k: number,
    effort: number,
    allow: Uint32Array | null,
    out: SearchOutput,
  ): void;
  serialize?(): Uint8Array;
}

interface ClusterIndexClass {
  build(
    vectors: Float32Array,
    dimensions: number,
    options: { readonly recallTarget: number; readonly threads: number },
  ): Promise<ClusterIndex>;
  load?(bytes: Uint8Array, vectors: Float32Array, dimensions: number): ClusterIndex;
}

/** @throws Error where the addon has no such index. */
export async function openClusters(
  { vectors, width }: OpenData,
  threads: number,
  file: string,
): Promise<{ index: ClusterIndex; seconds: number; bytesPerItem: number }> {
  const { ClusterIndex: loaded } = nativeAddon() as unknown as {
    readonly ClusterIndex?: ClusterIndexClass;
  };
  if (loaded === undefined) throw new Error('the addon has no ClusterIndex');
  const startMs = performance.now();
  const index =
    existsSync(file) && loaded.load !== undefined
      ? loaded.load(readFileSync(file), vectors, width)
      : await loaded.build(vectors, width, { recallTarget: RECALL_TARGET, threads });
  const seconds = (performance.now() - startMs) / 1000;
  const bytes = index.serialize?.();
  if (bytes !== undefined && !existsSync(file)) writeFileAtomic(file, bytes);
  const size = vectors.length / width;
  return { index, seconds, bytesPerItem: existsSync(file) ? statSync(file).size / size : 0 };
}
