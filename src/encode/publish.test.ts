import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeShop, SHOP_TEST_FROM, SHOP_TRAINING, shopDataset } from '../../test/support/shop.ts';
import { loadBundle } from '../bundle/load.ts';
import { verifyBundle } from '../bundle/verify.ts';
import { oneShard } from '../data/shards.ts';
import { timeCutSplit } from '../data/splits.ts';
import { loadModel } from '../model/training/checkpoint.ts';
import { train } from '../model/training/train.ts';
import { encodeItems } from './items.ts';
import { publish } from './publish.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-publish-'));
const dataset = shopDataset(makeShop({ items: 64, users: 40, seed: 3 }));
const run = (fusion: string): string => join(folder, `run-${fusion}`);

before(async () => {
  for (const fusion of ['none', 'concat', 'attention'] as const)
    await train({
      shards: oneShard(dataset),
      trainingEnds: (shard) => timeCutSplit(shard, SHOP_TEST_FROM),
      config: {
        ...SHOP_TRAINING,
        model: { ...SHOP_TRAINING.model, fusion },
        steps: 4,
        validateEvery: 4,
      },
      directory: run(fusion),
    });
});
after(() => {
  rmSync(folder, { recursive: true });
});

describe('encodeItems', () => {
  it('gives the vectors of the model, and computes only missing parts', async () => {
    const first = await encodeItems(run('concat'));
    const model = await loadModel(run('concat'));
    assert.deepEqual(first.vectors, await model.itemVectors());
    model.dispose();
    // Replaces the settings of the index. A job that built the index again would not return these.
    writeFileSync(join(run('concat'), 'item-index-clusters', 'index.json'), '{"connectivity":7}');
    assert.deepEqual((await encodeItems(run('concat'))).index, { connectivity: 7 });
    rmSync(join(run('concat'), 'item-index-clusters'), { recursive: true });
    assert.deepEqual(await encodeItems(run('concat')), first);
  });

  it('builds another kind of index beside the first', async () => {
    const graph = await encodeItems(run('none'), 'hnsw');
    assert.equal(graph.index.kind, 'hnsw');
    const bundles = join(folder, 'graphs');
    const { directory } = await publish(run('none'), bundles, 'hnsw');
    assert.equal((await loadBundle(directory)).manifest.index.kind, 'hnsw');
    const report = await verifyBundle(directory);
    assert.ok(report.passed && report.indexRecall > 0.95);
    assert.equal((await encodeItems(run('none'))).index.kind, 'clusters');
  });

  it('refuses a run that is not finished', async () => {
    await assert.rejects(encodeItems(folder), { code: 'ERR_CHECKPOINT_INVALID' });
  });
});

describe('publish', () => {
  for (const fusion of ['none', 'concat', 'attention'])
    it(`makes a bundle that verifies, and the same one again (${fusion})`, async () => {
      const first = await publish(run(fusion), join(folder, `bundles-${fusion}`));
      const again = await publish(run(fusion), join(folder, `others-${fusion}`));
      assert.equal(again.bundleId, first.bundleId);
      assert.equal(
        (await publish(run(fusion), join(folder, `bundles-${fusion}`))).bundleId,
        first.bundleId,
      );
      assert.equal((await verifyBundle(first.directory)).passed, true);
      const { goldens, manifest } = await loadBundle(join(folder, `bundles-${fusion}`));
      assert.equal(manifest.model.fusion, fusion);
      assert.equal(manifest.datasetDigest, dataset.digest);
      assert.ok(goldens.some(({ state }) => state === undefined));
      assert.ok(goldens.every(({ candidates }) => candidates.length === 20));
    });
});
