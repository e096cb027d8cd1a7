// Every item has its own category, so the row of a subject tells which item it came from.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SHOP_TRAINING } from '../../../../test/support/shop.ts';
import type { Dataset } from '../../../data/dataset.ts';
import { microDataset, microRequest } from '../../../../test/support/micro-dataset.ts';
import { buildSchema } from '../../../features/build-schema.ts';
import { ContextFeatures } from '../../../features/context.ts';
import { Random } from '../../../random.ts';
import { ExampleContexts } from './example-contexts.ts';
import { requestsOfEvents } from './logged-context.ts';
import type { TrainConfig } from '../../train-config.ts';

const ITEMS = 6;
const BASE: TrainConfig = {
  ...SHOP_TRAINING,
  loggedShare: 1,
  subjectDropout: 0,
  demographicDropout: 0,
  neighbourShare: 0,
  queryShare: 0,
};

interface LoggedRequest {
  readonly user: number;
  readonly time: number;
  readonly subject: number;
  readonly positives: readonly number[];
}

function datasetOf(
  events: readonly { user: number; item: number; time: number }[],
  requests: readonly LoggedRequest[],
): Dataset {
  return microDataset(
    ITEMS,
    events,
    [...requests]
      .sort((a, b) => a.time - b.time)
      .map(({ subject, ...request }, i) =>
        microRequest({ id: `r${i}`, subject: { kind: 'item', item: subject }, ...request }),
      ),
    Number.NaN,
    Array.from({ length: ITEMS }, (_, item) => [`c${item}`]),
  );
}

function contextsOf(dataset: Dataset, config: TrainConfig, ends: Int32Array): ExampleContexts {
  const schema = buildSchema({
    maxHistory: config.model.maxHistory,
    actionNames: dataset.events.actionNames,
    itemIds: dataset.items.ids,
    titles: [],
    categoryNames: dataset.items.categoryNames,
    advertisers: [],
    prices: new Float64Array(0),
    genders: [],
    countries: [],
  });
  return new ExampleContexts(dataset, new ContextFeatures(schema), config, ends);
}

const itemRow = fc.nat(ITEMS - 1);
const user = fc.nat(1);
const time = fc.nat(20);

describe('requestsOfEvents', () => {
  it('gives an event the latest request that it answers first, and none after the cut', () => {
    const events = fc.array(fc.record({ user, item: itemRow, time }), {
      minLength: 1,
      maxLength: 12,
    });
    const requests = fc.array(
      fc.record({
        user: fc.integer({ min: -1, max: 1 }),
        time,
        subject: itemRow,
        positives: fc.uniqueArray(itemRow, { minLength: 1, maxLength: 3 }),
      }),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(events, requests, fc.nat(4), (drawn, logged, cut) => {
        const dataset = datasetOf(drawn, logged);
        const { userOffsets, users, items, times } = dataset.events;
        const ends = Int32Array.from({ length: dataset.users.count }, (_, u) =>
          Math.max(userOffsets[u]!, userOffsets[u + 1]! - cut),
        );
        const found = requestsOfEvents(dataset, ends);
        for (const [event, row] of found.entries()) {
          const answers = dataset.requests.flatMap((request, i) => {
            const first = items.findIndex(
              (item, other) =>
                users[other] === request.user &&
                item === items[event] &&
                times[other]! >= request.time,
            );
            return first === event && request.positives.includes(items[event]!) ? [i] : [];
          });
          assert.equal(row, event < ends[users[event]!]! ? (answers.at(-1) ?? -1) : -1);
          if (row >= 0) assert.ok(dataset.requests[row]!.time <= times[event]!);
        }
      }),
    );
  });
});

describe('ExampleContexts', () => {
  const events = [0, 1, 2, 3].map((item) => ({ user: 0, item, time: 1000 * (item + 1) }));
  const dataset = datasetOf(events, [
    { user: 0, time: 1900, subject: 5, positives: [1] },
    // The item in view is the positive, which no answer would contain.
    { user: 0, time: 2900, subject: 2, positives: [2] },
    { user: 0, time: 3900, subject: 4, positives: [3] },
  ]);

  it('gives a conversion the subject and time of its request; no subject without one', () => {
    const contexts = contextsOf(dataset, BASE, Int32Array.of(3));
    const drawn = [0, 1, 2].map((event) => contexts.draw(event, 0, 0, 3, new Random(event)));
    assert.deepEqual(
      drawn.map(({ subject, subjectItem, timeSeconds }) => [
        [...subject.rows],
        subjectItem,
        timeSeconds,
      ]),
      [
        [[], -1, 1000],
        [[5], 5, 1900],
        [[], -1, 2900],
      ],
    );
  });

  it('mixes logged and pseudo-contexts by share; one made of the positive has no item', () => {
    const share = 0.3;
    const contexts = contextsOf(dataset, { ...BASE, loggedShare: share }, Int32Array.of(4));
    const random = new Random(5);
    const draws = 4000;
    let logged = 0;
    for (let i = 0; i < draws; i++) {
      const { subject, subjectItem, timeSeconds } = contexts.draw(1, 0, 0, 4, random);
      const isLogged = subjectItem >= 0;
      logged += Number(isLogged);
      assert.deepEqual(subject.rows, [isLogged ? 5 : 1]);
      assert.equal(timeSeconds, isLogged ? 1900 : 2000);
    }
    assert.ok(Math.abs(logged / draws - share) < 6 * Math.sqrt((share * (1 - share)) / draws));
  });

  it('has a neighbour in view, never the positive, and nothing next to a query', () => {
    const made = (settings: Partial<TrainConfig>): ExampleContexts =>
      contextsOf(
        dataset,
        { ...BASE, loggedShare: 0, neighbourShare: 0.5, neighbourSeconds: 1000, ...settings },
        Int32Array.of(3),
      );
    const random = new Random(6);
    const seen = new Set<number>();
    for (let i = 0; i < 200; i++) {
      const { subject, subjectItem } = made({}).draw(1, 0, 0, 3, random);
      assert.deepEqual(subject.rows, [subjectItem < 0 ? 1 : subjectItem]);
      seen.add(subjectItem);
      assert.equal(made({ queryShare: 1 }).draw(1, 0, 0, 3, random).subjectItem, -1);
    }
    assert.deepEqual(seen, new Set([-1, 0, 2]));
  });
});
