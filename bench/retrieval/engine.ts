// Starts the contestants of the retrieval benchmarks and talks to them with one protocol. Each
// contestant runs in a process of its own over the same files, on the number of threads that it is
// given, and in the language that its users would use, so that all are timed alike.

import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.ts';
import { PeerProcess } from '../peers/process.ts';
import { startPython } from '../peers/python.ts';
import { K, WIDTH } from '../vectors.ts';
import type { DataSet, Split } from './data-set.ts';

/**
 * Parameters of every graph. usearch and hnswlib have other names for them, but the same meaning.
 */
const CONNECTIVITY = 16;
const EXPANSION_ADD = 128;

export interface BuildReport {
  /** Build time in the run that built it. Later runs load the index from the data set's folder. */
  readonly seconds: number;
  readonly threads: number;
  /** Size of the index in memory or on disk. It includes vectors where the index has its own. */
  readonly bytesPerItem: number;
}

/** One index in one process. */
export interface Engine {
  /** Name on the page, e.g. `usearch JS HNSW`. */
  readonly name: string;
  readonly process: PeerProcess;
  /** The name of the index in its process. */
  readonly index: string;
  readonly threads: number;
  /** How thoroughly it can search; undefined where there is nothing to choose. */
  readonly efforts: EffortRange | undefined;
}

export interface EffortRange {
  /** The library's name for the effort, e.g. `nprobe`. */
  readonly word: string;
  readonly first: number;
  readonly last: number;
}

const EXPANSION: EffortRange = { word: 'expansion', first: 100, last: 16_384 };

/** @param threads - number of threads that our addon and usearch search with. */
export async function startNode(data: DataSet, threads: number): Promise<PeerProcess> {
  const process_ = new PeerProcess(
    'engine-process.ts',
    [
      process.execPath,
      '--import',
      'tsx',
      join(packageRoot(), 'bench', 'retrieval', 'engine-process.ts'),
    ],
    { environment: { TANDEM_THREADS: String(threads) } },
  );
  await process_.request('open', { folder: data.folder, width: WIDTH, k: K });
  return process_;
}

/** @returns the process; where FAISS is not installed, the reason as text. */
export async function startFaiss(data: DataSet): Promise<PeerProcess | string> {
  const faiss = startPython('faiss_peer.py', ['faiss', 'numpy']);
  if (typeof faiss === 'string') return faiss;
  await faiss.request('open', { folder: data.folder, width: WIDTH, k: K });
  return faiss;
}

/** Engines that run in a Node process, by their name in engine-process.ts. */
export const NODE_ENGINES: Readonly<
  Record<
    string,
    {
      readonly name: string;
      readonly efforts: EffortRange | undefined;
      /** Its binding builds and searches on one thread only. */
      readonly oneThread?: true;
    }
  >
> = {
  exact: { name: 'our exact scan', efforts: undefined },
  codes: { name: 'our exact scan of codes', efforts: undefined },
  hnsw: { name: 'our HNSW', efforts: EXPANSION },
  clusters: { name: 'our clusters', efforts: undefined },
  planned: { name: 'our plan', efforts: undefined },
  usearch: { name: 'usearch JS HNSW', efforts: EXPANSION },
  hnswlib: { name: 'hnswlib-node HNSW', efforts: EXPANSION, oneThread: true },
};

/** @param index - hnsw, or ivf-sq8-<lists>[-refined]. */
export function faissEngine(process_: PeerProcess, index: string, threads: number): Engine {
  const lists = /^ivf-sq8-(\d+)/.exec(index)?.[1];
  return lists === undefined
    ? { name: 'FAISS HNSW', process: process_, index, threads, efforts: EXPANSION }
    : {
        name: `FAISS IVF${lists}-SQ8${index.endsWith('-refined') ? ' refined' : ''}`,
        process: process_,
        index,
        threads,
        efforts: { word: 'nprobe', first: 1, last: Number(lists) },
      };
}

export function nodeEngine(process_: PeerProcess, index: string, threads: number): Engine {
  return { ...NODE_ENGINES[index]!, process: process_, index, threads };
}

/** @throws Error with the reason when the engine does not work on this machine. */
export function build(engine: Engine, threads: number): Promise<BuildReport> {
  return engine.process.request('build', {
    index: engine.index,
    threads,
    connectivity: CONNECTIVITY,
    expansionAdd: EXPANSION_ADD,
  });
}

export async function recallOf(engine: Engine, effort: number, split: Split): Promise<number> {
  const { recall } = await engine.process.request<{ recall: number }>('recall', {
    index: engine.index,
    effort,
    split,
    threads: engine.threads,
  });
  return recall;
}

/** Measures the mean seconds of a query, with `batch` queries in each call. */
export async function secondsPerQuery(
  engine: Engine,
  effort: number,
  batch: number,
  seconds: number,
  allow?: string,
): Promise<number> {
  const { secondsPerQuery: mean } = await engine.process.request<{ secondsPerQuery: number }>(
    'measure',
    {
      index: engine.index,
      effort,
      batch,
      threads: engine.threads,
      seconds,
      ...(allow !== undefined && { allow }),
    },
  );
  return mean;
}

/** What searches with a filter found for the first `count` test queries. */
export interface Filtered {
  readonly recall: number;
  /** The smallest number of hits of a query. */
  readonly returned: number;
  readonly plan?: string;
}

/**
 * @param filter - files of the data set: a bitset, and the true best with that filter, [count, K].
 */
export function filteredRecall(
  engine: Engine,
  effort: number,
  filter: { readonly allow: string; readonly truth: string; readonly count: number },
): Promise<Filtered> {
  const { index, threads } = engine;
  const { allow, truth, count } = filter;
  return engine.process.request('filtered', { index, effort, threads, allow, truth, count });
}

/** An effort and the recall@K that it gives on the calibration queries. */
export interface Calibrated {
  readonly effort: number;
  readonly recall: number;
}

/** Relative step at which the search for the smallest effort stops. */
const PRECISION = 1.05;

/**
 * Finds the smallest effort whose recall on the calibration queries is at least `target`, with a
 * relative error of at most PRECISION - 1.
 *
 * @returns when no effort reaches the target, the largest effort and its recall.
 */
export async function calibrate(engine: Engine, target: number): Promise<Calibrated> {
  const at = async (effort: number): Promise<Calibrated> => ({
    effort,
    recall: await recallOf(engine, effort, 'calibration'),
  });
  if (engine.efforts === undefined) return at(0);
  const { first, last } = engine.efforts;
  let below = 0;
  let best = await at(first);
  while (best.recall < target && best.effort < last) {
    below = best.effort;
    best = await at(Math.min(last, best.effort * 2));
  }
  if (best.recall < target) return best;
  while (best.effort > below + 1 && best.effort > below * PRECISION && below > 0) {
    const middle = await at(Math.floor((below + best.effort) / 2));
    if (middle.recall >= target) best = middle;
    else below = middle.effort;
  }
  return best;
}
