// Gives every contestant the smallest effort that reaches the same recall. The queries that tune it
// are not the queries that it is measured with.

import { say } from '../harness.ts';
import type { PeerProcess } from '../peers/process.ts';
import {
  build,
  calibrate,
  faissEngine,
  NODE_ENGINES,
  nodeEngine,
  recallOf,
  secondsPerQuery,
  type BuildReport,
  type Calibrated,
  type Engine,
} from './engine.ts';

export const RECALL_TARGET = 0.99;
/**
 * Numbers of lists of FAISS IVF in multiples of sqrt(N). The documentation of FAISS suggests 4 to
 * 16; fewer lists are built faster.
 */
const LISTS_PER_ROOT = [1, 2, 4, 8];
const REFINED = ['', '-refined'];
const CHOOSING_SECONDS = 0.3;

/** An engine with the smallest effort that reached the target. */
export interface Tuned extends Calibrated {
  readonly engine: Engine;
  readonly built: BuildReport;
  /** Recall on the test queries. */
  readonly testRecall: number;
}

/** @returns undefined, with a message, where this machine cannot build the index. */
export async function tuneNode(
  single: PeerProcess,
  double: PeerProcess,
  index: string,
  threads: number,
): Promise<Tuned | undefined> {
  const engine = nodeEngine(single, index, 1);
  try {
    const buildThreads = NODE_ENGINES[index]!.oneThread === true ? 1 : threads;
    const built = await build(nodeEngine(double, index, threads), buildThreads);
    await build(engine, 1);
    return await tune(engine, built);
  } catch (error) {
    say(`${NODE_ENGINES[index]!.name} is left out: ${String(error)}`);
    return undefined;
  }
}

/**
 * Chooses the FAISS lists of 8-bit codes, refined or not, that answer fastest at the target recall.
 */
export async function tuneFaissLists(
  faiss: PeerProcess,
  size: number,
  threads: number,
): Promise<Tuned | undefined> {
  const root = 2 ** Math.round(Math.log2(Math.sqrt(size)));
  let fastest: { tuned: Tuned; seconds: number } | undefined;
  for (const multiple of LISTS_PER_ROOT)
    for (const suffix of REFINED) {
      const engine = faissEngine(faiss, `ivf-sq8-${root * multiple}${suffix}`, 1);
      const tuned = await tune(engine, await build(engine, threads));
      const seconds = await secondsPerQuery(engine, tuned.effort, 1, CHOOSING_SECONDS);
      say(`${describe(tuned)}: ${(seconds * 1e6).toFixed(0)} us`);
      const reached = tuned.recall >= RECALL_TARGET;
      if (reached && (fastest === undefined || seconds < fastest.seconds))
        fastest = { tuned, seconds };
    }
  return fastest?.tuned;
}

export async function tuneFaissGraph(faiss: PeerProcess, threads: number): Promise<Tuned> {
  const graph = faissEngine(faiss, 'hnsw', 1);
  return tune(graph, await build(graph, threads));
}

async function tune(engine: Engine, built: BuildReport): Promise<Tuned> {
  const calibrated = await calibrate(engine, RECALL_TARGET);
  const testRecall = await recallOf(engine, calibrated.effort, 'test');
  const tuned = { engine, built, ...calibrated, testRecall };
  say(`${describe(tuned)}, built in ${built.seconds.toFixed(1)} s`);
  return tuned;
}

export function describe({
  engine,
  effort,
  testRecall,
}: Pick<Tuned, 'engine' | 'effort' | 'testRecall'>): string {
  const setting = engine.efforts === undefined ? '' : `, ${engine.efforts.word} ${effort}`;
  return `${engine.name}${setting} (recall ${testRecall.toFixed(3)})`;
}
