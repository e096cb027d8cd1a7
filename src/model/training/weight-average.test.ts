import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { makeShop, SHOP_TRAINING, shopDataset } from '../../../test/support/shop.ts';
import { useBackend } from '../../backend/select.ts';
import { tf } from '../../backend/tf.ts';
import { catalogueItemFeatures } from '../../bundle/weights/item-features.ts';
import { buildCatalogue } from '../../bundle/catalogue.ts';
import { oneShard } from '../../data/shards.ts';
import { schemaOf } from './train.ts';
import { TwoTower } from '../network/two-tower.ts';
import { averageWeights } from './weight-average.ts';

await useBackend();
const shards = oneShard(shopDataset(makeShop({ items: 16, users: 8, seed: 3 })));
const schema = schemaOf(shards, SHOP_TRAINING);
const catalogue = buildCatalogue(shards.items, schema.categories, new Float32Array(16));

/** A model whose weights are all the same number. */
function constantModel(value: number): TwoTower {
  const items = catalogueItemFeatures(schema, catalogue);
  const model = new TwoTower(SHOP_TRAINING.model, schema, items, { seed: 1 });
  setAll(model, value);
  return model;
}

function setAll(model: TwoTower, value: number): void {
  tf.tidy(() => {
    for (const variable of model.variables.values())
      variable.assign(tf.fill(variable.shape, value));
  });
}

describe('the mean of the last weights', () => {
  it('is as old as asked for, and of the first weights nothing is left', async () => {
    await fc.assert(
      fc.asyncProperty(fc.double({ min: 0.05, max: 0.5, noNaN: true }), async (share) => {
        const steps = 400;
        const model = constantModel(0);
        const averaged = constantModel(1e6);
        for (let step = 1; step <= steps; step++) {
          setAll(model, step);
          averageWeights(averaged, model, share, step);
        }
        for (const { data } of (await averaged.weights()).values()) {
          const age = steps - data[0]!;
          assert.ok(Math.abs(age - share * steps) < 0.05 * steps, `share ${share}, age ${age}`);
          assert.ok(data.every((value) => value === data[0]));
        }
        model.dispose();
        averaged.dispose();
      }),
      { numRuns: 5 },
    );
  });
});
