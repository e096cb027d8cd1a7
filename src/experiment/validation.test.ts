import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inShards } from '../../test/support/in-shards.ts';
import { makeShop, shopDataset } from '../../test/support/shop.ts';
import type { Dataset } from '../data/dataset.ts';
import { oneShard, type DatasetShards } from '../data/shards.ts';
import { lastEventsSplit, timeCutSplit } from '../data/splits.ts';
import { evaluationSet } from '../evaluate/evaluate.ts';
import { validationWindow } from '../evaluate/protocols.ts';
import type { EvaluationQuery } from '../evaluate/query.ts';
import { DEFAULT_TRAINING } from '../model/train-config.ts';
import type { TrainingEnds } from '../model/training/training-statistics.ts';
import { trainForProtocol } from './training-recipe.ts';
import { gatherValidation } from './validation.ts';

const shop = shopDataset(makeShop({ items: 64, users: 90, seed: 6 }));
const anonymous = shop.requests.slice(0, 400).map((request, i) => ({
  ...request,
  ...(i % 7 === 0 && { user: -1 }),
}));
const dataset: Dataset = { ...shop, requests: [...anonymous, ...shop.requests.slice(400)] };

/** A query as a scorer sees it, independent of the rows of its user and events. */
function seen(query: EvaluationQuery, { events, users }: Dataset): unknown {
  const { user, historyBegin, historyEnd, ...rest } = query;
  return {
    ...rest,
    user: users.ids[user],
    age: user < 0 ? -1 : users.ages[user],
    country: users.countries[user],
    history: (['items', 'times', 'actions'] as const).map((column) => [
      ...events[column].subarray(historyBegin, historyEnd),
    ]),
  };
}

const byId = (a: EvaluationQuery, b: EvaluationQuery): number =>
  a.id < b.id ? -1 : a.id > b.id ? 1 : 0;

function endsOf(protocol: 'table' | 'time'): TrainingEnds {
  return protocol === 'table'
    ? (shard) => lastEventsSplit(shard, 'validation').trainEnd
    : (shard) => timeCutSplit(shard, validationWindow(shard).from);
}

describe('gatherValidation', () => {
  // Shards in memory have no requests without a user; the test of the reader covers those.
  const cases: readonly [string, DatasetShards, Dataset][] = [
    ['one shard', oneShard(dataset), dataset],
    ['four shards', inShards(shop, [20, 21, 70]), shop],
  ];
  for (const [name, shards, of] of cases)
    for (const protocol of ['table', 'time'] as const)
      for (const form of ['all', 'discovery'] as const)
        it(`gathers what the evaluation asks from ${name}: ${protocol}, ${form}`, async () => {
          const set = evaluationSet({ dataset: of, protocol, form, split: 'validation' });
          assert.ok(set.queries.length < 1500);
          const found = await gatherValidation(shards, protocol, form, endsOf(protocol));
          assert.deepEqual(
            [...found.queries].sort(byId).map((query) => seen(query, found.dataset)),
            [...set.queries].sort(byId).map((query) => seen(query, of)),
          );
          assert.deepEqual(found.candidates, set.candidates);
          assert.ok(found.dataset.users.count <= found.queries.length);
        });

  it('takes 1,500 of many, from each shard by its users', async () => {
    const big = shopDataset(makeShop({ items: 64, users: 3000, seed: 6 }));
    const shards = inShards(big, [1000]);
    const { queries, dataset: gathered } = await gatherValidation(
      shards,
      'time',
      'all',
      endsOf('time'),
    );
    assert.equal(queries.length, 1500);
    const first = new Set(big.users.ids.slice(0, 1000));
    const ofFirst = queries.filter(({ user }) => first.has(gathered.users.ids[user]!));
    assert.equal(ofFirst.length, 500);
  });

  it('says so when there is nothing to validate on', async () => {
    const gather = (changes: Partial<Dataset>): ReturnType<typeof gatherValidation> =>
      gatherValidation(oneShard({ ...shop, ...changes }), 'time', 'all', (shard) =>
        shard.events.userOffsets.slice(1),
      );
    await assert.rejects(gather({ requests: [] }), {
      code: 'ERR_DATASET_INVALID',
      message: /found none in shop/,
    });
    await assert.rejects(gather({ testFrom: Number.NaN }), {
      code: 'ERR_DATASET_INVALID',
      message: /testFrom/,
    });
  });
});

describe('trainForProtocol', () => {
  it('refuses itemFrequency in the table protocol', async () => {
    const model = { ...DEFAULT_TRAINING.model, itemFrequency: true };
    await assert.rejects(
      trainForProtocol({
        shards: oneShard(shop),
        protocol: 'table',
        form: 'all',
        config: { ...DEFAULT_TRAINING, model },
        directory: 'never-made',
        refit: false,
      }),
      { code: 'ERR_CONFIG_INVALID', message: /table protocol/ },
    );
  });
});
