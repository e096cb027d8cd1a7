// Times one training step on our native tfjs backend: the reference step against PyTorch and
// against other tfjs backends, a step of the demo, and a small step against the tfjs backend `cpu`.

import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BackendName } from '../src/backend/backends.ts';
import { useBackend } from '../src/backend/select.ts';
import type { MathBackendCPU } from 'tandem-offline/tfjs';
import { tf } from '../src/backend/tf.ts';
import { buildCatalogue } from '../src/bundle/catalogue.ts';
import { catalogueItemFeatures } from '../src/bundle/weights/item-features.ts';
import { WORLD_DEMO } from '../src/cli/demo/demo-settings.ts';
import type { Dataset } from '../src/data/dataset.ts';
import { readDataset } from '../src/data/read-dataset.ts';
import { oneShard } from '../src/data/shards.ts';
import { lastEventsSplit } from '../src/data/splits.ts';
import { generateWorld } from '../src/world/generate.ts';
import { DEFAULT_WORLD } from '../src/world/law.ts';
import { buildSchema } from '../src/features/build-schema.ts';
import { ContextFeatures } from '../src/features/context.ts';
import { TrainingSampler } from '../src/model/training/sampling/sampler.ts';
import { Trainer } from '../src/model/training/trainer.ts';
import type { TrainConfig } from '../src/model/train-config.ts';
import { trainingStatistics } from '../src/model/training/training-statistics.ts';
import { TwoTower } from '../src/model/network/two-tower.ts';
import type { PeerProcess } from './peers/process.ts';
import { startPython } from './peers/python.ts';
import {
  REFERENCE_CASE,
  ReferenceTrainer,
  referenceBatch,
  referenceModel,
  writeReference,
  type ReferenceBatch,
} from './training-reference.ts';
import { presentBackends } from './backends.ts';
import { profileSteps } from './training-profile.ts';
import { LARGE_MODEL, REFERENCE_MODEL } from './encoder-setup.ts';
import { say, timePer, type BenchOptions, type Contestant, type Recorder } from './harness.ts';

/**
 * Fewer users than the demo has: a step draws 64 of them either way, and the world is made sooner.
 */
const USERS = 1_000;
/** tfjs cpu takes too long for a step of the size that the demo has. */
const SMALL_USERS = 4;
/** Two steps from equal weights must have losses this close on both backends. */
const LOSS_TOLERANCE = 1e-3;

/** Losses of the first steps must be this close to those of PyTorch with sparse gradients. */
const TORCH_TOLERANCE = 2e-3;
const BATCHES = 4;
/** Users of a step on every backend; for the large encoder few enough for a CPU. */
const REFERENCE_USERS = 128;
const LARGE_USERS = 4;
const QUICK_USERS = 2;
const PROFILED_STEPS = 40;
const LEAST_PROFILED_MS = 0.5;
const PROFILE = { metric: 'time in a step', unit: 'ms', better: 'lower' } as const;

export async function run(recorder: Recorder, options: BenchOptions): Promise<void> {
  await raceTorch(recorder, options);
  await raceBackends(recorder, options);
  await raceTfjs(recorder, options);
}

/**
 * Times the reference step and a step of the large encoder on every tfjs backend of this machine.
 */
async function raceBackends(recorder: Recorder, options: BenchOptions): Promise<void> {
  const backends = await presentBackends(options.backend);
  for (const [config, users] of [
    [REFERENCE_MODEL, options.quick ? QUICK_USERS : REFERENCE_USERS],
    [LARGE_MODEL, options.quick ? QUICK_USERS : LARGE_USERS],
  ] as const) {
    const batches = Array.from({ length: BATCHES }, (_, i) => referenceBatch(i, config, users));
    const contestants: Contestant[] = [];
    const trainers: ReferenceTrainer[] = [];
    for (const { name, device } of [
      { name: 'native', device: '' } as const,
      ...backends.filter(({ name }) => name !== 'native'),
    ]) {
      await useBackend(name);
      const trainer = new ReferenceTrainer(referenceModel(config));
      trainers.push(trainer);
      let step = 0;
      contestants.push({
        name: name === 'native' ? 'ours' : `tfjs on ${name} (${device})`,
        before: () => useBackend(name),
        run: () => trainer.step(batches[step++ % BATCHES]!),
        asynchronous: true,
      });
    }
    await recorder.race(
      `${users} users x ${config.maxHistory} positions, ` +
        `width ${config.embeddingWidth}, ${config.blocks} blocks`,
      timePer('ms'),
      contestants,
      { quick: options.quick, rounds: 3, roundSeconds: 2 },
    );
    for (const trainer of trainers) trainer.dispose();
  }
}

