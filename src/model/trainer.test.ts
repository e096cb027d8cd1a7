import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { makeShop, SHOP_TEST_FROM, SHOP_TRAINING, shopDataset } from '../../test/support/shop.ts';
import { useBackend } from '../backend/select.ts';
import { tf } from '../backend/tf.ts';
import { isHeadTensor } from '../bundle/identity.ts';
import { timeCutSplit } from '../data/splits.ts';
import { buildItemFeatures } from '../features/item-features.ts';
import { ContextFeatures } from '../features/context.ts';
import { nativeAddon } from '../native/binding.ts';
import { TrainingSampler } from './sampler.ts';
import { schemaOf } from './train.ts';
import type { TrainConfig } from './train-config.ts';
import { Trainer } from './trainer.ts';
import { TwoTower, type WeightMap } from './two-tower.ts';

const dataset = shopDataset(makeShop({ items: 64, users: 60, seed: 3 }));
const trainingEnds = timeCutSplit(dataset, SHOP_TEST_FROM);
const BASE: TrainConfig = { ...SHOP_TRAINING, usersPerStep: 8 };

const CASES: Readonly<Record<string, TrainConfig>> = {
  'full, concat': BASE,
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
  const schema = schemaOf(dataset, config);
  const { items } = dataset;
  const features = buildItemFeatures(schema, {
    ...items,
    categoryRows: items.categoryValues,
  });
  return new TwoTower(config.model, schema, features, { seed: 1 });
}

function newTrainer(model: TwoTower, config: TrainConfig, headOnly: boolean): Trainer {
  const sampler = new TrainingSampler(
    dataset,
    new ContextFeatures(model.schema),
    config,
    trainingEnds,
  );
  return new Trainer(model, sampler, config, { headOnly });
}

/** Losses and weights of three steps of the head alone. */
function headSteps(config: TrainConfig): { losses: number[]; weights: WeightMap } {
  const model = newModel(config);
  const trainer = newTrainer(model, config, true);
  const losses = [1, 2, 3].map((step) => trainer.step(step));
  trainer.dispose();
  const weights = model.weights();
  model.dispose();
  return { losses, weights };
}

for (const [name, config] of Object.entries(CASES))
  describe(`steps of the head alone, ${name}`, () => {
    it('change the head and nothing else, and keep moments of it alone', async () => {
      await useBackend();
      const model = newModel(config);
      const before = model.weights();
      const trainer = newTrainer(model, config, true);
      for (let step = 1; step <= 3; step++) trainer.step(step);
      const changed = [...model.weights()].filter(([tensor, { data }]) =>
        data.some((value, i) => value !== before.get(tensor)!.data[i]),
      );
      const names = changed.map(([tensor]) => tensor);
      for (const tensor of ['head.hiddenWeight', 'head.skipWeight', 'context.subjectTable'])
        assert.ok(names.includes(tensor), tensor);
      for (const tensor of names) assert.ok(isHeadTensor(tensor), tensor);
      for (const moment of trainer.moments().keys())
        assert.ok(isHeadTensor(moment) || moment.startsWith('loss.'), moment);
      trainer.dispose();
      model.dispose();
    });

    it('spend nothing on gradients of what does not change', async () => {
      await useBackend();
      const { training } = nativeAddon();
      for (const headOnly of [false, true]) {
        const model = newModel(config);
        const trainer = newTrainer(model, config, headOnly);
        const backward = [
          mock.method(training, 'layerNormBackward'),
          mock.method(training, 'causalAttentionBackward'),
        ];
        const scores = mock.method(training, 'logSumExpScoresBackward');
        const forward = mock.method(training, 'causalAttention');
        trainer.step(1);
        for (const { mock: spy } of backward) assert.equal(spy.callCount() === 0, headOnly);
        assert.equal(forward.mock.callCount(), config.model.blocks);
        if (config.loss.kind === 'full')
          assert.equal(scores.mock.calls[0]!.arguments.at(-1) === null, headOnly);
        mock.restoreAll();
        trainer.dispose();
        model.dispose();
      }
    });

    it('see states as serving does: the rate of dropout in the encoder makes no difference', async () => {
      await useBackend();
      assert.deepEqual(headSteps({ ...config, encoderDropout: 0.9 }), headSteps(config));
      const other = headSteps({ ...config, contextDropout: 0.9 });
      assert.notDeepEqual(other.losses, headSteps(config).losses);
    });

    it('keep no tensor from step to step, and give all back at the end', async () => {
      await useBackend();
      const model = newModel(config);
      const { numTensors: without } = tf.memory();
      const trainer = newTrainer(model, config, true);
      trainer.step(1);
      const { numTensors } = tf.memory();
      trainer.step(2);
      assert.equal(tf.memory().numTensors, numTensors);
      trainer.dispose();
      assert.equal(tf.memory().numTensors, without);
      model.dispose();
    });

    it('are the same on both backends', async () => {
      await useBackend('cpu');
      const cpu = headSteps(config);
      await useBackend('native');
      const native = headSteps(config);
      for (const [i, loss] of native.losses.entries())
        assert.ok(Math.abs(loss - cpu.losses[i]!) < 1e-3, `${loss} and ${cpu.losses[i]!}`);
    });
  });
