import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import {
  makeShop,
  SHOP_TEST_FROM,
  SHOP_TRAINING,
  shopDataset,
} from '../../../test/support/shop.ts';
import { useBackend } from '../../backend/select.ts';
import { tf } from '../../backend/tf.ts';
import { isHeadTensor } from '../../bundle/identity.ts';
import { oneShard } from '../../data/shards.ts';
import { timeCutSplit } from '../../data/splits.ts';
import { buildItemFeatures } from '../../features/item-features.ts';
import { ContextFeatures } from '../../features/context.ts';
import { nativeAddon } from '../../native/addon.ts';
import { ShardSampler } from './sampling/shard-sampler.ts';
import { schemaOf } from './train.ts';
import { parseTrainConfig, type TrainConfig } from '../train-config.ts';
import { Trainer } from './trainer.ts';
import { trainingStatistics, type TrainingEnds } from './training-statistics.ts';
import { TwoTower, type WeightMap } from '../network/two-tower.ts';

const shards = oneShard(shopDataset(makeShop({ items: 64, users: 60, seed: 3 })));
const trainingEnds: TrainingEnds = (shard) => timeCutSplit(shard, SHOP_TEST_FROM);
const BASE: TrainConfig = { ...SHOP_TRAINING, usersPerStep: 8 };

const CASES: Readonly<Record<string, TrainConfig>> = {
  'full, concat': BASE,
  'full, item frequency': { ...BASE, model: { ...BASE.model, itemFrequency: true } },
  'sampled, attention': {
    ...BASE,
    loss: {
      kind: 'sampled',
      inBatch: true,
      negatives: 16,
      unigramShare: 0.5,
      hardNegatives: 8,
      logQ: 'negativesOnly',
    },
    learnTemperature: true,
    model: { ...BASE.model, fusion: 'attention' },
  },
  'bce, item in view': {
    ...BASE,
    loss: { kind: 'bce', negatives: 16, unigramShare: 0, hardNegatives: 0, calibration: 0.75 },
    loggedShare: 1,
    model: { ...BASE.model, subjectItem: true },
  },
};

function newModel(config: TrainConfig): TwoTower {
  const schema = schemaOf(shards, config);
  const { items } = shards;
  const features = buildItemFeatures(schema, {
    ...items,
    categoryRows: items.categoryValues,
  });
  return new TwoTower(config.model, schema, features, { seed: 1 });
}

/** A trainer, and a function that takes a step with it. */
async function openTrainer(
  model: TwoTower,
  config: TrainConfig,
  headOnly: boolean,
): Promise<{ trainer: Trainer; step: (step: number) => Promise<number> }> {
  const statistics = await trainingStatistics(shards, trainingEnds, config);
  const features = new ContextFeatures(model.schema);
  const sampler = new ShardSampler(shards, trainingEnds, features, config, statistics);
  const trainer = new Trainer(model, shards.items, statistics.items, config, { headOnly });
  return { trainer, step: async (step) => await trainer.step(step, await sampler.sample(step)) };
}

/** Losses and weights of three steps of the head alone. */
async function headSteps(config: TrainConfig): Promise<{ losses: number[]; weights: WeightMap }> {
  const model = newModel(config);
  const { trainer, step } = await openTrainer(model, config, true);
  const losses = [await step(1), await step(2), await step(3)];
  trainer.dispose();
  const weights = await model.weights();
  model.dispose();
  return { losses, weights };
}

for (const [name, config] of Object.entries(CASES))
  describe(`steps of the head alone, ${name}`, () => {
    it('change the head and nothing else, and keep moments of it alone', async () => {
      await useBackend();
      const model = newModel(config);
      const before = await model.weights();
      const { trainer, step } = await openTrainer(model, config, true);
      for (let n = 1; n <= 3; n++) await step(n);
      const changed = [...(await model.weights())].filter(([tensor, { data }]) =>
        data.some((value, i) => value !== before.get(tensor)!.data[i]),
      );
      const names = changed.map(([tensor]) => tensor);
      for (const tensor of ['head.hiddenWeight', 'head.skipWeight', 'context.subjectTable'])
        assert.ok(names.includes(tensor), tensor);
      for (const tensor of names) assert.ok(isHeadTensor(tensor), tensor);
      for (const moment of (await trainer.moments()).keys())
        assert.ok(isHeadTensor(moment) || moment.startsWith('loss.'), moment);
      trainer.dispose();
      model.dispose();
    });

    it('spend nothing on gradients of what does not change', async () => {
      await useBackend();
      const { training } = nativeAddon();
      for (const headOnly of [false, true]) {
        const model = newModel(config);
        const { trainer, step } = await openTrainer(model, config, headOnly);
        const backward = [
          mock.method(training, 'layerNormBackward'),
          mock.method(training, 'causalAttentionBackward'),
        ];
        const scores = mock.method(training, 'logSumExpScoresBackward');
        const forward = mock.method(training, 'causalAttention');
        await step(1);
        for (const { mock: spy } of backward) assert.equal(spy.callCount() === 0, headOnly);
        assert.equal(forward.mock.callCount(), config.model.blocks);
        if (config.loss.kind === 'full')
          assert.equal(scores.mock.calls[0]!.arguments.at(-1) === null, headOnly);
        mock.restoreAll();
        trainer.dispose();
        model.dispose();
      }
    });

    it('read states without encoder dropout, as serving does', async () => {
      await useBackend();
      const steps = await headSteps(config);
      assert.deepEqual(await headSteps({ ...config, encoderDropout: 0.9 }), steps);
      const other = await headSteps({ ...config, contextDropout: 0.9 });
      assert.notDeepEqual(other.losses, steps.losses);
    });

    it('keep no tensor from step to step, and give all back at the end', async () => {
      await useBackend();
      const model = newModel(config);
      const { numTensors: without } = tf.memory();
      const { trainer, step } = await openTrainer(model, config, true);
      await step(1);
      const { numTensors } = tf.memory();
      await step(2);
      assert.equal(tf.memory().numTensors, numTensors);
      trainer.dispose();
      assert.equal(tf.memory().numTensors, without);
      model.dispose();
    });

    it('are the same on both backends', async () => {
      await useBackend('cpu');
      const cpu = await headSteps(config);
      await useBackend('native');
      const native = await headSteps(config);
      for (const [i, loss] of native.losses.entries())
        assert.ok(Math.abs(loss - cpu.losses[i]!) < 1e-3, `${loss} and ${cpu.losses[i]!}`);
    });
  });

for (const loss of ['full', 'sampled', 'bce'] as const)
  it(`learns the history boost with loss ${loss}, and leaks no tensor`, async () => {
    await useBackend();
    const config = parseTrainConfig({
      ...CASES['full, item frequency']!,
      loss: { kind: loss },
    });
    const model = newModel(config);
    const before = await model.frequencyWeights();
    const { trainer, step } = await openTrainer(model, config, false);
    await step(1);
    const { numTensors } = tf.memory();
    await step(2);
    assert.equal(tf.memory().numTensors, numTensors);
    const after = await model.frequencyWeights();
    assert.notEqual(after!.logWeight, before!.logWeight);
    assert.notEqual(after!.logGain, before!.logGain);
    trainer.dispose();
    model.dispose();
  });
