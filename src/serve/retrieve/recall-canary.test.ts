import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nativeAddon } from '../../native/addon.ts';
import { Random } from '../../random.ts';
import { graphIndex } from '../../retrieval/approximate-index.ts';
import { newSearchOutput } from '../../retrieval/search-plan.ts';
import { PlannedIndex } from '../../retrieval/planned-index.ts';
import { ServerMetrics } from '../metrics/metrics.ts';
import { RecallCanary } from './recall-canary.ts';
import type { ResolvedQuery } from './resolved-query.ts';

const SIZE = 4000;
const WIDTH = 16;
const K = 20;

function unitRows(count: number, seed: number): Float32Array {
  const random = new Random(seed);
  const rows = Float32Array.from({ length: count * WIDTH }, () => random.normal());
  for (let row = 0; row < count; row++) {
    const view = rows.subarray(row * WIDTH, (row + 1) * WIDTH);
    const norm = Math.hypot(...view);
    for (let i = 0; i < WIDTH; i++) view[i]! /= norm;
  }
  return rows;
}

function resolvedQuery(excluded: readonly number[] = [], maxEach?: number): ResolvedQuery {
  return {
    request: {
      kind: 'candidates',
      user: 'u',
      surface: 'related',
      k: K,
      explain: false,
      ...(maxEach !== undefined && { filter: { advertisers: { max_each: maxEach } } }),
    },
    subject: { bag: { rows: [], weights: [] }, itemRow: -1, inputRow: -1 },
    filter: undefined,
    excluded: new Set(excluded),
  };
}

test('the metric is the share of the true best items in every third answer', async () => {
  const vectors = unitRows(SIZE, 1);
  const exact = new (nativeAddon().ExactIndex)(vectors, WIDTH);
  // A graph too sparse to find everything.
  const options = { connectivity: 3, expansionAdd: 8, threads: 1 };
  const graph = await nativeAddon().HnswIndex.build(vectors, WIDTH, options);
  const index = new PlannedIndex({ exact, approximate: graphIndex(graph, K), plan: 'approximate' });
  const metrics = new ServerMetrics();
  const canary = new RecallCanary(metrics, 3);
  const measured = async (): Promise<{ sum: number; count: number }> => {
    const text = await metrics.registry.metrics();
    const of = (suffix: string): number =>
      Number(new RegExp(`^tandem_ann_recall_ratio${suffix} (.*)$`, 'm').exec(text)![1]);
    return { sum: of('_sum'), count: of('_count') };
  };

  const queries = unitRows(30, 2);
  let expected = 0;
  let checked = 0;
  for (let q = 0; q < 30; q++) {
    const query = queries.subarray(q * WIDTH, (q + 1) * WIDTH);
    const [found, best] = [newSearchOutput(1, K + 1), newSearchOutput(1, K + 1)];
    const { plan } = await index.search(query, 1, K + 1, null, found, 'inline');
    exact.search(query, 1, K + 1, null, best);
    // The best of all is excluded, as the item in view is.
    const excluded = best.rows[0]!;
    const rows = found.rows.filter((row) => row !== excluded).subarray(0, K);
    const answer = { engine: { index }, plan, query, rows, boostedItems: new Int32Array(0) };
    canary.observe({ ...answer, resolved: resolvedQuery([excluded]) });
    // These are not counted: the first is exact, and the second did not ask for the nearest items.
    canary.observe({ ...answer, resolved: resolvedQuery(), plan: 'exact' });
    canary.observe({ ...answer, resolved: resolvedQuery([], 1) });
    if (q % 3 !== 2) continue;
    const truth = new Set(best.rows.subarray(1));
    expected += rows.filter((row) => truth.has(row)).length / K;
    checked++;
    while ((await measured()).count < checked) await new Promise(setImmediate);
  }
  const { sum, count } = await measured();
  assert.equal(count, 10);
  assert.ok(Math.abs(sum - expected) < 1e-9, `${sum} ${expected}`);
  assert.ok(sum < count, 'a graph that finds everything tests nothing');
});

test('boosted items, which are found without the index, are not measured', async () => {
  const vectors = unitRows(SIZE, 1);
  const exact = new (nativeAddon().ExactIndex)(vectors, WIDTH);
  const options = { connectivity: 8, expansionAdd: 64, threads: 1 };
  const graph = await nativeAddon().HnswIndex.build(vectors, WIDTH, options);
  const index = new PlannedIndex({ exact, approximate: graphIndex(graph, K), plan: 'approximate' });
  const metrics = new ServerMetrics();
  const canary = new RecallCanary(metrics, 1);
  const query = unitRows(1, 3);
  const best = newSearchOutput(1, SIZE);
  exact.search(query, 1, SIZE, null, best);
  // The worst four items and two of the best have boosts, which lift them to the top of a perfect
  // answer.
  const boostedItems = Int32Array.of(...best.rows.subarray(-4), best.rows[2]!, best.rows[30]!);
  const others = best.rows.filter((row) => !boostedItems.includes(row));
  const rows = Int32Array.of(...boostedItems, ...others).subarray(0, K);
  canary.observe({
    resolved: resolvedQuery(),
    engine: { index },
    plan: 'hnsw',
    query,
    rows,
    boostedItems,
  });
  const sum = async (): Promise<string> => {
    const text = await metrics.registry.metrics();
    return /^tandem_ann_recall_ratio_sum (.*)$/m.exec(text)![1]!;
  };
  while ((await sum()) === '0') await new Promise(setImmediate);
  assert.equal(await sum(), '1');
});
