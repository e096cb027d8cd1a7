// Times retrieval with filters that leave half, a hundredth and a ten-thousandth of the items. Ours
// searches as the request path does; it is compared with FAISS and with our own search without a
// filter.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../src/files.ts';
import { nativeAddon } from '../src/native/addon.ts';
import { Random } from '../src/random.ts';
import { AllowList } from '../src/retrieval/allow-list.ts';
import { newSearchOutput } from '../src/retrieval/search-plan.ts';
import { say, timePer, type BenchOptions, type Contestant, type Recorder } from './harness.ts';
import type { PeerProcess } from './peers/process.ts';
import {
  clusteredDataSet,
  DATA_FILES,
  readFloats,
  towerDataSet,
  type DataSet,
} from './retrieval/data-set.ts';
import {
  filteredRecall,
  secondsPerQuery,
  startFaiss,
  startNode,
  type Filtered,
} from './retrieval/engine.ts';
import { RECALL_TARGET, tuneFaissLists, tuneNode, type Tuned } from './retrieval/tune.ts';
import { K, WIDTH } from './vectors.ts';

const SIZE = 1_000_000;
const QUICK_SIZE = 20_000;
const SHARES = [0.5, 0.01, 0.0001];
/** Number of queries that recall is measured with, for each filter. */
const QUERIES = 100;

interface Filter {
  readonly allow: string;
  readonly truth: string;
  readonly count: number;
  readonly allowed: number;
}

export async function run(recorder: Recorder, options: BenchOptions): Promise<void> {
  const size = options.quick ? QUICK_SIZE : SIZE;
  for (const data of [await clusteredDataSet(size), await towerDataSet(size)])
    await raceFilters(recorder, options, data);
}

async function raceFilters(
  recorder: Recorder,
  { quick }: BenchOptions,
  data: DataSet,
): Promise<void> {
  const filters = new Map(SHARES.map((share) => [share, makeFilter(data, share)]));
  const processes: PeerProcess[] = [];
  try {
    const node = await startNode(data, 1);
    processes.push(node);
    const ours = await tuneNode(node, node, 'planned', 1);
    if (ours === undefined) throw new Error('Expected our own index to open.');
    const peers: Tuned[] = [];
    const faiss = await startFaiss(data);
    if (typeof faiss === 'string') say(`filters: FAISS is left out: ${faiss}`);
    else {
      processes.push(faiss);
      const lists = await tuneFaissLists(faiss, data.size, 2);
      if (lists !== undefined) peers.push(lists);
    }
    for (const [share, filter] of filters) {
      const found = await filteredRecall(ours.engine, ours.effort, filter);
      // In sequence, because a process answers one request at a time.
      const filteredPeers: Contestant[] = [];
      for (const peer of peers) filteredPeers.push(await filteredPeer(peer, filter));
      await recorder.race(
        `${data.name}, filter leaves ${share * 100} % (${filter.allowed}): ` +
          `plan ${found.plan ?? '-'}, ${quality(found)}`,
        timePer('us'),
        [
          contestant('ours', ours, ours.effort, filter.allow),
          contestant('ours without filter', ours, ours.effort),
          ...filteredPeers,
        ],
        { quick, roundSeconds: 0.4 },
      );
    }
  } finally {
    for (const peer of processes) await peer.close();
  }
}

/** Doubles a peer's effort until it finds enough with the filter or has its largest effort. */
async function filteredPeer(peer: Tuned, filter: Filter): Promise<Contestant> {
  const { engine } = peer;
  const last = engine.efforts?.last ?? peer.effort;
  let { effort } = peer;
  let found = await filteredRecall(engine, effort, filter);
  while (found.recall < RECALL_TARGET && effort < last) {
    effort = Math.min(last, effort * 2);
    found = await filteredRecall(engine, effort, filter);
  }
  const setting = engine.efforts === undefined ? '' : `, ${engine.efforts.word} ${effort}`;
  return contestant(`${engine.name}${setting}: ${quality(found)}`, peer, effort, filter.allow);
}

function contestant(name: string, { engine }: Tuned, effort: number, allow?: string): Contestant {
  return { name, measure: (seconds) => secondsPerQuery(engine, effort, 1, seconds, allow) };
}

function quality({ recall, returned }: Filtered): string {
  return `recall ${recall.toFixed(3)}, ${returned} returned`;
}

/**
 * Makes a random allow list of that share and the true best items of it; both are kept with the
 * data set.
 */
function makeFilter({ folder, size }: DataSet, share: number): Filter {
  const random = new Random(3);
  const order = random.shuffle(Array.from({ length: size }, (_, i) => i));
  const list = AllowList.of(size, order.slice(0, Math.max(1, Math.round(size * share))));
  const filter = {
    allow: `allow-${share}.bits`,
    truth: `allow-${share}-truth.i32`,
    count: QUERIES,
    allowed: list.count,
  };
  if (!existsSync(join(folder, filter.truth))) {
    const exact = new (nativeAddon().ExactIndex)(readFloats(folder, DATA_FILES.vectors), WIDTH);
    const truth = newSearchOutput(QUERIES, K);
    const queries = readFloats(folder, DATA_FILES.queries('test')).subarray(0, QUERIES * WIDTH);
    exact.search(queries, QUERIES, Math.min(K, size), list.words, truth);
    writeFileAtomic(join(folder, filter.allow), new Uint8Array(list.words.buffer));
    writeFileAtomic(join(folder, filter.truth), new Uint8Array(truth.rows.buffer));
  }
  return filter;
}