/** Times the reference step against PyTorch, on the same number of threads. */
async function raceTorch(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  await useBackend();
  const threads = availableParallelism();
  const batches = Array.from({ length: BATCHES }, (_, i) => referenceBatch(i));
  const model = referenceModel();
  const folder = mkdtempSync(join(tmpdir(), 'tandem-bench-training-'));
  await writeReference(folder, model, batches);
  const ours = new ReferenceTrainer(model);
  const torch = startPython('training_torch.py', ['torch', 'numpy'], {
    environment: { OMP_NUM_THREADS: String(threads) },
  });
  try {
    const contestants: Contestant[] = [];
    if (typeof torch === 'string') say(`training: PyTorch is left out: ${torch}`);
    else {
      const { version } = await torch.request<{ version: string }>('open', { folder, threads });
      await agree(ours, torch, batches);
      for (const optimiser of ['dense', 'sparse'])
        contestants.push({
          name: `torch ${version}, ${optimiser} Adam`,
          measure: async (seconds) => {
            const measured = await torch.request<{ seconds: number }>('measure', {
              optimiser,
              seconds,
            });
            return measured.seconds;
          },
        });
    }
    let step = 0;
    await recorder.race(
      `${REFERENCE_CASE}, ${threads} threads`,
      timePer('ms'),
      [
        {
          name: 'ours',
          run: () => ours.step(batches[step++ % BATCHES]!),
          asynchronous: true,
        },
        ...contestants,
      ],
      { quick, roundSeconds: 2 },
    );
    const { native, restMs } = await profileSteps(
      () => ours.step(batches[step++ % BATCHES]!),
      quick ? 2 : PROFILED_STEPS,
    );
    const parts = [...native].filter(([, ms]) => ms >= LEAST_PROFILED_MS);
    for (const [name, ms] of [
      ...parts,
      ['everything else: tfjs, memory, JavaScript', restMs] as const,
    ])
      recorder.add(`of it ${name}`, PROFILE, { value: ms, spread: 0 });
  } finally {
    ours.dispose();
    if (typeof torch !== 'string') await torch.close();
    rmSync(folder, { recursive: true });
  }
}

async function agree(
  ours: ReferenceTrainer,
  torch: PeerProcess,
  batches: readonly ReferenceBatch[],
): Promise<void> {
  for (const [i, batch] of batches.entries()) {
    const received = await ours.step(batch);
    const { loss } = await torch.request<{ loss: number }>('step', { optimiser: 'sparse' });
    if (!(Math.abs(received - loss) < TORCH_TOLERANCE))
      throw new Error(
        `Expected the loss of PyTorch, ${loss}, in step ${i + 1}, received ${received}.`,
      );
  }
}

async function raceTfjs(recorder: Recorder, { quick }: BenchOptions): Promise<void> {
  const { training } = WORLD_DEMO;
  const demo: TrainConfig = { ...training, model: { ...training.model, fusion: 'concat' } };
  const dataset = await makeWorld();
  say(`training: ${dataset.events.count} events of ${dataset.users.count} users`);
  const native = await openTrainer(dataset, demo, 'native');
  await recorder.race(caseOf(demo, dataset), timePer('ms'), [native.contestant], {
    quick,
    roundSeconds: 2,
  });
  native.dispose();

  helpTfjsCpu();
  const small: TrainConfig = { ...demo, usersPerStep: SMALL_USERS };
  const ours = await openTrainer(dataset, small, 'native');
  const cpu = await openTrainer(dataset, small, 'cpu');
  if (!(Math.abs(ours.loss - cpu.loss) < LOSS_TOLERANCE))
    throw new Error(
      `Expected the same loss on both backends, received ${ours.loss} and ${cpu.loss}.`,
    );
  await recorder.race(caseOf(small, dataset), timePer('ms'), [ours.contestant, cpu.contestant], {
    quick,
    rounds: 3,
  });
}

