import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { buildSchema } from './build-schema.ts';
import { buildItemFeatures } from './item-features.ts';

const schema = buildSchema({
  maxHistory: 4,
  actionNames: [],
  itemIds: ['i0'],
  titles: [],
  categoryNames: ['a', 'b', 'c'],
  advertisers: ['acme'],
  prices: Float64Array.of(1, 2, 3),
  genders: [],
  countries: [],
});

const item = fc.record({
  categories: fc.array(
    fc.tuple(
      fc.integer({ min: -1, max: 2 }),
      fc.float({ min: Math.fround(0.01), max: 1, noNaN: true }),
    ),
    { maxLength: 12 },
  ),
  advertiser: fc.constantFrom('acme', 'nobody', ''),
  price: fc.constantFrom(0, 1, 2.5, Number.NaN),
});

test('weights of known categories sum to 1, and unknown values have row 0', () => {
  fc.assert(
    fc.property(fc.array(item, { minLength: 1, maxLength: 8 }), (items) => {
      const offsets = [0];
      for (const { categories } of items) offsets.push(offsets.at(-1)! + categories.length);
      const flat = items.flatMap(({ categories }) => categories);
      const features = buildItemFeatures(schema, {
        count: items.length,
        categoryOffsets: Int32Array.from(offsets),
        categoryRows: Int32Array.from(flat, ([row]) => row),
        categoryConfidences: Float32Array.from(flat, ([, confidence]) => confidence),
        advertisers: items.map(({ advertiser }) => advertiser),
        prices: items.map(({ price }) => price),
      });
      for (const [i, { categories, advertiser, price }] of items.entries()) {
        // The strongest eight of the categories in the schema.
        const known = categories.filter(([row]) => row >= 0).slice(0, 8);
        const [begin, end] = [features.categoryOffsets[i], features.categoryOffsets[i + 1]];
        assert.deepEqual(
          [...features.categoryRows.subarray(begin, end)],
          known.map(([row]) => row),
        );
        const weights = [...features.categoryWeights.subarray(begin, end)];
        const all = known.reduce((sum, [, confidence]) => sum + confidence, 0);
        for (const [at, [, confidence]] of known.entries())
          assert.ok(Math.abs(weights[at]! - confidence / all) < 1e-6);
        assert.equal(features.advertiserRows[i], advertiser === 'acme' ? 1 : 0);
        assert.equal(features.priceRows[i], Number.isNaN(price) ? 0 : Math.floor(price));
      }
    }),
  );
});
