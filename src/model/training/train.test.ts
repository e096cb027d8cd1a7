import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { inShards } from '../../../test/support/in-shards.ts';
import {
  makeShop,
  SHOP_TEST_FROM,
  SHOP_TRAINING,
  shopDataset,
} from '../../../test/support/shop.ts';
import { useBackend } from '../../backend/select.ts';
import { tf } from '../../backend/tf.ts';
import { oneShard } from '../../data/shards.ts';
import { timeCutSplit } from '../../data/splits.ts';
import { ContextFeatures } from '../../features/context.ts';
import { HeadBatchBuilder } from '../../features/head-batch.ts';
import { HistoryBatchBuilder, stateAge } from '../../features/sequence.ts';
import {
  isFinished,
  loadCheckpoint,
  loadTrainingState,
  modelOf,
  type Checkpoint,
} from './checkpoint.ts';
import { eventColumns } from './sampling/sampler.ts';
import { ShardSampler } from './sampling/shard-sampler.ts';
import { train } from './train.ts';
import type { LossConfig, TrainConfig } from '../train-config.ts';
import { Trainer } from './trainer.ts';
import { trainingStatistics, type TrainingEnds } from './training-statistics.ts';
import type { TwoTower } from '../network/two-tower.ts';

const root = mkdtempSync(join(tmpdir(), 'tandem-train-'));
after(() => {
  rmSync(root, { recursive: true });
});

const dataset = shopDataset(makeShop({ items: 64, users: 60, seed: 3 }));
const endsOf: TrainingEnds = (shard) => timeCutSplit(shard, SHOP_TEST_FROM);
const trainingEnds = endsOf(dataset);
const shards = oneShard(dataset);
const SHORT: TrainConfig = { ...SHOP_TRAINING, steps: 6, validateEvery: 2, usersPerStep: 8 };

function folder(): string {
  return mkdtempSync(join(root, 'run-'));
}

function run(
  config: TrainConfig,
  directory = folder(),
  validate?: (model: TwoTower) => number | Promise<number>,
): Promise<Checkpoint> {
  return train({
    shards,
    trainingEnds: endsOf,
    config,
    directory,
    ...(validate && { validate }),
  });
}

/** A trainer, and a function that takes a step with it. */
async function openTrainer(
  model: TwoTower,
  config: TrainConfig,
): Promise<{ trainer: Trainer; step: (step: number) => Promise<number> }> {
  const statistics = await trainingStatistics(shards, endsOf, config);
  const features = new ContextFeatures(model.schema);
  const sampler = new ShardSampler(shards, endsOf, features, config, statistics);
  const trainer = new Trainer(model, shards.items, statistics.items, config);
  return { trainer, step: async (step) => await trainer.step(step, await sampler.sample(step)) };
}

/** Every file of a directory by its path. */
function filesOf(directory: string): Map<string, Buffer> {
  return new Map(
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(directory.length), readFileSync(path)]),
  );
}

const LOSSES: readonly (Partial<TrainConfig> & { readonly loss: LossConfig })[] = [
  { loss: { kind: 'full' } },
  {
    loss: {
      kind: 'sampled',
      inBatch: true,
      negatives: 16,
      unigramShare: 0.5,
      hardNegatives: 8,
      logQ: 'negativesOnly',
    },
    learnTemperature: true,
    loggedShare: 0.5,
    model: { ...SHORT.model, subjectItem: true },
  },
  {
    loss: { kind: 'bce', negatives: 16, unigramShare: 0, hardNegatives: 0, calibration: 0.75 },
    objective: { kind: 'denseAll', windowEvents: 3 },
    positivesPerUser: 'all',
    gapFeature: false,
  },
  {
    loss: { kind: 'full' },
    model: { ...SHORT.model, fusion: 'attention' },
    averagedShare: 0.25,
    steps: 24,
    validateEvery: 8,
  },
];

function fusionOf({ model = SHORT.model }: (typeof LOSSES)[number]): string {
  return model.fusion;
}

