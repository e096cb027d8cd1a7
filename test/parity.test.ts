// Training and serving compute the same function: tfjs and the addon's head are compared at every
// instruction set with random weights. In bf16 the results are nearly the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { useBackend } from '../src/backend/select.ts';
import { headWeights } from '../src/bundle/weights/head-weights.ts';
import type { ModelConfig } from '../src/bundle/manifest.ts';
import { buildCatalogue } from '../src/bundle/catalogue.ts';
import { catalogueItemFeatures } from '../src/bundle/weights/item-features.ts';
import { buildSchema } from '../src/features/build-schema.ts';
import { HeadBatchBuilder, type HeadBatch } from '../src/features/head-batch.ts';
import { subjectRows } from '../src/features/schema.ts';
import { TwoTower } from '../src/model/network/two-tower.ts';
import { nativeAddon } from '../src/native/addon.ts';
import { Random } from '../src/random.ts';

const TOLERANCE = 1e-5;
const BF16_COSINE = 0.999;
const ITEMS = 7;
const addon = nativeAddon();
const categoryNames = ['a', 'b', 'c', 'd', 'e'];
const bags = Array.from({ length: ITEMS }, (_, i) => [i % 5, (i + 2) % 5].slice(0, i % 3));
/** Items with and without categories, advertiser and price. */
const columns = {
  ids: bags.map((_, i) => `item-${i}`),
  titles: bags.map((_, i) => (i === 0 ? 'red lantern' : '')),
  advertisers: bags.map((_, i) => (i % 4 === 0 ? '' : `advertiser-${i % 2}`)),
  prices: Float64Array.from(bags, (_, i) => (i % 3 === 0 ? NaN : i)),
  categoryNames,
  categoryOffsets: Int32Array.from([0, ...bags.map((_, i) => bags.slice(0, i + 1).flat().length)]),
  categoryValues: Int32Array.from(bags.flat()),
  categoryConfidences: Float32Array.from(bags.flat(), (_, i) => 1 / (1 + (i % 3))),
  countries: bags.map(() => []),
};
const schema = buildSchema({
  maxHistory: 2,
  actionNames: [],
  itemIds: columns.ids,
  titles: columns.titles,
  categoryNames,
  advertisers: columns.advertisers,
  prices: columns.prices,
  genders: ['f', 'm'],
  countries: ['DE', 'FR', 'US'],
});
const catalogue = buildCatalogue(columns, schema.categories, new Float32Array(ITEMS));
const items = catalogueItemFeatures(schema, catalogue);

/** Odd widths, so that every kernel has a tail. */
const width = fc.integer({ min: 1, max: 70 });
const configs = fc
  .record({
    // A vector of two or three numbers is often nearly 0 before it is normalised, which multiplies
    // rounding errors by hundreds. src/native/head.test.ts draws them and scales its tolerance.
    headWidth: fc.integer({ min: 4, max: 30 }),
    hiddenWidth: width,
    contextWidth: width,
    subjectWidth: fc.integer({ min: 1, max: 20 }),
    demographicWidth: fc.integer({ min: 1, max: 9 }),
    heads: fc.integer({ min: 1, max: 3 }),
    fusion: fc.constantFrom('none' as const, 'concat' as const, 'attention' as const),
    subjectItem: fc.boolean(),
  })
  .map(({ headWidth, heads, ...sizes }): ModelConfig => ({
    ...sizes,
    heads,
    embeddingWidth: heads * headWidth,
    blocks: 1,
    feedForwardWidth: 1,
    maxHistory: 2,
    actionWidth: 1,
    historyMean: false,
  }));

/**
 * Makes a model with random weights, also in biases, and item tables with values as large as after
 * training.
 */
async function randomModel(config: ModelConfig, random: Random): Promise<TwoTower> {
  const drawn = new TwoTower(config, schema, items, { seed: random.nextUint32() });
  const weights = await drawn.weights();
  drawn.dispose();
  for (const [name, { data }] of weights)
    if (/bias$|^items/i.test(name))
      for (let i = 0; i < data.length; i++) data[i] = 0.3 * random.normal();
  return new TwoTower(config, schema, items, weights);
}

function randomBatch(
  count: number,
  dimensions: number,
  sequences: boolean,
  random: Random,
): HeadBatch {
  const builder = new HeadBatchBuilder(dimensions, count, sequences);
  for (let i = 0; i < count; i++) {
    const rows = Array.from({ length: random.integer(6) }, () =>
      random.integer(subjectRows(schema)),
    );
    builder.add(
      random.uniform() < 0.25
        ? undefined
        : Float32Array.from({ length: (1 + random.integer(9)) * dimensions }, () =>
            random.normal(),
          ),
      random.uniform(),
      { rows, weights: rows.map(() => (random.uniform() < 0.2 ? 0 : random.uniform())) },
      [
        random.integer(schema.ageBounds.length + 1),
        random.integer(schema.countries.length + 1),
        random.integer(schema.genders.length + 1),
      ],
      random.integer(ITEMS + 1) - 1,
    );
  }
  return builder.batch();
}

test('tfjs and the native head compute the same query embeddings', async () => {
  await fc.assert(
    fc.asyncProperty(
      configs,
      fc.integer({ min: 1, max: 20 }),
      fc.nat(),
      async (config, count, seed) => {
        const random = new Random(seed);
        await useBackend();
        const model = await randomModel(config, random);
        const batch = randomBatch(
          count,
          config.embeddingWidth,
          config.fusion === 'attention',
          random,
        );
        const weights = headWeights(await model.weights(), config, schema, catalogue);
        const expected = new Map<string, Float32Array>();
        for (const backend of ['native', 'cpu'] as const) {
          await useBackend(backend);
          expected.set(backend, await model.embedQueries(batch));
        }
        await useBackend();
        model.dispose();
        for (const isa of addon.availableIsas) {
          const received = new Float32Array(count * config.embeddingWidth);
          new addon.Head(weights, isa).embed(batch, received);
          for (const [backend, values] of expected)
            for (const [i, value] of values.entries())
              assert.ok(
                Math.abs(received[i]! - value) <= TOLERANCE,
                `${isa} and ${backend} at ${i}: ${received[i]!} and ${value}`,
              );
          const rounded = new Float32Array(received.length);
          new addon.Head(weights, isa, 'bf16').embed(batch, rounded);
          for (let b = 0; b < count; b++) {
            let cosine = 0;
            for (let i = b * config.embeddingWidth; i < (b + 1) * config.embeddingWidth; i++)
              cosine += rounded[i]! * expected.get('native')![i]!;
            assert.ok(cosine > BF16_COSINE, `${isa} in bf16: request ${b} at cosine ${cosine}`);
          }
        }
      },
    ),
    { numRuns: 40 },
  );
});
