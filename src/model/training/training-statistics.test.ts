import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { inShards } from '../../../test/support/in-shards.ts';
import {
  makeShop,
  SHOP_TEST_FROM,
  SHOP_TRAINING,
  shopDataset,
} from '../../../test/support/shop.ts';
import { oneShard } from '../../data/shards.ts';
import { timeCutSplit } from '../../data/splits.ts';
import { microDataset } from '../../../test/support/micro-dataset.ts';
import type { TrainConfig } from '../train-config.ts';
import { trainingStatistics } from './training-statistics.ts';

const shop = shopDataset(makeShop({ items: 64, users: 60, seed: 3 }));

describe('trainingStatistics', () => {
  it('counts training events, and what share of positives they are', async () => {
    const dataset = microDataset(3, [
      { user: 0, item: 1, time: 1 },
      { user: 0, item: 1, time: 2 },
      { user: 0, item: 2, time: 3 },
      { user: 1, item: 0, time: 1 },
    ]);
    const { events, untilSeconds, heldOutFrom, users, weightOfShards, items, popularity } =
      await trainingStatistics(oneShard(dataset), () => Int32Array.of(2, 4), SHOP_TRAINING);
    assert.deepEqual([events, untilSeconds, users, weightOfShards], [3, 2, 2, [2]]);
    assert.equal(heldOutFrom, 3);
    assert.deepEqual([...items.counts], [1, 2, 0]);
    assert.deepEqual([...items.positives], [1 / 3, 2 / 3, 0]);
    assert.deepEqual([...popularity], [1, 2, 0]);
    // Without repeats the second event on an item is not a positive: each user has one.
    const once = await trainingStatistics(oneShard(dataset), () => Int32Array.of(2, 4), {
      ...SHOP_TRAINING,
      repeats: false,
    });
    assert.deepEqual([...once.items.counts], [1, 2, 0]);
    assert.deepEqual([...once.items.positives], [1 / 2, 1 / 2, 0]);
    // User 0, with two of the three events, is drawn twice as often, for two positives each time.
    const byEvent = await trainingStatistics(oneShard(dataset), () => Int32Array.of(2, 4), {
      ...SHOP_TRAINING,
      userWeighting: 'event',
    });
    assert.deepEqual(byEvent.weightOfShards, [3]);
    assert.deepEqual([...byEvent.items.positives], [1 / 5, 4 / 5, 0]);
  });

  it('is the same, to the last bit, wherever shards are cut', async () => {
    const config: TrainConfig = { ...SHOP_TRAINING, loggedShare: 1 };
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: shop.users.count - 1 }), {
      maxLength: 6,
    });
    const statistics = (
      shards: ReturnType<typeof oneShard>,
    ): ReturnType<typeof trainingStatistics> =>
      trainingStatistics(shards, (shard) => timeCutSplit(shard, SHOP_TEST_FROM), config);
    const whole = await statistics(oneShard(shop));
    await fc.assert(
      fc.asyncProperty(cuts, async (users) => {
        const shards = inShards(
          shop,
          users.sort((a, b) => a - b),
        );
        const { weightOfShards, ...rest } = await statistics(shards);
        assert.deepEqual({ ...rest, weightOfShards: whole.weightOfShards }, whole);
        assert.equal(weightOfShards.length, users.length + 1);
        assert.deepEqual(
          [weightOfShards.reduce((sum, count) => sum + count, 0)],
          whole.weightOfShards,
        );
      }),
      { numRuns: 20 },
    );
  });

  it('refuses a cut before the first event', async () => {
    const ends = (): Int32Array => shop.events.userOffsets.slice(0, -1);
    await assert.rejects(trainingStatistics(oneShard(shop), ends, SHOP_TRAINING), {
      code: 'ERR_DATASET_INVALID',
      message: /found none of 60/,
    });
  });

  it('refuses a window in days without times', async () => {
    const config: TrainConfig = { ...SHOP_TRAINING, objective: { kind: 'all', windowDays: 7 } };
    const untimed = oneShard({ ...shop, hasTime: false });
    const ends = (): Int32Array => shop.events.userOffsets.slice(1);
    await assert.rejects(trainingStatistics(untimed, ends, config), {
      code: 'ERR_CONFIG_INVALID',
      message: /windowEvents/,
    });
  });

  it('refuses logged contexts where no training event of any shard has one', async () => {
    const config: TrainConfig = { ...SHOP_TRAINING, loggedShare: 1 };
    const first = [...shop.requests].find(({ user }) => user >= 30)!;
    const ends = (shard: typeof shop): Int32Array => timeCutSplit(shard, SHOP_TEST_FROM);
    const withRequests = (requests: typeof shop.requests): ReturnType<typeof oneShard> =>
      inShards({ ...shop, requests }, [10, 30]);
    await assert.rejects(trainingStatistics(withRequests([]), ends, config), {
      code: 'ERR_CONFIG_INVALID',
      message: /loggedShare to 0/,
    });
    // One logged request in the last shard is enough.
    await trainingStatistics(withRequests([first]), ends, config);
  });
});
