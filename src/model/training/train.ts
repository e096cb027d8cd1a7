// The training loop: takes steps (trainer.ts), validates, keeps the best weights and stops early. A
// run can be killed at any moment. When it is started again, it continues from its last checkpoint
// and ends with the same weights.

import type { BackendName } from '../../backend/backends.ts';
import { useBackend } from '../../backend/select.ts';
import { buildCatalogue } from '../../bundle/catalogue.ts';
import { catalogueItemFeatures } from '../../bundle/weights/item-features.ts';
import type { DatasetShards } from '../../data/shards.ts';
import { buildSchema } from '../../features/build-schema.ts';
import { ContextFeatures } from '../../features/context.ts';
import { schemaHash, type FeatureSchema } from '../../features/schema.ts';
import { logger, startProgress } from '../../telemetry.ts';
import {
  CHECKPOINT_VERSION,
  finishRun,
  isFinished,
  loadCheckpoint,
  loadTrainingState,
  openRun,
  removeSteps,
  saveTrainingState,
  type Checkpoint,
  type RunSettings,
  type TrainingState,
} from './checkpoint.ts';
import { coOccurrenceRows } from './co-occurrence-start.ts';
import { initialWeights, type NewWeights } from '../network/initial-weights.ts';
import { ShardSampler } from './sampling/shard-sampler.ts';
import type { TrainConfig } from '../train-config.ts';
import { Trainer } from './trainer.ts';
import { trainingStatistics, type TrainingEnds } from './training-statistics.ts';
import { TwoTower, type WeightMap } from '../network/two-tower.ts';
import type { ValidationResult, WarmStart } from './run.ts';
import { openStart, startingWeights } from './warm-start.ts';
import { averageWeights } from './weight-average.ts';
import { tensorSpecs } from '../network/weights.ts';

export interface TrainOptions {
  readonly shards: DatasetShards;
  readonly trainingEnds: TrainingEnds;
  readonly config: TrainConfig;
  /** Checkpoint directory. A run that is already there with the same settings continues. */
  readonly directory: string;
  /** Measures the model on validation data; higher is better. Without it the last step counts. */
  readonly validate?: (model: TwoTower) => number | Promise<number>;
  /** The run whose weights this run starts from; weights are drawn when absent. */
  readonly start?: WarmStart;
  /** The tfjs backend; `native` when absent. A run can continue on another backend. */
  readonly backend?: BackendName | undefined;
}

/**
 * Trains a model, continues an interrupted run, or returns a finished one. At most two shards are
 * in memory at any time.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when the directory holds another run, or the run of a
 *   warm start does not fit this run; ERR_TRAINING_DIVERGED when the loss is not finite;
 *   ERR_BACKEND_UNAVAILABLE; the errors of trainingStatistics.
 */
