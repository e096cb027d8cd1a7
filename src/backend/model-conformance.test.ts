// The same model and inputs on every available backend: states, queries, item vectors, gradients of
// a training step, and the weights after three steps, compared with tfjs's own `cpu`. A backend
// that is not available is skipped with its reason.

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { makeShop, SHOP_TEST_FROM, SHOP_TRAINING, shopDataset } from '../../test/support/shop.ts';
import { buildCatalogue } from '../bundle/catalogue.ts';
import { catalogueItemFeatures } from '../bundle/weights/item-features.ts';
import { oneShard } from '../data/shards.ts';
import { timeCutSplit } from '../data/splits.ts';
import { ContextFeatures, NO_SUBJECT } from '../features/context.ts';
import { HeadBatchBuilder } from '../features/head-batch.ts';
import { HistoryBatchBuilder } from '../features/sequence.ts';
import { eventColumns } from '../model/training/sampling/sampler.ts';
import { ShardSampler } from '../model/training/sampling/shard-sampler.ts';
import { schemaOf } from '../model/training/train.ts';
import type { TrainConfig } from '../model/train-config.ts';
import { Trainer } from '../model/training/trainer.ts';
import { trainingStatistics, type TrainingEnds } from '../model/training/training-statistics.ts';
import { TwoTower, type WeightMap } from '../model/network/two-tower.ts';
import { BACKENDS, type BackendName } from './backends.ts';
import { probeBackend, useBackend } from './select.ts';
import { tf } from './tf.ts';

/**
 * Tolerance of states and unit rows, relative above 1: sums of some hundred products in another
 * order.
 */
const VALUE_TOLERANCE = 1e-4;
/** Tolerance of a gradient, relative to the largest of its tensor. */
const GRADIENT_TOLERANCE = 1e-3;
/** Tolerance of a weight after three steps of at most the learning rate each. */
const WEIGHT_TOLERANCE = 1e-4;
/**
 * The bias of the keys does not change the softmax of an attention. The gradient of that bias is 0
 * up to rounding, and Adam turns rounding errors into steps as large as those of other gradients.
 */
const WITHOUT_GRADIENT = /\.key\.bias$/;
const STEPS = 3;

const dataset = shopDataset(makeShop({ items: 48, users: 40, seed: 5 }));
const shards = oneShard(dataset);
const trainingEnds: TrainingEnds = (shard) => timeCutSplit(shard, SHOP_TEST_FROM);
const base: TrainConfig = {
  ...SHOP_TRAINING,
  steps: 20,
  usersPerStep: 6,
  encoderDropout: 0.2,
  headDropout: 0.1,
  model: { ...SHOP_TRAINING.model, blocks: 2 },
};
const CONFIGS: Readonly<Record<string, TrainConfig>> = {
  'full softmax, fusion concat, a mean of the history': {
    ...base,
    loss: { kind: 'full' },
    model: { ...base.model, historyMean: true },
  },
  'sampled softmax, learned temperature, the item in view': {
    ...base,
    loss: {
      kind: 'sampled',
      inBatch: true,
      negatives: 16,
      unigramShare: 0.5,
      hardNegatives: 8,
      logQ: 'negativesOnly',
    },
    learnTemperature: true,
    model: { ...base.model, subjectItem: true },
  },
  'full softmax, item frequency': {
    ...base,
    loss: { kind: 'full' },
    model: { ...base.model, itemFrequency: true },
  },
  'binary cross-entropy, item frequency': {
    ...base,
    loss: { kind: 'bce', negatives: 16, unigramShare: 0, hardNegatives: 0, calibration: 0.75 },
    model: { ...base.model, itemFrequency: true },
  },
  'full softmax, fusion attention': {
    ...base,
    loss: { kind: 'full' },
    model: { ...base.model, fusion: 'attention' },
  },
};

interface Results {
  readonly states: readonly Float32Array[];
  readonly queries: Float32Array;
  readonly vectors: Float32Array;
  readonly losses: readonly number[];
  /** Adam's first moments after one step: a tenth of the gradients. */
  readonly gradients: WeightMap;
  readonly weights: WeightMap;
  /** Tensors that a step leaves behind. */
  readonly leaked: number;
}

