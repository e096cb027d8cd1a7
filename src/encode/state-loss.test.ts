import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { makeShop, SHOP_TEST_FROM, SHOP_TRAINING, shopDataset } from '../../test/support/shop.ts';
import { loadBundle } from '../bundle/load.ts';
import { oneShard } from '../data/shards.ts';
import { timeCutSplit } from '../data/splits.ts';
import { train } from '../model/training/train.ts';
import { publish } from './publish.ts';
import { measureStateLoss } from './state-loss.ts';

test('states in f32 lose nothing and shorter types little, with any fusion', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tandem-state-loss-'));
  const dataset = shopDataset(makeShop({ items: 200, users: 40, seed: 3 }));
  for (const fusion of ['concat', 'attention'] as const) {
    const directory = join(folder, fusion);
    await train({
      shards: oneShard(dataset),
      trainingEnds: (shard) => timeCutSplit(shard, SHOP_TEST_FROM),
      config: {
        ...SHOP_TRAINING,
        model: { ...SHOP_TRAINING.model, fusion },
        steps: 4,
        validateEvery: 4,
      },
      directory,
    });
    // The type that the bundle stores makes no difference: the comparison starts from f32.
    const { directory: published } = await publish(directory, `${directory}-b`, undefined, 'int8');
    const [f32, bf16, int8] = await measureStateLoss(await loadBundle(published), dataset);
    assert.deepEqual([f32!.type, bf16!.type, int8!.type], ['f32', 'bf16', 'int8']);
    assert.equal(f32!.recallAt100, 1);
    assert.ok(Math.abs(f32!.minCosine - 1) < 1e-5);
    for (const { minCosine, meanCosine, recallAt100 } of [bf16!, int8!]) {
      assert.ok(minCosine > 0.999 && minCosine < 1 && meanCosine >= minCosine);
      assert.ok(recallAt100 > 0.95 && recallAt100 <= 1);
    }
  }
  rmSync(folder, { recursive: true });
});