export async function train(options: TrainOptions): Promise<Checkpoint> {
  const { shards, trainingEnds, config, directory } = options;
  await useBackend(options.backend);
  const schema = schemaOf(shards, config);
  const statistics = await trainingStatistics(shards, trainingEnds, config);
  const catalogue = buildCatalogue(shards.items, schema.categories, statistics.popularity);
  const settings: RunSettings = {
    format: 'tandem-checkpoint',
    version: CHECKPOINT_VERSION,
    config,
    schemaHash: schemaHash(schema),
    datasetName: shards.name,
    datasetDigest: shards.digest,
    dataUntilSeconds: statistics.untilSeconds,
    trainingEvents: statistics.events,
    ...(shards.shardEvents !== undefined && { shardEvents: shards.shardEvents }),
  };
  const { heldOutFrom } = statistics;
  const start =
    options.start &&
    openStart(options.start, { settings, schema, heldOutFrom, hasTime: shards.hasTime });
  openRun(
    directory,
    start === undefined ? settings : { ...settings, start: start.identity },
    schema,
    catalogue,
  );
  if (isFinished(directory)) {
    removeSteps(directory);
    return loadCheckpoint(directory);
  }

  const saved = loadTrainingState(directory);
  if (saved !== undefined) logger.info({ directory, step: saved.step }, 'continuing training');
  const model = new TwoTower(
    config.model,
    schema,
    catalogueItemFeatures(schema, catalogue),
    saved?.weights ??
      (start === undefined
        ? await drawnWeights(options, schema)
        : startingWeights(start, config.model, schema, catalogue.ids.all(), config.seed)),
  );
  const features = new ContextFeatures(schema);
  const sampler = new ShardSampler(shards, trainingEnds, features, config, statistics);
  const trainer = new Trainer(model, shards.items, statistics.items, config, {
    headOnly: options.start?.headOnly ?? false,
    ...(saved !== undefined && { moments: saved.moments }),
  });
  const averaged = await averagedModel(model, config, saved);
  const kept = averaged ?? model;
  const validations: ValidationResult[] = [...(saved?.validations ?? [])];
  let best: WeightMap = saved?.best ?? (await kept.weights());
  let lossSum = 0;
  let lossSteps = 0;
  const progress = startProgress(`train ${config.model.fusion}`, config.steps, 'steps');
  let step = saved?.step ?? 0;
  try {
    while (step < config.steps && !exhausted(validations, config.patience)) {
      step++;
      lossSum += await trainer.step(step, await sampler.sample(step));
      lossSteps++;
      if (averaged !== undefined) averageWeights(averaged, model, config.averagedShare, step);
      progress.update(step, `loss ${(lossSum / lossSteps).toFixed(3)}`);
      if (step % config.validateEvery !== 0 && step !== config.steps) continue;
      // Without validation data, a later step counts as better.
      const metric = options.validate === undefined ? step : await options.validate(kept);
      const improved = metric > Math.max(-Infinity, ...validations.map((entry) => entry.metric));
      validations.push({ step, loss: lossSum / lossSteps, metric });
      if (improved) best = await kept.weights();
      lossSum = 0;
      lossSteps = 0;
      await saveTrainingState(directory, {
        step,
        validations,
        weights: await model.weights(),
        best,
        moments: await trainer.moments(),
        ...(averaged !== undefined && { averages: await averaged.weights() }),
      });
    }
    progress.end(
      `best ${bestOf(validations).metric.toFixed(4)} at step ${bestOf(validations).step}`,
    );
  } finally {
    await sampler.close();
    trainer.dispose();
    model.dispose();
    averaged?.dispose();
  }
  await finishRun(directory, best, {
    bestStep: bestOf(validations).step,
    stepsRun: step,
    validations,
  });
  return loadCheckpoint(directory);
}

/**
 * The model that holds the averaged weights; undefined when averagedShare is 0. The caller creates
 * it after the trainer, which sets tables of unused features to zero.
 */
async function averagedModel(
  model: TwoTower,
  { averagedShare }: TrainConfig,
  saved: TrainingState | undefined,
): Promise<TwoTower | undefined> {
  if (averagedShare === 0) return undefined;
  const { config, schema, items } = model;
  return new TwoTower(config, schema, items, saved?.averages ?? (await model.weights()));
}

/**
 * Initial weights of a run without a warm start: drawn at random, with item rows from co-occurrence
 * when coOccurrenceStart is above 0.
 */
async function drawnWeights(
  { shards, trainingEnds, config }: TrainOptions,
  schema: FeatureSchema,
): Promise<NewWeights> {
  const { model, seed, coOccurrenceStart: norm } = config;
  const weights = initialWeights(tensorSpecs(model, schema, shards.items.count), seed);
  if (norm === 0) return weights;
  const width = model.embeddingWidth;
  const rows = await coOccurrenceRows(shards, trainingEnds, width, seed);
  const ids = weights.get('items.id')!.data;
  for (let item = 0; item < shards.items.count; item++) {
    const row = rows.subarray(item * width, (item + 1) * width);
    // An item that shares no basket keeps its random row.
    if (row.some((value) => value !== 0))
      ids.set(
        row.map((value) => norm * value),
        item * width,
      );
  }
  return weights;
}

function bestOf(validations: readonly ValidationResult[]): ValidationResult {
  return validations.reduce((best, entry) => (entry.metric > best.metric ? entry : best));
}

function exhausted(validations: readonly ValidationResult[], patience: number): boolean {
  const oldestTried = validations.at(-patience);
  return oldestTried !== undefined && oldestTried.step > bestOf(validations).step;
}

/** The feature schema of a run on this data. */
export function schemaOf(
  { items, actionNames, genders, countries }: DatasetShards,
  config: TrainConfig,
): FeatureSchema {
  return buildSchema({
    maxHistory: config.model.maxHistory,
    actionNames,
    itemIds: items.ids,
    titles: items.titles,
    categoryNames: items.categoryNames,
    advertisers: items.advertisers,
    prices: items.prices,
    genders,
    countries,
  });
}
