// The item in view as a context feature: what it adds to the model, and that it adds nothing where there is none.

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { makeShop, SHOP_TRAINING, shopDataset } from '../../test/support/shop.ts';
import { useBackend } from '../backend/select.ts';
import { buildCatalogue } from '../bundle/catalogue.ts';
import { catalogueItemFeatures } from '../bundle/item-features.ts';
import { buildSchema } from '../features/build-schema.ts';
import { NO_SUBJECT } from '../features/context.ts';
import { HeadBatchBuilder, type HeadBatch } from '../features/head-batch.ts';
import { TwoTower, type WeightMap } from './two-tower.ts';

before(() => useBackend());

const { items, events } = shopDataset(makeShop({ items: 12, users: 4, seed: 2 }));
const schema = buildSchema({
  maxHistory: SHOP_TRAINING.model.maxHistory,
  actionNames: events.actionNames,
  itemIds: items.ids,
  titles: [],
  categoryNames: items.categoryNames,
  advertisers: items.advertisers,
  prices: items.prices,
  genders: [],
  countries: [],
});
const features = catalogueItemFeatures(
  schema,
  buildCatalogue(items, schema.categories, new Float32Array(items.count)),
);
const config = { ...SHOP_TRAINING.model, subjectItem: true };
const { embeddingWidth: width } = config;

function viewing(subjectItem: number): HeadBatch {
  const builder = new HeadBatchBuilder(width, 1);
  builder.add(undefined, 0, NO_SUBJECT, [0, 0, 0], subjectItem);
  return builder.batch();
}

/** The weights of the same model without the item: the context layer loses its last D inputs. */
function withoutItem(weights: WeightMap): WeightMap {
  const { shape, data } = weights.get('context.contextWeight')!;
  const [rows, inputs] = shape as [number, number];
  const kept = inputs - width;
  const values = new Float32Array(rows * kept);
  for (let row = 0; row < rows; row++)
    values.set(data.subarray(row * inputs, row * inputs + kept), row * kept);
  return new Map([...weights, ['context.contextWeight', { shape: [rows, kept], data: values }]]);
}

describe('subjectItem', () => {
  it('tells items in view apart, and is the model without it where none is', () => {
    const model = new TwoTower(config, schema, features, { seed: 1 });
    const plain = new TwoTower(
      { ...config, subjectItem: false },
      schema,
      features,
      withoutItem(model.weights()),
    );
    const [none, one, other] = [-1, 3, 4].map((item) => model.embedQueries(viewing(item)));
    for (const [i, value] of plain.embedQueries(viewing(3)).entries())
      assert.ok(Math.abs(value - none![i]!) < 1e-6);
    const distance = (a: Float32Array, b: Float32Array): number =>
      Math.hypot(...a.map((value, i) => value - b[i]!));
    assert.ok(distance(one!, none!) > 1e-3 && distance(one!, other!) > 1e-3);
    model.dispose();
    plain.dispose();
  });
});
