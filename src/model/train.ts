// Training: draws a step, takes its gradient, applies Adam; validates, keeps the best weights, stops early, and can be
// killed at any moment: run again, it continues from its last checkpoint and ends in the same weights.

import { Adam } from '../backend/adam.ts';
import { useBackend } from '../backend/select.ts';
import { tf } from '../backend/tf.ts';
import { buildCatalogue } from '../bundle/catalogue.ts';
import { catalogueItemFeatures } from '../bundle/item-features.ts';
import type { Dataset } from '../data/dataset.ts';
import { TandemError } from '../errors.ts';
import { buildSchema } from '../features/build-schema.ts';
import { ContextFeatures } from '../features/context.ts';
import { schemaHash, type FeatureSchema } from '../features/schema.ts';
import { Random } from '../random.ts';
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
  type Validation,
} from './checkpoint.ts';
import { fullSoftmaxLoss, NegativeSampler, sampledSoftmaxLoss } from './loss.ts';
import { TrainingSampler, type TrainingStep } from './sampler.ts';
import type { TrainConfig } from './train-config.ts';
import { localiseItems, TwoTower, type TrainingNoise, type WeightMap } from './two-tower.ts';

export interface TrainOptions {
  readonly dataset: Dataset;
  /** [users]: training sees the events [userOffsets[u], trainingEnds[u]) of user u. */
  readonly trainingEnds: Int32Array;
  readonly config: TrainConfig;
  /** Checkpoint directory; a run that is already there with the same settings is continued. */
  readonly directory: string;
  /** A number that is higher for a better model, from validation data; without it the last step wins. */
  readonly validate?: (model: TwoTower) => number | Promise<number>;
}

const SECONDS_PER_DAY = 86_400;
const POPULARITY_DAYS = 30;

/**
 * Trains a model, or continues, or returns the finished run.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when the directory holds another run; ERR_TRAINING_DIVERGED when the loss
 *   is not finite; ERR_DATASET_INVALID when there is nothing to train on.
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
  openRun(
    directory,
    {
      format: 'tandem-checkpoint',
      version: CHECKPOINT_VERSION,
      config,
      schemaHash: schemaHash(schema),
      datasetName: dataset.name,
      datasetDigest: dataset.digest,
      dataUntilSeconds: seen.untilSeconds,
      trainingEvents: seen.events,
    },
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
    saved?.weights ?? { seed: config.seed },
  );
  const sampler = new TrainingSampler(dataset, new ContextFeatures(schema), config, trainingEnds);
  const trainer = new Trainer(model, sampler, config, saved?.moments);
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

/** Gradient steps on one model; holds the optimiser and the negatives' proposal. */
export class Trainer {
  readonly #model: TwoTower;
  readonly #sampler: TrainingSampler;
  readonly #config: TrainConfig;
  readonly #optimiser: Adam;
  readonly #negatives: NegativeSampler;
  readonly #names: ReadonlyMap<string, string>;

