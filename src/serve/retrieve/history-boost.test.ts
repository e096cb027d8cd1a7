import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { publishTinyBundle, tinyItem } from '../../../test/support/tiny-bundle.ts';
import { buildCatalogue } from '../../bundle/catalogue.ts';
import { loadBundle } from '../../bundle/load.ts';
import { Random } from '../../random.ts';
import type { HistoryBoosts } from '../../features/item-frequency.ts';
import { Engine } from '../engine/engine.ts';
import { boostOf } from './history-boost.ts';
import { searchItems } from './live-search.ts';
import { scoreItems } from './score-items.ts';

const ITEMS = 60;
const WIDTH = 16;
/** Fresh items: some replace one of the bundle, some are new. */
const REPLACED = [3, 17, 40, -1, -1];
const TOMBSTONES = [3, 17, 40, 5, 59];
const folder = mkdtempSync(join(tmpdir(), 'tandem-boosts-'));
let engines: Record<string, Engine>;

function unitVector(random: Random): Float32Array {
  const vector = Float32Array.from({ length: WIDTH }, () => random.normal());
  const norm = Math.hypot(...vector);
  return vector.map((value) => value / norm);
}

/** Up to a dozen rows of the bundle; some boosts outweigh any cosine, some are 0. */
const drawnBoosts: fc.Arbitrary<HistoryBoosts> = fc
  .uniqueArray(fc.nat(ITEMS - 1), { maxLength: 12 })
  .chain((rows) =>
    fc
      .array(fc.constantFrom(0, 0.01, 0.3, 3), {
        minLength: rows.length,
        maxLength: rows.length,
      })
      .map((boosts) => ({
        items: Int32Array.from(rows).sort(),
        boosts: Float32Array.from(boosts),
      })),
  );

before(async () => {
  const { directory } = await publishTinyBundle(folder, { items: ITEMS, width: WIDTH });
  const bundle = await loadBundle(directory);
  const engine = await Engine.open(bundle, 'exact');
  const rows = REPLACED.map((base, i) => tinyItem(base < 0 ? ITEMS + i : base));
  const columns = {
    ids: rows.map(({ id }) => id),
    titles: rows.map(({ title }) => title),
    advertisers: rows.map(({ advertiser }) => advertiser),
    prices: Float64Array.from(rows, ({ price }) => price),
    categoryNames: bundle.schema.categories,
    categoryOffsets: Int32Array.from({ length: rows.length + 1 }, (_, i) => 2 * i),
    categoryValues: Int32Array.from(rows.flatMap(({ categories }) => categories)),
    categoryConfidences: new Float32Array(2 * rows.length).fill(0.5),
    countries: rows.map(({ countries }) => countries),
  };
  const none = new Float32Array(rows.length);
  const catalogue = buildCatalogue(columns, bundle.schema.categories, none).parts();
  const random = new Random(5);
  const vectors = new Float32Array(rows.length * WIDTH);
  for (let row = 0; row < rows.length; row++) vectors.set(unitVector(random), row * WIDTH);
  engines = {
    'items as they were published': engine,
    'items that changed': engine.withItems({
      version: 1,
      tombstones: Int32Array.from(TOMBSTONES),
      fresh: { catalogue, vectors, baseRows: Int32Array.from(REPLACED) },
      skipped: { damaged: 0, unusable: 0 },
    }),
  };
});
after(() => {
  rmSync(folder, { recursive: true });
});

for (const name of ['items as they were published', 'items that changed'])
  describe(`searchItems with history boosts, ${name}`, () => {
    it('gives the best items that pass, by score plus boost, ties by lower row', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.nat(),
          fc.array(drawnBoosts, { minLength: 1, maxLength: 3 }),
          fc.constantFrom(undefined, { countries: ['DE'] }, { categories: { any: ['games'] } }),
          fc.integer({ min: 1, max: ITEMS + REPLACED.length }),
          async (seed, drawn, requestFilter, maxHits) => {
            const engine = engines[name]!;
            const random = new Random(seed);
            const queries = new Float32Array(drawn.length * WIDTH);
            for (let q = 0; q < drawn.length; q++) queries.set(unitVector(random), q * WIDTH);
            const filter = engine.items.compile(requestFilter);
            const hits = await searchItems(engine, filter, queries, drawn, maxHits, 'inline');
            for (const [q, { rows: found, scores }] of hits.entries()) {
              const query = queries.subarray(q * WIDTH, (q + 1) * WIDTH);
              const rows = Int32Array.from({ length: engine.items.count }, (_, row) => row);
              const products = scoreItems(engine, query, rows);
              const expected = Array.from(rows)
                .filter((row) =>
                  row < ITEMS
                    ? (filter?.allow.has(row) ?? true)
                    : (filter?.fresh?.has(row - ITEMS) ?? true),
                )
                .map((row) => ({
                  row,
                  score: Math.fround(
                    products[row]! + boostOf(drawn[q]!, engine.items.baseRow(row)),
                  ),
                }))
                .sort((a, b) => b.score - a.score || a.row - b.row)
                .slice(0, maxHits);
              assert.deepEqual(
                [...found],
                expected.map(({ row }) => row),
              );
              assert.deepEqual(
                [...scores],
                expected.map(({ score }) => score),
              );
            }
          },
        ),
      );
    });
  });
