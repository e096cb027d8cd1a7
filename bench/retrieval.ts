// Exact scan and graph against usearch's own JavaScript binding and a plain JavaScript scan, recall beside every time.

import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { nativeAddon, type SearchOutput } from '../src/native/binding.ts';
import { buildHnsw } from '../src/retrieval/build-index.ts';
import { newSearchOutput } from '../src/retrieval/candidate-index.ts';
import { say, timePer, type BenchOptions, type Contestant, type Recorder } from './harness.ts';
import { plainScan } from './plain/scan.ts';
import { clusteredRows, K, queriesNear, recall, WIDTH } from './vectors.ts';

const SIZES = [20_000, 100_000];
const QUICK_SIZES = [5_000];
const RECALL_QUERIES = 100;
/** Queries that share one native call. */
const BATCH = 32;
const PLAIN = 'plain JS scan';

export async function run(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  for (const size of quick ? QUICK_SIZES : SIZES) await measureSize(recorder, quick, size);
}

async function measureSize(recorder: Recorder, quick: boolean, size: number): Promise<void> {
  const vectors = clusteredRows(size, 1);
  const queries = queriesNear(vectors, RECALL_QUERIES, 2);
  const exact = new (nativeAddon().ExactIndex)(vectors, WIDTH);
  const truth = newSearchOutput(RECALL_QUERIES, K);
  exact.search(queries, RECALL_QUERIES, K, null, truth);
  say(`retrieval: building two graphs of ${size}`);
  const graph = await buildHnsw(vectors, WIDTH, undefined, { threads: availableParallelism() });
  const found = newSearchOutput(RECALL_QUERIES, K);
  graph.index.search(queries, RECALL_QUERIES, K, graph.expansionSearch, null, found);
  const peer = await openUsearch(vectors, queries, truth, graph);

  const nextQuery = rotation(queries);
  const one = newSearchOutput(1, K);
  const many = newSearchOutput(BATCH, K);
  const exactOne: Contestant = {
    name: 'ours',
    run: () => {
      exact.search(nextQuery(), 1, K, null, one);
    },
  };
  const plain: Contestant = { name: PLAIN, run: () => plainScan(vectors, nextQuery(), K) };
  await recorder.race(
    `${size}: exact scan (recall 1)`,
    timePer('us'),
    [exactOne, plain, ...(peer === undefined ? [] : [peer.exact(nextQuery)])],
    { quick },
  );
  await recorder.race(
    `${size}: exact scan (recall 1), a query of ${BATCH} a call`,
    timePer('us', BATCH),
    [
      {
        name: 'ours',
        run: () => {
          exact.search(queries.subarray(0, BATCH * WIDTH), BATCH, K, null, many);
        },
      },
      {
        name: PLAIN,
        run: () => {
          for (let i = 0; i < BATCH; i++) plainScan(vectors, nextQuery(), K);
        },
      },
    ],
    { quick, rounds: 3 },
  );
  await recorder.race(
    `${size}: graph, expansionSearch ${graph.expansionSearch} (recall ${recall(truth, found.slots).toFixed(3)})`,
    timePer('us'),
    [
      {
        name: 'ours',
        run: () => {
          graph.index.search(nextQuery(), 1, K, graph.expansionSearch, null, one);
        },
      },
      ...(peer === undefined ? [] : [peer.graph(nextQuery)]),
      exactOne,
      plain,
    ].map((contestant) =>
      contestant === exactOne ? { ...contestant, name: 'our exact scan (recall 1)' } : contestant,
    ),
    { quick },
  );
}

interface UsearchPeer {
  readonly exact: (nextQuery: () => Float32Array) => Contestant;
  readonly graph: (nextQuery: () => Float32Array) => Contestant;
}

/**
 * The same graph parameters in usearch's binding, with the first expansion_search from ours upwards whose recall is
 * not below .99.
 *
 * @returns undefined, after saying so, when its prebuilt binary does not load.
 */
async function openUsearch(
  vectors: Float32Array,
  queries: Float32Array,
  truth: SearchOutput,
  graph: Awaited<ReturnType<typeof buildHnsw>>,
): Promise<UsearchPeer | undefined> {
  let usearch: typeof import('usearch');
  try {
    usearch = await import('usearch');
  } catch (error) {
    say(`retrieval: usearch's own binding is left out, it does not load: ${String(error)}`);
    return undefined;
  }
  const { Index, MetricKind, ScalarKind, exactSearch } = usearch;
  const options = (expansionSearch: number): ConstructorParameters<typeof Index>[0] => ({
    dimensions: WIDTH,
    metric: MetricKind.IP,
    quantization: ScalarKind.F32,
    connectivity: graph.connectivity,
    expansion_add: graph.expansionAdd,
    expansion_search: expansionSearch,
    multi: false,
  });
  const size = vectors.length / WIDTH;
  let index = new Index(options(graph.expansionSearch));
  index.add(
    BigUint64Array.from({ length: size }, (_, i) => BigInt(i)),
    vectors,
    0,
  );
  const measure = (): number => {
    const slots = new Float64Array(RECALL_QUERIES * K);
    for (let i = 0; i < RECALL_QUERIES; i++) {
      const { keys } = index.search(queries.subarray(i * WIDTH, (i + 1) * WIDTH), K, 1);
      slots.set(Array.from(keys, Number), i * K);
    }
    return recall(truth, slots);
  };
  let expansion = graph.expansionSearch;
  let reached = measure();
  if (reached < 0.99) {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
    const file = join(folder, 'graph.usearch');
    index.save(file);
    while (reached < 0.99 && expansion < 4096) {
      expansion *= 2;
      index = new Index(options(expansion));
      index.load(file);
      reached = measure();
    }
    rmSync(folder, { recursive: true });
  }
  return {
    exact: (nextQuery) => ({
      name: 'usearch JS exactSearch',
      run: () => exactSearch(vectors, nextQuery(), WIDTH, K, MetricKind.IP, 1),
    }),
    graph: (nextQuery) => ({
      name: `usearch JS, expansion_search ${expansion} (recall ${reached.toFixed(3)})`,
      run: () => index.search(nextQuery(), K, 1),
    }),
  };
}

/** Gives one query after the other, so that no contestant is timed on a single walk. */
function rotation(queries: Float32Array): () => Float32Array {
  const count = queries.length / WIDTH;
  let next = 0;
  return () => {
    const at = next++ % count;
    return queries.subarray(at * WIDTH, (at + 1) * WIDTH);
  };
}
