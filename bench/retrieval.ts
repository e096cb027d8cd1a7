// Our indexes against the field's at a million items: each tuned to the same recall on queries of its own, then raced.

import { availableParallelism } from 'node:os';
import {
  say,
  summarise,
  timePer,
  type BenchOptions,
  type Contestant,
  type Measured,
  type Recorder,
} from './harness.ts';
import type { PeerProcess } from './peers/process.ts';
import { clusteredDataSet, towerDataSet, type DataSet } from './retrieval/data-set.ts';
import { secondsPerQuery, startFaiss, startNode } from './retrieval/engine.ts';
import {
  describe,
  tuneFaissGraph,
  tuneFaissLists,
  tuneNode,
  type Tuned,
} from './retrieval/tune.ts';

const SIZE = 1_000_000;
const QUICK_SIZE = 20_000;
/** Queries that share one call. */
const BATCH = 64;
/** Ours, best last: the last that is there is "ours" in every race. */
const OURS = ['exact', 'hnsw', 'clusters'];
const NODE_PEERS = ['usearch', 'hnswlib'];
const BUILD_TIME = timePer('s');
const QUERY_TIME = timePer('us');
const MEMORY = { metric: 'memory', unit: 'B', better: 'lower' } as const;

export async function run(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const size = quick ? QUICK_SIZE : SIZE;
  for (const make of [clusteredDataSet, towerDataSet]) {
    const data = await make(size);
    await measureDataSet(recorder, quick, data);
  }
}

async function measureDataSet(recorder: Recorder, quick: boolean, data: DataSet): Promise<void> {
  const processes: PeerProcess[] = [];
  const started = <T extends PeerProcess>(peer: T): T => {
    processes.push(peer);
    return peer;
  };
  try {
    // Built on all cores by the second process; the first loads what that one kept.
    const cores = Math.min(2, availableParallelism());
    const single = started(await startNode(data, 1));
    const double = started(await startNode(data, cores));
    const faiss = await startFaiss(data);
    if (typeof faiss === 'string') say(`retrieval: FAISS is left out: ${faiss}`);
    else started(faiss);

    const ours: Tuned[] = [];
    const peers: Tuned[] = [];
    for (const index of [...OURS, ...NODE_PEERS]) {
      const tuned = await tuneNode(single, double, index, cores);
      if (tuned !== undefined) (OURS.includes(index) ? ours : peers).push(tuned);
    }
    if (typeof faiss !== 'string') {
      const lists = await tuneFaissLists(faiss, data.size, cores);
      if (lists !== undefined) peers.push(lists);
      peers.push(await tuneFaissGraph(faiss, cores));
    }
    const best = ours.at(-1)!;
    const others = [...ours.slice(0, -1), ...peers];

    for (const { engine, built, testRecall, effort } of [best, ...others])
      say(
        `${data.name}: ${describe({ engine, effort, testRecall })}, ${built.bytesPerItem.toFixed(0)} B an item, built in ${built.seconds.toFixed(1)} s on ${built.threads} threads`,
      );
    const lines = async (
      title: string,
      batch: number,
      contestants: readonly Tuned[],
    ): Promise<void> => {
      const [first, ...rest] = contestants;
      if (first === undefined) return;
      await recorder.race(
        `${data.name}, ${title}: ${describe(first)}`,
        QUERY_TIME,
        [first, ...rest].map((tuned) => contestant(tuned, batch)),
        { quick, roundSeconds: 0.4 },
      );
    };
    await lines('one query a call, 1 thread', 1, [best, ...others]);
    await lines(`${BATCH} queries a call, 1 thread`, BATCH, [best, ...others]);
    if (cores > 1) {
      const onBoth = [best, ...others]
        .filter(({ engine }) => engine.index !== 'hnswlib')
        .map((tuned) => ({
          ...tuned,
          engine: {
            ...tuned.engine,
            threads: cores,
            process: tuned.engine.process === single ? double : tuned.engine.process,
          },
        }));
      await lines(`${BATCH} queries a call, ${cores} threads`, BATCH, onBoth);
    }
    const compare = (
      title: string,
      unit: { metric: string; unit: string; better: 'lower' | 'higher' },
      of: (tuned: Tuned) => number,
    ): void => {
      const value = (tuned: Tuned): Measured => summarise([of(tuned)]);
      const compared = others.filter((tuned) => of(tuned) > 0);
      for (const tuned of compared)
        recorder.add(`${data.name}, ${title}: ${best.engine.name}`, unit, value(best), {
          name: withThreads(tuned, title),
          measured: value(tuned),
        });
    };
    compare('memory an item', MEMORY, ({ built }) => built.bytesPerItem);
    compare(`building, ${cores} threads`, BUILD_TIME, (tuned) =>
      tuned.engine.index === 'exact' ? 0 : tuned.built.seconds,
    );
  } finally {
    for (const peer of processes) await peer.close();
  }
}

function withThreads({ engine, built }: Tuned, title: string): string {
  return title.startsWith('building') && built.threads === 1
    ? `${engine.name}, 1 thread (its binding has no more)`
    : engine.name;
}

function contestant({ engine, effort, testRecall }: Tuned, batch: number): Contestant {
  return {
    name: describe({ engine, effort, testRecall }),
    measure: (seconds) => secondsPerQuery(engine, effort, batch, seconds),
  };
}
