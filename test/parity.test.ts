// Training and serving compute the same function: tfjs and the addon's head at every instruction set, on any weights.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { useBackend } from '../src/backend/select.ts';
import { headWeights } from '../src/bundle/head-weights.ts';
import type { ModelConfig } from '../src/bundle/manifest.ts';
import { buildSchema } from '../src/features/build-schema.ts';
import { HeadBatchBuilder, type HeadBatch } from '../src/features/head-batch.ts';
import { subjectRows } from '../src/features/schema.ts';
import { buildItemFeatures } from '../src/features/item-features.ts';
import { TwoTower } from '../src/model/two-tower.ts';
import { nativeAddon } from '../src/native/binding.ts';
import { Random } from '../src/random.ts';

const TOLERANCE = 1e-5;
const addon = nativeAddon();
const schema = buildSchema({
  maxHistory: 2,
  actionNames: [],
  itemIds: ['i'],
  titles: ['red lantern'],
  categoryNames: ['a', 'b', 'c', 'd', 'e'],
  advertisers: [],
  prices: new Float64Array(0),
  genders: ['f', 'm'],
  countries: ['DE', 'FR', 'US'],
});
const items = buildItemFeatures(schema, {
  count: 1,
  categoryOffsets: Int32Array.of(0, 0),
  categoryRows: new Int32Array(0),
  categoryConfidences: new Float32Array(0),
  advertisers: [''],
  prices: [Number.NaN],
});

/** Odd widths, so that every kernel has a tail. */
const width = fc.integer({ min: 1, max: 70 });
const configs = fc
  .record({
    headWidth: fc.integer({ min: 2, max: 30 }),
    hiddenWidth: width,
    contextWidth: width,
    subjectWidth: fc.integer({ min: 1, max: 20 }),
    demographicWidth: fc.integer({ min: 1, max: 9 }),
    heads: fc.integer({ min: 1, max: 3 }),
    fusion: fc.constantFrom('none' as const, 'concat' as const, 'attention' as const),
  })
  .map(({ headWidth, heads, ...sizes }): ModelConfig => ({
    ...sizes,
    heads,
    embeddingWidth: heads * headWidth,
    blocks: 1,
    feedForwardWidth: 1,
    maxHistory: 2,
    actionWidth: 1,
    subjectItem: false,
  }));

/** A model whose every weight is random, biases too. */
function randomModel(config: ModelConfig, random: Random): TwoTower {
  const drawn = new TwoTower(config, schema, items, { seed: random.nextUint32() });
  const weights = drawn.weights();
  drawn.dispose();
  for (const [name, { data }] of weights)
    if (/bias$/i.test(name)) for (let i = 0; i < data.length; i++) data[i] = 0.3 * random.normal();
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
    );
  }
  return builder.batch();
}

test('tfjs and the native head give the same query embeddings', async () => {
  await fc.assert(
    fc.asyncProperty(
      configs,
      fc.integer({ min: 1, max: 20 }),
      fc.nat(),
      async (config, count, seed) => {
        const random = new Random(seed);
        await useBackend();
        const model = randomModel(config, random);
        const batch = randomBatch(
          count,
          config.embeddingWidth,
          config.fusion === 'attention',
          random,
        );
        const weights = headWeights(model.weights(), config, schema);
        const expected = new Map<string, Float32Array>();
        for (const backend of ['native', 'cpu'] as const) {
          await useBackend(backend);
          expected.set(backend, model.embedQueries(batch));
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
        }
      },
    ),
    { numRuns: 40 },
  );
});
