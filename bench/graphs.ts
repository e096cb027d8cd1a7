// Compares HNSW graphs (ours and three other libraries') with our cluster index: search time,
// memory, and build time.

import type { BenchOptions, Recorder } from './harness.ts';
import { raceIndexes } from './retrieval.ts';
import { clusteredDataSet } from './retrieval/data-set.ts';

/** Building graphs of a million items takes most of an hour on two cores in four libraries. */
const SIZE = 200_000;
const QUICK_SIZE = 20_000;

export async function run(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  await raceIndexes(recorder, quick, await clusteredDataSet(quick ? QUICK_SIZE : SIZE), {
    ours: ['hnsw', 'clusters'],
    graphs: true,
  });
}
