// HNSW graphs, ours and the field's, against our partitions: search, memory, and the time that building takes.

import type { BenchOptions, Recorder } from './harness.ts';
import { raceIndexes } from './retrieval.ts';
import { clusteredDataSet } from './retrieval/data-set.ts';

/** A graph of a million takes the better part of an hour on two cores, in four libraries. */
const SIZE = 200_000;
const QUICK_SIZE = 20_000;

export async function run(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  await raceIndexes(recorder, quick, await clusteredDataSet(quick ? QUICK_SIZE : SIZE), {
    ours: ['hnsw', 'clusters'],
    graphs: true,
  });
}
