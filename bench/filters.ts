// Retrieval under filters that leave much, little and almost nothing, against a plain JavaScript scan and no filter.

import { availableParallelism } from 'node:os';
import { nativeAddon } from '../src/native/binding.ts';
import { Random } from '../src/random.ts';
import { AllowList } from '../src/retrieval/allow-list.ts';
import { buildHnsw } from '../src/retrieval/build-index.ts';
import { newSearchOutput } from '../src/retrieval/candidate-index.ts';
import { PlannedIndex } from '../src/retrieval/plan.ts';
import { say, timePer, type BenchOptions, type Recorder } from './harness.ts';
import { plainScan } from './plain/scan.ts';
import { clusteredRows, K, queriesNear, WIDTH } from './vectors.ts';

const SIZE = 100_000;
const QUICK_SIZE = 5_000;
const SHARES = [0.5, 0.01, 0.0001];
const QUERIES = 50;

export async function run(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const size = quick ? QUICK_SIZE : SIZE;
  const vectors = clusteredRows(size, 1);
  const queries = queriesNear(vectors, QUERIES, 2);
  say(`filters: building a graph of ${size}`);
  const graph = await buildHnsw(vectors, WIDTH, undefined, { threads: availableParallelism() });
  const exact = new (nativeAddon().ExactIndex)(vectors, WIDTH);
  const { index: hnsw, expansionSearch } = graph;
  const index = new PlannedIndex({ exact, hnsw, expansionSearch });
  const out = newSearchOutput(1, K);
  let next = 0;
  const nextQuery = (): Float32Array => {
    const at = next++ % QUERIES;
    return queries.subarray(at * WIDTH, (at + 1) * WIDTH);
  };
  for (const share of SHARES) {
    const allow = randomList(size, share);
    const { plan, recall, returned } = quality(index, queries, vectors, allow);
    await recorder.race(
      `filter leaves ${share * 100} % (${allow.count}): plan ${plan}, recall ${recall.toFixed(3)}, ${returned} returned`,
      timePer('us'),
      [
        {
          name: 'ours',
          run: () => index.search(nextQuery(), 1, K, allow, out),
        },
        { name: 'plain JS scan', run: () => plainScan(vectors, nextQuery(), K, allow) },
        { name: 'ours without filter', run: () => index.search(nextQuery(), 1, K, null, out) },
      ],
      { quick },
    );
  }
}

/** Share of the true best under the filter that is found, and the fewest items returned. */
function quality(
  index: PlannedIndex,
  queries: Float32Array,
  vectors: Float32Array,
  allow: AllowList,
): { plan: string; recall: number; returned: number } {
  const out = newSearchOutput(QUERIES, K);
  const { plan } = index.search(queries, QUERIES, K, allow, out);
  let hits = 0;
  let wanted = 0;
  for (let i = 0; i < QUERIES; i++) {
    const query = queries.subarray(i * WIDTH, (i + 1) * WIDTH);
    const truth = new Set(plainScan(vectors, query, K, allow).slots);
    wanted += truth.size;
    for (const slot of out.slots.subarray(i * K, i * K + out.counts[i]!))
      if (truth.has(slot)) hits++;
  }
  return { plan, recall: hits / wanted, returned: Math.min(...out.counts) };
}

function randomList(size: number, share: number): AllowList {
  const random = new Random(3);
  const order = random.shuffle(Array.from({ length: size }, (_, i) => i));
  return AllowList.of(size, order.slice(0, Math.max(1, Math.round(size * share))));
}