for (const settings of LOSSES)
  describe(`training with the ${settings.loss.kind} loss, fusion ${fusionOf(settings)}`, () => {
    const config: TrainConfig = { ...SHORT, ...settings };

    it('gives the same bytes for the same seed, and others for another', async () => {
      const [one, again, other] = [folder(), folder(), folder()];
      await run(config, one);
      await run(config, again);
      await run({ ...config, seed: 2 }, other);
      assert.deepEqual(filesOf(again), filesOf(one));
      assert.notDeepEqual(
        readFileSync(join(other, 'final', 'weights.safetensors')),
        readFileSync(join(one, 'final', 'weights.safetensors')),
      );
    });

    it('that is killed after a checkpoint continues there and ends in the same bytes', async () => {
      // The metric falls, so the best weights are those of an early step and must survive as well.
      const metrics = [0.5, 0.9, 0.7];
      const straight = folder();
      let calls = 0;
      await run(config, straight, () => metrics[calls++]!);
      const killed = folder();
      calls = 0;
      await assert.rejects(
        run(config, killed, () => {
          if (calls === 2) throw new Error('killed');
          return metrics[calls++]!;
        }),
        /killed/,
      );
      assert.equal(loadTrainingState(killed)?.step, 2 * config.validateEvery);
      assert.ok(!isFinished(killed));
      const { result } = await run(config, killed, () => metrics[calls++]!);
      assert.equal(calls, 3);
      assert.equal(result.bestStep, 2 * config.validateEvery);
      assert.deepEqual(filesOf(killed), filesOf(straight));
    });

    it('trains what is switched on, and holds the rest at zero', async () => {
      const model = modelOf(await run({ ...config, steps: 2 }));
      const { trainer, step } = await openTrainer(model, config);
      await step(1);
      assert.equal((await trainer.temperature()) !== config.temperature, config.learnTemperature);
      for (const [name, used] of [
        ['encoder.gap', config.gapFeature],
        ['encoder.position', config.positionFeature],
      ] as const)
        assert.equal(
          model.variables
            .get(name)!
            .dataSync()
            .some((value) => value !== 0),
          used,
          name,
        );
      trainer.dispose();
      model.dispose();
    });

    it('keeps no tensor from step to step', async () => {
      const model = modelOf(await run({ ...config, steps: 1 }));
      const { trainer, step } = await openTrainer(model, config);
      await step(1);
      const { numTensors, numBytes } = tf.memory();
      for (let n = 2; n <= 5; n++) {
        await step(n);
        assert.equal(tf.memory().numTensors, numTensors);
        assert.equal(tf.memory().numBytes, numBytes);
      }
      trainer.dispose();
      model.dispose();
    });

    it('takes the same step on both backends', async () => {
      const checkpoint = await run({ ...config, steps: 1 });
      const step = async (backend: 'cpu' | 'native'): Promise<[number, TwoTower]> => {
        await useBackend(backend);
        const model = modelOf(checkpoint);
        const { trainer, step: take } = await openTrainer(model, config);
        const value = await take(2);
        trainer.dispose();
        return [value, model];
      };
      const [lossCpu, cpu] = await step('cpu');
      const weights = await cpu.weights();
      cpu.dispose();
      const [lossNative, native] = await step('native');
      assert.ok(Math.abs(lossNative - lossCpu) < 1e-4);
      // Adam's first step is about the learning rate whatever the size of the gradient, so rounding
      // shows where the gradient is near 0.
      let far = 0;
      let all = 0;
      for (const [name, { data }] of await native.weights())
        for (const [i, value] of data.entries()) {
          far += Number(Math.abs(value - weights.get(name)!.data[i]!) > 1e-4);
          all++;
        }
      native.dispose();
      assert.ok(far / all < 1e-3, `${far} of ${all} weights differ`);
    });
  });

/**
 * Share of training conversions among the ten best items, for a model that knows the earlier
 * events.
 */
async function trainingRecall(model: TwoTower): Promise<number> {
  const features = new ContextFeatures(model.schema);
  const columns = eventColumns(dataset, features);
  const { items, times, userOffsets } = dataset.events;
  const histories = new HistoryBatchBuilder(model.config.maxHistory);
  const last = Array.from(trainingEnds, (end) => end - 1);
  for (let user = 0; user < dataset.users.count; user++)
    histories.add(columns, userOffsets[user]!, Math.max(userOffsets[user]!, last[user]!));
  const states = await model.encodeHistories(histories.batch());
  const width = model.config.embeddingWidth;
  const requests = new HeadBatchBuilder(width, dataset.users.count);
  for (const [user, event] of last.entries()) {
    const row = items[event]!;
    const begin = dataset.items.categoryOffsets[row]!;
    const end = dataset.items.categoryOffsets[row + 1]!;
    requests.add(
      states[user]!.length === 0 ? undefined : states[user],
      states[user]!.length === 0 ? 0 : stateAge(times[event - 1]!, times[event]!),
      features.categoryBag(
        dataset.items.categoryValues.subarray(begin, end),
        dataset.items.categoryConfidences.subarray(begin, end),
      ),
      [0, 0, 0],
    );
  }
  const scores = await model.scores(
    await model.embedQueries(requests.batch()),
    await model.itemVectors(),
  );
  const count = dataset.items.count;
  const hits = last.filter((event, user) => {
    const row = scores.subarray(user * count, (user + 1) * count);
    const own = row[items[event]!]!;
    return row.filter((score) => score > own).length < 10;
  });
  return hits.length / last.length;
}

