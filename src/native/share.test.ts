// Native objects in two JavaScript threads: one copy, the same answers from both at once, alive as
// long as either has it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { packageRoot } from '../package-root.ts';
import { nativeAddon } from './addon.ts';

const SIZE = 3000;
const WIDTH = 16;
const K = 20;
const QUERIES = 64;
const ROUNDS = 50;

const addon = nativeAddon();

function unitRows(
  count: number,
  seed: number,
  buffer: ArrayBuffer | SharedArrayBuffer,
): Float32Array {
  const rows = new Float32Array(buffer);
  let state = seed;
  for (let i = 0; i < rows.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    rows[i] = state / 2 ** 31 - 1;
  }
  for (let row = 0; row < count; row++) {
    const view = rows.subarray(row * WIDTH, (row + 1) * WIDTH);
    const norm = Math.hypot(...view);
    for (let i = 0; i < WIDTH; i++) view[i]! /= norm;
  }
  return rows;
}

const vectors = unitRows(SIZE, 1, new SharedArrayBuffer(SIZE * WIDTH * 4));
const queries = unitRows(QUERIES, 2, new ArrayBuffer(QUERIES * WIDTH * 4));

/** What a thread runs: it redeems the tickets and searches until it is told to stop. */
const THREAD = `
  const { workerData, parentPort } = require('node:worker_threads');
  const addon = require(workerData.addon);
  const { vectors, queries, exact, clusters, hnsw, SIZE, WIDTH, K, QUERIES, ROUNDS } = workerData;
  const indexes = {
    exact: new addon.ExactIndex(vectors, exact),
    clusters: addon.ClusterIndex.attach(clusters, vectors),
    hnsw: addon.HnswIndex.attach(hnsw),
  };
  const refused = [];
  for (const redeem of [
    () => new addon.ExactIndex(vectors, exact),
    () => addon.HnswIndex.attach(clusters),
    () => addon.ClusterIndex.attach(12345n, vectors),
    () => new addon.Head(0n),
    () => indexes.exact.addCodes(),
  ])
    try { redeem(); refused.push(''); } catch (error) { refused.push(error.message); }
  const search = () => {
    const all = {};
    for (const [name, index] of Object.entries(indexes)) {
      const out = {
        rows: new Int32Array(QUERIES * K),
        scores: new Float32Array(QUERIES * K),
        counts: new Int32Array(QUERIES),
      };
      if (name === 'exact') index.search(queries, QUERIES, K, null, out);
      else if (name === 'clusters') index.search(queries, QUERIES, K, null, 1, out);
      else index.search(queries, QUERIES, K, 100, null, out);
      all[name] = out.rows;
    }
    return all;
  };
  const first = search();
  for (let round = 1; round < ROUNDS; round++) {
    const again = search();
    for (const name in first)
      if (!first[name].every((row, i) => row === again[name][i])) throw new Error(name);
  }
  parentPort.postMessage({ refused, rows: first });
  parentPort.once('message', () => parentPort.postMessage({ rows: search() }));
`;

test('shared indexes answer on two threads, also after the first has released them', async () => {
  const options = { connectivity: 8, expansionAdd: 64, threads: 1 };
  let own = {
    exact: new addon.ExactIndex(vectors, WIDTH),
    clusters: await addon.ClusterIndex.build(vectors, WIDTH, { queries, k: K, recallTarget: 0.9 }),
    hnsw: await addon.HnswIndex.build(vectors, WIDTH, options),
  };
  const search = (): Record<string, Int32Array> => {
    const outs = ['exact', 'clusters', 'hnsw'].map((name) => ({
      name,
      rows: new Int32Array(QUERIES * K),
      scores: new Float32Array(QUERIES * K),
      counts: new Int32Array(QUERIES),
    }));
    own.exact.search(queries, QUERIES, K, null, outs[0]!);
    own.clusters.search(queries, QUERIES, K, null, 1, outs[1]!);
    own.hnsw.search(queries, QUERIES, K, 100, null, outs[2]!);
    return Object.fromEntries(outs.map(({ name, rows }) => [name, rows]));
  };
  const expected = search();

  const worker = new Worker(THREAD, {
    eval: true,
    execArgv: [],
    workerData: {
      addon: join(packageRoot(), 'build', 'Release', 'tandem.node'),
      vectors,
      queries,
      SIZE,
      WIDTH,
      K,
      QUERIES,
      ROUNDS,
      exact: own.exact.share(),
      clusters: own.clusters.share(),
      hnsw: own.hnsw.share(),
    },
  });
  const answered = once(worker, 'message') as Promise<
    [{ refused: string[]; rows: typeof expected }]
  >;
  // While the thread searches, so does this one.
  for (let round = 0; round < ROUNDS; round++) {
    assert.deepEqual(search(), expected);
    await new Promise(setImmediate);
  }
  const [{ refused, rows }] = await answered;
  assert.deepEqual(rows, expected);
  assert.match(refused[0]!, /ticket of share\(\) that was not redeemed yet/);
  for (const message of refused.slice(1, 4)) assert.match(message, /Expected a ticket of share/);
  assert.match(refused[4]!, /Add codes before share/);

  own = undefined as unknown as typeof own;
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  await new Promise(setImmediate);
  const again = once(worker, 'message') as Promise<[{ rows: typeof expected }]>;
  worker.postMessage('again');
  assert.deepEqual((await again)[0].rows, expected);
  await once(worker, 'exit');
});
