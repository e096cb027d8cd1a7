// Compares our cluster index and scans with those of FAISS at a million items. Each contestant is
// tuned to the same recall on other queries than it is timed with. Graphs take long to build; they
// are in graphs.ts.

import { availableParallelism } from 'node:os';
import {
  say,
  summarise,
  timePer,
  type BenchOptions,
  type Contestant,
  type Recorder,
} from './harness.ts';
import type { PeerProcess } from './peers/process.ts';
import { clusteredDataSet, towerDataSet, type DataSet } from './retrieval/data-set.ts';
import { NODE_ENGINES, secondsPerQuery, startFaiss, startNode } from './retrieval/engine.ts';
import {
  describe,
  tuneFaissGraph,
  tuneFaissLists,
  tuneNode,
  type Tuned,
} from './retrieval/tune.ts';

const SIZE = 1_000_000;
const QUICK_SIZE = 20_000;
/** Number of queries in one call. */
const BATCH = 64;
const NODE_PEERS = ['usearch', 'hnswlib'];
const BUILD_TIME = timePer('s');
const QUERY_TIME = timePer('us');
const MEMORY = { metric: 'memory', unit: 'B an item', better: 'lower' } as const;
const ROUND_SECONDS = 0.4;

export async function run(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const size = quick ? QUICK_SIZE : SIZE;
  for (const make of [clusteredDataSet, towerDataSet])
    await raceIndexes(recorder, quick, await make(size), {
      ours: ['exact', 'codes', 'clusters'],
      graphs: false,
    });
}

/**
 * Tunes the contestants, times them, and compares memory and build time.
 *
 * @param suite - `ours`: names in NODE_ENGINES; all others are compared with the last one.
 * `graphs`: whether graphs of other libraries take part.
 */
export async function raceIndexes(
  recorder: Recorder,
  quick: boolean,
  data: DataSet,
  suite: { readonly ours: readonly string[]; readonly graphs: boolean },
): Promise<void> {
  const cores = Math.min(2, availableParallelism());
  const processes: PeerProcess[] = [];
  try {
    const single = await startNode(data, 1);
    processes.push(single);
    // This process builds on all cores and writes the index; the first process loads it.
    const double = await startNode(data, cores);
    processes.push(double);
    const faiss = await startFaiss(data);
    if (typeof faiss === 'string') say(`retrieval: FAISS is left out: ${faiss}`);
    else processes.push(faiss);

    const ours: Tuned[] = [];
    const peers: Tuned[] = [];
    for (const index of [...suite.ours, ...(suite.graphs ? NODE_PEERS : [])]) {
      const tuned = await tuneNode(single, double, index, cores);
      if (tuned !== undefined) (suite.ours.includes(index) ? ours : peers).push(tuned);
    }
    if (typeof faiss !== 'string') {
      const lists = await tuneFaissLists(faiss, data.size, cores);
      if (lists !== undefined) peers.push(lists);
      if (suite.graphs) peers.push(await tuneFaissGraph(faiss, cores));
    }
    const all = [ours.at(-1)!, ...ours.slice(0, -1), ...peers];
    const onBoth = all
      .filter(({ engine }) => NODE_ENGINES[engine.index]?.oneThread !== true)
      .map((tuned) => withThreads(tuned, cores, single, double));
    const races: [string, number, readonly Tuned[]][] = [
      ['one query a call, 1 thread', 1, all],
      [`${BATCH} queries a call, 1 thread`, BATCH, all],
    ];
    if (cores > 1) races.push([`${BATCH} queries a call, ${cores} threads`, BATCH, onBoth]);
    for (const [title, batch, contestants] of races)
      await recorder.race(
        `${data.name}, ${title}: ${describe(contestants[0]!)}`,
        QUERY_TIME,
        contestants.map((tuned) => contestant(tuned, batch)),
        { quick, roundSeconds: ROUND_SECONDS },
      );
    compareSizes(recorder, data, all);
  } finally {
    for (const peer of processes) await peer.close();
  }
}

/**
 * The same engine on more threads. Ours and usearch search in the process that has these threads.
 */
function withThreads(
  tuned: Tuned,
  threads: number,
  single: PeerProcess,
  double: PeerProcess,
): Tuned {
  const { engine } = tuned;
  const process = engine.process === single ? double : engine.process;
  return { ...tuned, engine: { ...engine, threads, process } };
}

/** Compares memory and build time of the first contestant with the others. */
function compareSizes(
  recorder: Recorder,
  data: DataSet,
  [best, ...others]: readonly Tuned[],
): void {
  const { engine, built } = best!;
  for (const other of others)
    recorder.add(`${data.name}, index: ${engine.name}`, MEMORY, summarise([built.bytesPerItem]), {
      name: other.engine.name,
      measured: summarise([other.built.bytesPerItem]),
    });
  for (const other of others)
    // There is nothing to build for a scan.
    if (other.engine.efforts !== undefined)
      recorder.add(
        `${data.name}, building on ${built.threads} threads: ${engine.name}`,
        BUILD_TIME,
        summarise([built.seconds]),
        {
          name:
            other.built.threads === built.threads
              ? other.engine.name
              : `${other.engine.name}, ${other.built.threads} thread (its binding has no more)`,
          measured: summarise([other.built.seconds]),
        },
      );
}

function contestant({ engine, effort, testRecall }: Tuned, batch: number): Contestant {
  return {
    name: describe({ engine, effort, testRecall }),
    measure: (seconds) => secondsPerQuery(engine, effort, batch, seconds),
  };
}