function caseOf({ usersPerStep, positivesPerUser }: TrainConfig, { items }: Dataset): string {
  return `${usersPerStep} users x ${positivesPerUser} positives, softmax over ${items.count} items`;
}

/**
 * Gives tfjs cpu a scatter-add that reads the data once.
 *
 * Its own one, the gradient of every embedding lookup, reads all of the data once for every row of
 * the table. A step of four users took minutes with it, and the race would have compared that
 * kernel alone.
 */
function helpTfjsCpu(): void {
  tf.unregisterKernel('UnsortedSegmentSum', 'cpu');
  tf.registerKernel({
    kernelName: 'UnsortedSegmentSum',
    backendName: 'cpu',
    kernelFunc: (call) => {
      const backend = call.backend as Pick<MathBackendCPU, 'readSync' | 'makeTensorInfo'>;
      const { x, segmentIds } = call.inputs as { x: tf.TensorInfo; segmentIds: tf.TensorInfo };
      const { numSegments } = call.attrs as unknown as { numSegments: number };
      const shape = [numSegments, ...x.shape.slice(segmentIds.shape.length)];
      const source = backend.readSync(x.dataId) as Float32Array;
      const rows = backend.readSync(segmentIds.dataId) as Int32Array;
      const sums = new Float32Array(tf.util.sizeFromShape(shape));
      const width = sums.length / numSegments;
      for (const [i, row] of rows.entries())
        if (row >= 0)
          for (let j = 0; j < width; j++) sums[row * width + j]! += source[i * width + j]!;
      return backend.makeTensorInfo(shape, 'float32', sums);
    },
  });
}

async function makeWorld(): Promise<Dataset> {
  const folder = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
  try {
    const outputDirectory = join(folder, 'world');
    await generateWorld({ ...DEFAULT_WORLD, users: USERS, outputDirectory });
    return await readDataset(outputDirectory);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * Makes a model whose weights live on the backend, and does its first step. Returns that step's
 * loss.
 */
async function openTrainer(
  dataset: Dataset,
  config: TrainConfig,
  backend: BackendName,
): Promise<{ contestant: Contestant; loss: number; dispose: () => void }> {
  await useBackend(backend);
  const { items, users, events } = dataset;
  const schema = buildSchema({
    maxHistory: config.model.maxHistory,
    actionNames: events.actionNames,
    itemIds: items.ids,
    titles: dataset.items.titles,
    categoryNames: items.categoryNames,
    advertisers: items.advertisers,
    prices: items.prices,
    genders: users.genders,
    countries: users.countries,
  });
  const catalogue = buildCatalogue(items, schema.categories, new Float32Array(items.count));
  const features = catalogueItemFeatures(schema, catalogue);
  const model = new TwoTower(config.model, schema, features, { seed: config.seed });
  const ends = lastEventsSplit(dataset, 'validation').trainEnd;
  const statistics = await trainingStatistics(oneShard(dataset), () => ends, config);
  const sampler = new TrainingSampler(
    dataset,
    new ContextFeatures(schema),
    config,
    ends,
    statistics.untilSeconds,
  );
  const trainer = new Trainer(model, items, statistics.items, config);
  let step = 0;
  const next = (): Promise<number> => trainer.step(++step, sampler.sample(step));
  const loss = await next();
  return {
    loss,
    dispose: () => {
      trainer.dispose();
      model.dispose();
    },
    contestant: {
      name: backend === 'native' ? 'ours' : 'tfjs cpu with a plain JS scatter-add',
      before: () => useBackend(backend),
      asynchronous: true,
      run: next,
    },
  };
}