async function compute(backend: BackendName, config: TrainConfig): Promise<Results> {
  await useBackend(backend);
  const schema = schemaOf(shards, config);
  const features = new ContextFeatures(schema);
  const statistics = await trainingStatistics(shards, trainingEnds, config);
  const catalogue = buildCatalogue(shards.items, schema.categories, statistics.popularity);
  const items = catalogueItemFeatures(schema, catalogue);
  const model = new TwoTower(config.model, schema, items, { seed: 3 });

  const histories = new HistoryBatchBuilder(config.model.maxHistory);
  const columns = eventColumns(dataset, features);
  const { userOffsets } = dataset.events;
  for (let user = 0; user < dataset.users.count; user++)
    histories.add(columns, userOffsets[user]!, userOffsets[user + 1]!);
  histories.add(columns, 0, 0);
  const states = await model.encodeHistories(histories.batch());
  const attends = config.model.fusion === 'attention';
  const requests = new HeadBatchBuilder(config.model.embeddingWidth, 8, attends);
  for (let i = 0; i < 8; i++)
    requests.add(
      i === 3 ? undefined : states[i],
      i / 8,
      i % 2 === 0
        ? NO_SUBJECT
        : features.interestBag([{ category: schema.categories[i % 3]!, confidence: 1 }]),
      [i % 3, 0, 1],
      i === 5 ? 7 : -1,
    );
  const queries = await model.embedQueries(requests.batch());
  const vectors = await model.itemVectors();

  const sampler = new ShardSampler(shards, trainingEnds, features, config, statistics);
  const trainer = new Trainer(model, shards.items, statistics.items, config);
  const losses: number[] = [];
  let gradients: WeightMap = new Map();
  let leaked = 0;
  for (let step = 1; step <= STEPS; step++) {
    const { numTensors } = tf.memory();
    losses.push(await trainer.step(step, await sampler.sample(step)));
    leaked += tf.memory().numTensors - numTensors;
    if (step === 1)
      gradients = new Map([...(await trainer.moments())].filter(([name]) => name.endsWith('.m')));
  }
  await sampler.close();
  const weights = await model.weights();
  trainer.dispose();
  model.dispose();
  return { states, queries, vectors, losses, gradients, weights, leaked };
}

function near(received: Float32Array, expected: Float32Array, what: string): void {
  assert.equal(received.length, expected.length, what);
  for (const [i, value] of expected.entries())
    assert.ok(
      Math.abs(received[i]! - value) <= VALUE_TOLERANCE * (1 + Math.abs(value)),
      `${what} at ${i}: expected ${value}, received ${received[i]!}`,
    );
}

const probes = new Map(
  await Promise.all(BACKENDS.map(async (name) => [name, await probeBackend(name)] as const)),
);

for (const [name, config] of Object.entries(CONFIGS))
  describe(`the model with ${name}`, () => {
    let expected: Results;
    before(async () => {
      expected = await compute('cpu', config);
    });

    for (const backend of BACKENDS.filter((other) => other !== 'cpu'))
      it(
        `is on ${backend} what it is on cpu`,
        { skip: probes.get(backend)!.reason ?? false },
        async () => {
          const received = await compute(backend, config);
          for (const [user, state] of expected.states.entries())
            near(received.states[user]!, state, `state of user ${user}`);
          near(received.queries, expected.queries, 'queries');
          near(received.vectors, expected.vectors, 'item vectors');
          near(Float32Array.from(received.losses), Float32Array.from(expected.losses), 'losses');
          for (const [tensor, { data }] of expected.gradients) {
            const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
            for (const [i, value] of data.entries()) {
              const other = received.gradients.get(tensor)!.data[i]!;
              assert.ok(
                Math.abs(other - value) <= GRADIENT_TOLERANCE * largest,
                `gradient of ${tensor} at ${i}: expected ${value}, received ${other}`,
              );
            }
          }
          for (const [tensor, { data }] of expected.weights) {
            if (WITHOUT_GRADIENT.test(tensor)) continue;
            for (const [i, value] of data.entries()) {
              const other = received.weights.get(tensor)!.data[i]!;
              assert.ok(
                Math.abs(other - value) <= WEIGHT_TOLERANCE,
                `${tensor} at ${i}: expected ${value}, received ${other}`,
              );
            }
          }
          assert.equal(received.leaked, 0);
        },
      );
  });