describe('train', () => {
  it('learns: starts near ln N or above and finds most of its training conversions', async () => {
    const recalls: number[] = [];
    const { result } = await run(
      {
        ...SHOP_TRAINING,
        steps: 120,
        validateEvery: 30,
        subjectDropout: 0.1,
        queryShare: 0,
        neighbourShare: 0,
      },
      folder(),
      async (model) => {
        recalls.push(await trainingRecall(model));
        return recalls.at(-1)!;
      },
    );
    const losses = result.validations.map(({ loss }) => loss);
    const untrained = (await run({ ...SHOP_TRAINING, steps: 1, learningRate: 1e-9 })).result
      .validations[0]!.loss;
    assert.ok(untrained > Math.log(dataset.items.count) - 0.2, `${untrained}`);
    assert.ok(
      losses.at(-1)! < losses[0]! && losses.at(-1)! < Math.log(dataset.items.count) - 1,
      String(losses),
    );
    assert.ok(recalls.at(-1)! > 0.6, String(recalls));
    assert.equal(result.bestStep, 30 * (1 + recalls.indexOf(Math.max(...recalls))));
  });

  it('validates and keeps the mean of its last weights on request', async () => {
    const config = { ...SHORT, steps: 16, validateEvery: 16 };
    const last = await run(config);
    let validated: Float32Array | undefined;
    const mean = await run({ ...config, averagedShare: 0.25 }, folder(), async (model) => {
      validated = (await model.weights()).get('items.id')!.data;
      return 1;
    });
    const rows = ({ weights }: Checkpoint): Float32Array => weights.get('items.id')!.data;
    assert.deepEqual(mean.result.validations[0]!.loss, last.result.validations[0]!.loss);
    assert.deepEqual(rows(mean), validated);
    assert.notDeepEqual(rows(mean), rows(last));
  });

  it('stops when patience is out, and keeps the best step', async () => {
    let calls = 0;
    const { result } = await run(
      { ...SHORT, steps: 20, validateEvery: 1, patience: 2 },
      folder(),
      () => [1, 3, 2, 2.5, 9][calls++]!,
    );
    assert.deepEqual([result.bestStep, result.stepsRun, calls], [2, 4, 4]);
  });

  it('returns a finished run without training, and refuses a directory of another', async () => {
    const directory = folder();
    const first = await run(SHORT, directory);
    const again = await run(SHORT, directory, () => assert.fail('it trained again'));
    assert.deepEqual(again, first);
    // A process that is killed while finishing leaves its last checkpoint beside the finished run.
    const files = readdirSync(directory);
    mkdirSync(join(directory, 'step-000020'));
    assert.deepEqual(await run(SHORT, directory), first);
    assert.deepEqual(readdirSync(directory), files);
    await assert.rejects(run({ ...SHORT, seed: 5 }, directory), { code: 'ERR_CHECKPOINT_INVALID' });
    assert.throws(() => loadCheckpoint(folder()), {
      code: 'ERR_CHECKPOINT_INVALID',
      message: /found none/,
    });
    const path = join(directory, 'run.json');
    const old = readFileSync(path, 'utf8').replace(/"version":\d+/, '"version":1');
    writeFileSync(path, old);
    assert.throws(() => loadCheckpoint(directory), {
      code: 'ERR_CHECKPOINT_INVALID',
      message: /received version 1.*Train again/,
    });
  });

  it('continues on shards after a kill with the same bytes, and refuses others', async () => {
    const sharded = (
      directory: string,
      cuts: number[],
      validate?: () => number,
    ): ReturnType<typeof train> =>
      train({
        shards: inShards(dataset, cuts),
        trainingEnds: endsOf,
        config: { ...SHORT, loggedShare: 0.5 },
        directory,
        ...(validate && { validate }),
      });
    const [straight, killed, one] = [folder(), folder(), folder()];
    const { settings } = await sharded(straight, [20, 45]);
    assert.equal(settings.shardEvents, 1000);
    let calls = 0;
    await assert.rejects(
      sharded(killed, [20, 45], () => {
        if (calls++ === 1) throw new Error('killed');
        return 2 * calls;
      }),
      /killed/,
    );
    await assert.rejects(sharded(killed, []), {
      code: 'ERR_CHECKPOINT_INVALID',
      message: /shardEvents/,
    });
    await sharded(killed, [20, 45], () => 2 * ++calls);
    const weights = join('final', 'weights.safetensors');
    assert.deepEqual(readFileSync(join(killed, weights)), readFileSync(join(straight, weights)));
    await sharded(one, []);
    assert.notDeepEqual(readFileSync(join(one, weights)), readFileSync(join(straight, weights)));
  });

  it('says so when the loss is no number', async () => {
    await assert.rejects(run({ ...SHORT, learningRate: 1e30, warmupSteps: 0 }), {
      code: 'ERR_TRAINING_DIVERGED',
    });
  });

  it('sees nothing of what comes after the cut', async () => {
    const { settings, catalogue } = await run({ ...SHORT, steps: 1 });
    const { times, items } = dataset.events;
    assert.ok(settings.dataUntilSeconds < SHOP_TEST_FROM);
    assert.equal(settings.trainingEvents, times.filter((time) => time < SHOP_TEST_FROM).length);
    const from = settings.dataUntilSeconds - 30 * 86_400;
    const counts = new Float32Array(dataset.items.count);
    for (const [i, time] of times.entries())
      if (time < SHOP_TEST_FROM && time >= from) counts[items[i]!]!++;
    assert.deepEqual(catalogue.popularity, counts);
  });
});
