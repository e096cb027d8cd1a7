// Training: draws a step, takes its gradient, applies Adam; validates, keeps the best weights, stops early, and can be
// killed at any moment: run again, it continues from its last checkpoint and ends in the same weights.

import { Adam } from '../backend/adam.ts';
import { useBackend } from '../backend/select.ts';
import { tf } from '../backend/tf.ts';
import { buildCatalogue } from '../bundle/catalogue.ts';
import { catalogueItemFeatures } from '../bundle/item-features.ts';
import type { ItemTable } from '../data/dataset.ts';
import type { DatasetShards } from '../data/shards.ts';
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
import {
  stepLoss,
  type CatalogueLoss,
  type ColumnLoss,
  type ItemStatistics,
} from './losses/step-loss.ts';
import { inverseTemperature, temperatureVariable } from './losses/temperature.ts';
import type { TrainingStep } from './sampler.ts';
import { ShardSampler } from './shard-sampler.ts';
import type { TrainConfig } from './train-config.ts';
import { trainingStatistics, type TrainingEnds } from './training-statistics.ts';
import { localiseItems, TwoTower, type TrainingNoise, type WeightMap } from './two-tower.ts';

export interface TrainOptions {
  readonly shards: DatasetShards;
  readonly trainingEnds: TrainingEnds;
  readonly config: TrainConfig;
  /** Checkpoint directory; a run that is already there with the same settings is continued. */
  readonly directory: string;
  /** A number that is higher for a better model, from validation data; without it the last step wins. */
  readonly validate?: (model: TwoTower) => number | Promise<number>;
}

/**
 * Trains a model, or continues, or returns the finished run. At most two shards are in memory at any time.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when the directory holds another run; ERR_TRAINING_DIVERGED when the loss
 *   is not finite; what trainingStatistics throws.
 */
