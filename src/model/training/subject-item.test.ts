// The item in view as a context feature: it changes the query when present, adds nothing when
// absent, and is never the label of its training example.

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { makeShop, SHOP_TRAINING, shopDataset } from '../../../test/support/shop.ts';
import { useBackend } from '../../backend/select.ts';
import { buildCatalogue } from '../../bundle/catalogue.ts';
import { catalogueItemFeatures } from '../../bundle/weights/item-features.ts';
import { microDataset, microRequest } from '../../../test/support/micro-dataset.ts';
import { buildSchema } from '../../features/build-schema.ts';
import { ContextFeatures, NO_SUBJECT } from '../../features/context.ts';
import { HeadBatchBuilder, type HeadBatch } from '../../features/head-batch.ts';
import { requestsOfEvents } from './contexts/logged-context.ts';
import { TrainingSampler } from './sampling/sampler.ts';
import type { Objective, TrainConfig } from '../train-config.ts';
import { TwoTower, type WeightMap } from '../network/two-tower.ts';

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
  it('tells items in view apart, and is the model without it where none is', async () => {
    const model = new TwoTower(config, schema, features, { seed: 1 });
    const plain = new TwoTower(
      { ...config, subjectItem: false },
      schema,
      features,
      withoutItem(await model.weights()),
    );
    const [none, one, other] = await Promise.all(
      [-1, 3, 4].map((item) => model.embedQueries(viewing(item))),
    );
    for (const [i, value] of (await plain.embedQueries(viewing(3))).entries())
      assert.ok(Math.abs(value - none![i]!) < 1e-6);
    const distance = (a: Float32Array, b: Float32Array): number =>
      Math.hypot(...a.map((value, i) => value - b[i]!));
    assert.ok(distance(one!, none!) > 1e-3 && distance(one!, other!) > 1e-3);
    model.dispose();
    plain.dispose();
  });

  it('is never the positive of its example, whatever contexts and objective', () => {
    // Few items, so that users come back to them.
    const item = fc.nat(4);
    const user = fc.nat(1);
    const hour = fc.nat(20).map((hours) => hours * 3600);
    const share = fc.constantFrom(0, 0.5, 1);
    const settings = fc.record({
      loggedShare: share,
      neighbourShare: share,
      queryShare: fc.constantFrom(0, 0.5),
      neighbourSeconds: fc.constantFrom(0, 3600, 1e5),
      recencyMaskHours: fc.constantFrom(0, 6),
      positivesPerUser: fc.constantFrom(2, 'all' as const),
      objective: fc.constantFrom<Objective[]>(
        { kind: 'next' },
        { kind: 'all' },
        { kind: 'denseAll', windowEvents: 3 },
      ),
      seed: fc.nat(1000),
    });
    const events = fc.array(fc.record({ user, item, time: hour }), {
      minLength: 1,
      maxLength: 20,
    });
    // Every later purchase is a positive, so that many events have a logged request.
    const requests = fc.array(fc.record({ user, time: hour, subject: item }), { maxLength: 6 });
    let inView = 0;
    fc.assert(
      fc.property(
        events,
        requests,
        settings,
        (bought, viewed, { loggedShare, ...drawnSettings }) => {
          const dataset = microDataset(
            5,
            bought,
            viewed
              .sort((a, b) => a.time - b.time)
              .map(({ subject, ...request }, i) =>
                microRequest({
                  ...request,
                  id: `r${i}`,
                  subject: { kind: 'item', item: subject },
                  positives: [0, 1, 2, 3, 4],
                }),
              ),
            Number.NaN,
            [['a'], ['b'], [], ['a', 'b'], ['c']],
          );
          const { userOffsets } = dataset.events;
          const ends = userOffsets.slice(1);
          const logged = requestsOfEvents(dataset, ends).some((row) => row >= 0);
          const features = new ContextFeatures(
            buildSchema({
              maxHistory: config.maxHistory,
              actionNames: dataset.events.actionNames,
              itemIds: dataset.items.ids,
              titles: [],
              categoryNames: dataset.items.categoryNames,
              advertisers: [],
              prices: new Float64Array(0),
              genders: [],
              countries: [],
            }),
          );
          const training: TrainConfig = {
            ...SHOP_TRAINING,
            model: config,
            ...drawnSettings,
            loggedShare: logged ? loggedShare : 0,
          };
          const sampler = new TrainingSampler(dataset, features, training, ends, 0);
          for (const step of [1, 2, 3]) {
            const { positives, contexts } = sampler.sample(step);
            for (const [example, positive] of positives.entries()) {
              const viewedItem = contexts.subjectItems![example]!;
              assert.notEqual(viewedItem, positive);
              inView += Number(viewedItem >= 0);
            }
          }
        },
      ),
    );
    assert.ok(inView > 1000, `${inView} items in view`);
  });
});