  constructor(model: TwoTower, sampler: TrainingSampler, config: TrainConfig, moments?: WeightMap) {
    this.#model = model;
    this.#sampler = sampler;
    this.#config = config;
    this.#optimiser = new Adam(model.variables);
    this.#negatives = new NegativeSampler(sampler.itemCounts(), config.unigramShare);
    this.#names = new Map([...model.variables].map(([name, variable]) => [variable.name, name]));
    if (moments !== undefined)
      for (const [name, { m, v }] of this.#optimiser.moments)
        for (const [suffix, variable] of [
          ['m', m],
          ['v', v],
        ] as const)
          tf.tidy(() => {
            const saved = moments.get(`${name}.${suffix}`)!;
            variable.assign(tf.tensor(saved.data.slice(), [...saved.shape]));
          });
  }

  /** One step; `step` counts from 1. @returns the loss before the update, in mean nats per example. */
  step(step: number): number {
    const drawn = this.#sampler.sample(step);
    const random = new Random(this.#config.seed, 2, step);
    const gradients = new Map<string, tf.Tensor>();
    const loss = tf.tidy(() => {
      const { value, grads } = tf.variableGrads(
        () => this.#loss(drawn, random),
        [...this.#model.variables.values()],
      );
      for (const [variableName, gradient] of Object.entries(grads))
        // tfjs names a variable without a gradient too, with null.
        if ((gradient as tf.Tensor | null) !== null)
          gradients.set(this.#names.get(variableName)!, tf.keep(gradient));
      return value.dataSync()[0]!;
    });
    if (!Number.isFinite(loss))
      throw new TandemError(
        'ERR_TRAINING_DIVERGED',
        `Expected a finite loss, received ${loss} at step ${step}. Lower learningRate (now ${this.#config.learningRate}) or raise temperature.`,
      );
    this.#optimiser.apply(gradients, learningRate(this.#config, step), step);
    for (const gradient of gradients.values()) gradient.dispose();
    return loss;
  }

  #loss(drawn: TrainingStep, random: Random): tf.Scalar {
    const { loss, negatives, encoderDropout, contextDropout, temperature } = this.#config;
    const model = this.#model;
    const noise: TrainingNoise = {
      random,
      encoderRate: encoderDropout,
      contextRate: contextDropout,
    };
    if (loss === 'full') {
      const inputs = model.itemInputs();
      const queries = this.#queries(inputs, drawn, drawn.histories.items, noise);
      return fullSoftmaxLoss(queries, model.itemTower(inputs), drawn, temperature);
    }
    const columns = this.#negatives.columns(drawn.positives, negatives, random);
    const local = localiseItems(drawn.histories.items, columns.slots);
    const inputs = model.itemInputs(local.slots);
    const queries = this.#queries(inputs, drawn, local.rows, noise);
    const candidates = model.itemTower(tf.gather(inputs, tf.tensor1d(local.alsoRows, 'int32')));
    return sampledSoftmaxLoss(queries, candidates, columns, drawn, temperature);
  }

  #queries(
    inputs: tf.Tensor2D,
    drawn: TrainingStep,
    items: Int32Array,
    noise: TrainingNoise,
  ): tf.Tensor2D {
    const hidden = this.#model.encode(inputs, { ...drawn.histories, items }, noise);
    const rows = {
      hidden,
      length: drawn.histories.length,
      lengths: drawn.histories.lengths,
      histories: drawn.users,
      newest: drawn.stateRows,
    };
    return this.#model.fuse(rows, drawn.contexts, noise);
  }

  /** Copies of the optimiser's moments by `<variable>.m` and `<variable>.v`. */
  moments(): WeightMap {
    const moments = new Map<string, { shape: number[]; data: Float32Array }>();
    for (const [name, pair] of this.#optimiser.moments)
      for (const suffix of ['m', 'v'] as const) {
        const variable = pair[suffix];
        moments.set(`${name}.${suffix}`, {
          shape: [...variable.shape],
          data: variable.dataSync<'float32'>().slice(),
        });
      }
    return moments;
  }

  dispose(): void {
    this.#optimiser.dispose();
  }
}

/** Linear warm-up, then a cosine down to a tenth. */
function learningRate(config: TrainConfig, step: number): number {
  const warm = Math.min(1, step / Math.max(1, config.warmupSteps));
  const share = step / config.steps;
  return config.learningRate * warm * (0.1 + 0.45 * (1 + Math.cos(Math.PI * share)));
}

function bestOf(validations: readonly Validation[]): Validation {
  return validations.reduce((best, entry) => (entry.metric > best.metric ? entry : best));
}

function exhausted(validations: readonly Validation[], patience: number): boolean {
  const oldestTried = validations.at(-patience);
  return oldestTried !== undefined && oldestTried.step > bestOf(validations).step;
}

function schemaOf(dataset: Dataset, config: TrainConfig): FeatureSchema {
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
