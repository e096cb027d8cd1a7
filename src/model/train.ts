// Training: takes steps (trainer.ts), validates, keeps the best weights, stops early, and can be killed at any moment: run
// again, it continues from its last checkpoint and ends in the same weights.

import { useBackend } from '../backend/select.ts';
import { buildCatalogue } from '../bundle/catalogue.ts';
import { catalogueItemFeatures } from '../bundle/item-features.ts';
import type { Dataset } from '../data/dataset.ts';
import { buildSchema } from '../features/build-schema.ts';
import { ContextFeatures } from '../features/context.ts';
import { schemaHash, type FeatureSchema } from '../features/schema.ts';
import { logger, startProgress } from '../telemetry.ts';
import {
  CHECKPOINT_VERSION,
  finishRun,
  isFinished,
  loadCheckpoint,
  loadTrainingState,
  openRun,
  saveTrainingState,
  type Checkpoint,
  type RunSettings,
  type Validation,
} from './checkpoint.ts';
import { TrainingSampler } from './sampler.ts';
import type { TrainConfig } from './train-config.ts';
import { Trainer } from './trainer.ts';
import { TwoTower, type WeightMap } from './two-tower.ts';
import { openStart, startingWeights, type WarmStart } from './warm-start.ts';

export interface TrainOptions {
  readonly dataset: Dataset;
  /** [users]: training sees the events [userOffsets[u], trainingEnds[u]) of user u. */
  readonly trainingEnds: Int32Array;
  readonly config: TrainConfig;
  /** Checkpoint directory; a run that is already there with the same settings is continued. */
  readonly directory: string;
  /** A number that is higher for a better model, from validation data; without it the last step wins. */
  readonly validate?: (model: TwoTower) => number | Promise<number>;
  /** What the first weights are carried over from; they are drawn when absent. */
  readonly start?: WarmStart;
}

const SECONDS_PER_DAY = 86_400;
const POPULARITY_DAYS = 30;

/**
 * Trains a model, or continues, or returns the finished run.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when the directory holds another run, or the start does not fit this one;
 *   ERR_TRAINING_DIVERGED when the loss is not finite; ERR_DATASET_INVALID when there is nothing to train on.
 */
export async function train(options: TrainOptions): Promise<Checkpoint> {
  const { dataset, trainingEnds, config, directory } = options;
  await useBackend();
  const schema = schemaOf(dataset, config);
  const seen = trainingExtent(dataset, trainingEnds);
  const catalogue = buildCatalogue(
    dataset.items,
    schema.categories,
    recentPopularity(dataset, trainingEnds, seen.untilSeconds),
  );
  const settings: RunSettings = {
    format: 'tandem-checkpoint',
    version: CHECKPOINT_VERSION,
    config,
    schemaHash: schemaHash(schema),
    datasetName: dataset.name,
    datasetDigest: dataset.digest,
    dataUntilSeconds: seen.untilSeconds,
    trainingEvents: seen.events,
  };
  const start =
    options.start && openStart(options.start, { settings, schema, dataset, trainingEnds });
  openRun(
    directory,
    start === undefined ? settings : { ...settings, start: start.identity },
    schema,
    catalogue,
  );
  if (isFinished(directory)) return loadCheckpoint(directory);

  const saved = loadTrainingState(directory);
  if (saved !== undefined) logger.info({ directory, step: saved.step }, 'continuing training');
  const model = new TwoTower(
    config.model,
    schema,
    catalogueItemFeatures(schema, catalogue),
    saved?.weights ??
      (start === undefined
        ? { seed: config.seed }
        : startingWeights(start, config.model, schema, catalogue.ids, config.seed)),
  );
  const sampler = new TrainingSampler(dataset, new ContextFeatures(schema), config, trainingEnds);
  const trainer = new Trainer(model, sampler, config, {
    headOnly: options.start?.headOnly ?? false,
    ...(saved !== undefined && { moments: saved.moments }),
  });
  const validations: Validation[] = [...(saved?.validations ?? [])];
  let best: WeightMap = saved?.best ?? model.weights();
  let lossSum = 0;
  let lossSteps = 0;
  const progress = startProgress(`train ${config.model.fusion}`, config.steps, 'steps');
  let step = saved?.step ?? 0;
  try {
    while (step < config.steps && !exhausted(validations, config.patience)) {
      step++;
      lossSum += trainer.step(step);
      lossSteps++;
      progress.update(step, `loss ${(lossSum / lossSteps).toFixed(3)}`);
      if (step % config.validateEvery !== 0 && step !== config.steps) continue;
      // Without validation data a later step counts as better.
      const metric = options.validate === undefined ? step : await options.validate(model);
      const improved = metric > Math.max(-Infinity, ...validations.map((entry) => entry.metric));
      validations.push({ step, loss: lossSum / lossSteps, metric });
      if (improved) best = model.weights();
      lossSum = 0;
      lossSteps = 0;
      await saveTrainingState(directory, {
        step,
        validations,
        weights: model.weights(),
        best,
        moments: trainer.moments(),
      });
    }
    progress.end(
      `best ${bestOf(validations).metric.toFixed(4)} at step ${bestOf(validations).step}`,
    );
  } finally {
    trainer.dispose();
    model.dispose();
  }
  await finishRun(directory, best, {
    bestStep: bestOf(validations).step,
    stepsRun: step,
    validations,
  });
  return loadCheckpoint(directory);
}

function bestOf(validations: readonly Validation[]): Validation {
  return validations.reduce((best, entry) => (entry.metric > best.metric ? entry : best));
}

function exhausted(validations: readonly Validation[], patience: number): boolean {
  const oldestTried = validations.at(-patience);
  return oldestTried !== undefined && oldestTried.step > bestOf(validations).step;
}

/** The schema that a run on this dataset has. */
export function schemaOf(dataset: Dataset, config: TrainConfig): FeatureSchema {
  return buildSchema({
    maxHistory: config.model.maxHistory,
    actionNames: dataset.events.actionNames,
    itemIds: dataset.items.ids,
    titles: dataset.items.titles,
    categoryNames: dataset.items.categoryNames,
    advertisers: dataset.items.advertisers,
    prices: dataset.items.prices,
    genders: dataset.users.genders,
    countries: dataset.users.countries,
  });
}

function trainingExtent(
  dataset: Dataset,
  trainingEnds: Int32Array,
): { events: number; untilSeconds: number } {
  let events = 0;
  let untilSeconds = 0;
  for (let user = 0; user < dataset.users.count; user++) {
    const begin = dataset.events.userOffsets[user]!;
    const end = trainingEnds[user]!;
    events += end - begin;
    if (end > begin) untilSeconds = Math.max(untilSeconds, dataset.events.times[end - 1]!);
  }
  return { events, untilSeconds };
}

/** Training events of each item in the last 30 days before `untilSeconds`; of all time without real times. [N] */
function recentPopularity(
  dataset: Dataset,
  trainingEnds: Int32Array,
  untilSeconds: number,
): Float32Array {
  const from = dataset.hasTime ? untilSeconds - POPULARITY_DAYS * SECONDS_PER_DAY : -Infinity;
  const popularity = new Float32Array(dataset.items.count);
  for (let user = 0; user < dataset.users.count; user++)
    for (let i = dataset.events.userOffsets[user]!; i < trainingEnds[user]!; i++)
      if (dataset.events.times[i]! >= from) popularity[dataset.events.items[i]!]!++;
  return popularity;
}
