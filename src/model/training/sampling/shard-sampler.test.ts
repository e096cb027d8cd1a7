import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inShards } from '../../../../test/support/in-shards.ts';
import {
  makeShop,
  SHOP_TEST_FROM,
  SHOP_TRAINING,
  shopDataset,
} from '../../../../test/support/shop.ts';
import { oneShard, type DatasetShards } from '../../../data/shards.ts';
import { timeCutSplit } from '../../../data/splits.ts';
import { buildSchema } from '../../../features/build-schema.ts';
import { ContextFeatures } from '../../../features/context.ts';
import { TrainingSampler } from './sampler.ts';
import { ShardSampler } from './shard-sampler.ts';
import { shardVisits } from './shard-schedule.ts';
import { trainingStatistics, type TrainingEnds } from '../training-statistics.ts';

const shop = shopDataset(makeShop({ items: 64, users: 80, seed: 3 }));
const endsOf: TrainingEnds = (shard) => timeCutSplit(shard, SHOP_TEST_FROM);
const CONFIG = { ...SHOP_TRAINING, steps: 24, usersPerStep: 8, loggedShare: 0.5 };
const features = new ContextFeatures(
  buildSchema({
    maxHistory: CONFIG.model.maxHistory,
    actionNames: shop.events.actionNames,
    itemIds: shop.items.ids,
    titles: shop.items.titles,
    categoryNames: shop.items.categoryNames,
    advertisers: shop.items.advertisers,
    prices: shop.items.prices,
    genders: shop.users.genders,
    countries: shop.users.countries,
  }),
);
const CUTS = [20, 50];
const shards = inShards(shop, CUTS);
const statistics = await trainingStatistics(shards, endsOf, CONFIG);
const visits = shardVisits(statistics, CONFIG);

function samplerOf(of: DatasetShards): ShardSampler {
  return new ShardSampler(of, endsOf, features, CONFIG, statistics);
}

describe('ShardSampler', () => {
  it('draws from one shard as from the dataset', async () => {
    const whole = await trainingStatistics(oneShard(shop), endsOf, CONFIG);
    const sampler = new ShardSampler(oneShard(shop), endsOf, features, CONFIG, whole);
    const { untilSeconds } = whole;
    const plain = new TrainingSampler(shop, features, CONFIG, endsOf(shop), untilSeconds);
    for (const step of [1, 2, 17]) assert.deepEqual(await sampler.sample(step), plain.sample(step));
  });

  it('draws a step from the users of its shard, the same wherever the run continued', async () => {
    const sampler = samplerOf(shards);
    const begins = [0, ...CUTS, shop.users.count];
    for (const { shard, firstStep, endStep } of visits) {
      const bought = new Set<number>();
      for (let user = begins[shard]!; user < begins[shard + 1]!; user++)
        for (let i = shop.events.userOffsets[user]!; i < shop.events.userOffsets[user + 1]!; i++)
          bought.add(shop.events.items[i]!);
      for (let step = firstStep; step < endStep; step++) {
        const drawn = await sampler.sample(step);
        for (const item of drawn.positives) assert.ok(bought.has(item));
        assert.deepEqual(await samplerOf(shards).sample(step), drawn);
      }
    }
    await sampler.close();
  });

  it('reads the shard of each visit once, ahead of time, and no other', async () => {
    const reads: number[] = [];
    const sampler = samplerOf({
      ...shards,
      read: (shard, requests) => {
        reads.push(shard);
        return shards.read(shard, requests);
      },
    });
    for (const [i, { firstStep, endStep }] of visits.entries())
      for (let step = firstStep; step < endStep; step++) {
        await sampler.sample(step);
        assert.equal(reads.length, Math.min(i + 2, visits.length));
      }
    assert.deepEqual(
      reads,
      visits.map(({ shard }) => shard),
    );
  });

  it('fails at the step that needs a shard which could not be read, not before', async () => {
    const sampler = samplerOf({
      ...shards,
      read: (shard, requests) =>
        shard === visits[1]!.shard
          ? Promise.reject(new Error('disk on fire'))
          : shards.read(shard, requests),
    });
    const { firstStep } = visits[1]!;
    for (let step = 1; step < firstStep; step++) await sampler.sample(step);
    await assert.rejects(sampler.sample(firstStep), /disk on fire/);
    await sampler.close();
  });
});