export async function train(options: TrainOptions): Promise<Checkpoint> {
  const { shards, trainingEnds, config, directory } = options;
  await useBackend();
  const schema = schemaOf(shards, config);
  const statistics = await trainingStatistics(shards, trainingEnds, config);
  const catalogue = buildCatalogue(shards.items, schema.categories, statistics.popularity);
  openRun(
    directory,
    {
      format: 'tandem-checkpoint',
      version: CHECKPOINT_VERSION,
      config,
      schemaHash: schemaHash(schema),
      datasetName: shards.name,
      datasetDigest: shards.digest,
      dataUntilSeconds: statistics.untilSeconds,
      trainingEvents: statistics.events,
      ...(shards.shardEvents !== undefined && { shardEvents: shards.shardEvents }),
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
  const features = new ContextFeatures(schema);
  const sampler = new ShardSampler(shards, trainingEnds, features, config, statistics);
  const trainer = new Trainer(model, shards.items, statistics.items, config, saved?.moments);
  const validations: Validation[] = [...(saved?.validations ?? [])];
  let best: WeightMap = saved?.best ?? model.weights();
  let lossSum = 0;
  let lossSteps = 0;
  const progress = startProgress(`train ${config.model.fusion}`, config.steps, 'steps');
  let step = saved?.step ?? 0;
  try {
    while (step < config.steps && !exhausted(validations, config.patience)) {
      step++;
      lossSum += trainer.step(step, await sampler.sample(step));
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
    await sampler.close();
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

/** The table that a sampled step reads few rows of. */
const ITEM_TABLE = 'items.id';
/** What a step minimises, and the rows of tables that it reads: see Adam.minimise. */
interface Task {
  readonly loss: (rows: ReadonlyMap<string, tf.Tensor>) => tf.Scalar;
  readonly lookups: ReadonlyMap<string, Int32Array>;
}

/** What the loss learns beside the model: state of the run, no part of a bundle. */
const TEMPERATURE = 'loss.temperature';

/** Gradient steps on one model; holds the optimiser, the loss and its temperature. */
export class Trainer {
  readonly #model: TwoTower;
  readonly #config: TrainConfig;
  readonly #optimiser: Adam;
  readonly #loss: CatalogueLoss | ColumnLoss;
  readonly #temperature: tf.Variable | undefined;
  /** What is trained, by name: the model's weights but for features that are switched off, and a learned temperature. */
  readonly #variables: ReadonlyMap<string, tf.Variable>;

  constructor(
    model: TwoTower,
    items: ItemTable,
    statistics: ItemStatistics,
    config: TrainConfig,
    moments?: WeightMap,
  ) {
    this.#model = model;
    this.#config = config;
    this.#loss = stepLoss(config.loss, items, statistics);
    if (config.learnTemperature) this.#temperature = temperatureVariable(config.temperature);
    this.#variables = trainedVariables(model, config, this.#temperature);
    this.#optimiser = new Adam(this.#variables);
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
    const learned = moments?.get(TEMPERATURE);
    if (learned !== undefined)
      tf.tidy(() => {
        this.#temperature!.assign(tf.tensor1d(learned.data.slice()));
      });
  }

  /** One step; `step` counts from 1. @returns the loss before the update, in mean nats per example. */
  step(step: number, drawn: TrainingStep): number {
    const random = new Random(this.#config.seed, 2, step);
    const task = this.#loss.sampled
      ? this.#sampledTask(this.#loss, drawn, random)
      : this.#fullTask(this.#loss, drawn, random);
    const loss = this.#optimiser.minimise(
      task.loss,
      task.lookups,
      learningRate(this.#config, step),
      step,
    );
    if (!Number.isFinite(loss))
      throw new TandemError(
        'ERR_TRAINING_DIVERGED',
        `Expected a finite loss, received ${loss} at step ${step}. Lower learningRate (now ${this.#config.learningRate}) or raise temperature.`,
      );
    return loss;
  }

  #fullTask(loss: CatalogueLoss, drawn: TrainingStep, random: Random): Task {
    return {
      loss: () => {
        const inputs = this.#model.itemInputs();
        const subjects = tf.gather(inputs, tf.tensor1d(subjectSlots(drawn), 'int32'));
        const queries = this.#queries(inputs, subjects, drawn, drawn.histories.items, random);
        return loss.value(queries, this.#model.itemTower(inputs), drawn);
      },
      lookups: new Map(),
    };
  }

  #sampledTask(loss: ColumnLoss, drawn: TrainingStep, random: Random): Task {
    const columns = loss.draw(drawn.positives, random);
    const subjects = this.#config.model.subjectItem ? subjectSlots(drawn) : new Int32Array(0);
    const wanted = new Int32Array([...drawn.positives, ...columns.slots, ...subjects]);
    const { slots, rows, alsoRows } = localiseItems(drawn.histories.items, wanted);
    const count = drawn.positives.length;
    const end = count + columns.slots.length;
    return {
      loss: (read) => {
        const inputs = this.#model.itemInputs(slots, read.get(ITEM_TABLE));
        const rowsOf = (table: tf.Tensor2D, first: number, last?: number): tf.Tensor2D =>
          tf.gather(table, tf.tensor1d(alsoRows.subarray(first, last), 'int32'));
        const queries = this.#queries(inputs, rowsOf(inputs, end), drawn, rows, random);
        // Vectors of distinct items: at all positions of a step an item is positive many times.
        const vectors = this.#model.itemTower(inputs);
        return loss.value(
          queries,
          rowsOf(vectors, 0, count),
          rowsOf(vectors, count, end),
          columns,
          drawn,
        );
      },
      lookups: new Map([[ITEM_TABLE, slots]]),
    };
  }

  /** Query embeddings of the examples, divided by tau. */
  #queries(
    inputs: tf.Tensor2D,
    subjectInputs: tf.Tensor2D,
    drawn: TrainingStep,
    items: Int32Array,
    random: Random,
  ): tf.Tensor2D {
    const noise: TrainingNoise = {
      random,
      encoderRate: this.#config.encoderDropout,
      contextRate: this.#config.contextDropout,
    };
    const hidden = this.#model.encode(inputs, { ...drawn.histories, items }, noise);
    const states = {
      hidden,
      offsets: drawn.histories.offsets,
      histories: drawn.users,
      newest: drawn.stateRows,
    };
    return tf.mul(
      this.#model.fuse(states, drawn.contexts, noise, subjectInputs),
      this.#temperature === undefined
        ? 1 / this.#config.temperature
        : inverseTemperature(this.#temperature),
    );
  }

  /** tau, as it is now. */
  get temperature(): number {
    const variable = this.#temperature;
    return variable === undefined
      ? this.#config.temperature
      : 1 / tf.tidy(() => inverseTemperature(variable).dataSync()[0]!);
  }

  /** Copies of the optimiser's moments by `<variable>.m` and `<variable>.v`, and of what the loss learns. */
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
    if (this.#temperature !== undefined)
      moments.set(TEMPERATURE, {
        shape: [1],
        data: this.#temperature.dataSync<'float32'>().slice(),
      });
    return moments;
  }

  dispose(): void {
    this.#optimiser.dispose();
    this.#temperature?.dispose();
  }
}

/** [E] items in view; item 0 where there is none, for which the model takes nothing. */
function subjectSlots({ contexts, positives }: TrainingStep): Int32Array {
  return positives.map((_, e) => Math.max(0, contexts.subjectItems?.[e] ?? -1));
}

/** What a step trains: the model's weights and the loss's, without tables that are switched off, which are held at zero. */
function trainedVariables(
  model: TwoTower,
  { gapFeature, positionFeature }: TrainConfig,
  temperature: tf.Variable | undefined,
): Map<string, tf.Variable> {
  const variables = new Map(model.variables);
  for (const [name, used] of [
    ['encoder.gap', gapFeature],
    ['encoder.position', positionFeature],
  ] as const) {
    if (used) continue;
    const variable = variables.get(name)!;
    tf.tidy(() => {
      variable.assign(tf.zerosLike(variable));
    });
    variables.delete(name);
  }
  if (temperature !== undefined) variables.set(TEMPERATURE, temperature);
  return variables;
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

function schemaOf(
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
