// Gradient steps: computes the loss of a step, for the whole model or for the head alone, and
// updates the weights with Adam.

import { Adam, type GradientTask } from '../../backend/adam.ts';
import { tf, valuesOf } from '../../backend/tf.ts';
import { isHeadTensor } from '../../bundle/identity.ts';
import type { ItemTable } from '../../data/dataset.ts';
import { TandemError } from '../../errors.ts';
import { Random } from '../../random.ts';
import type { ExampleBoosts } from './losses/examples.ts';
import {
  stepLoss,
  type CatalogueLoss,
  type ItemStatistics,
  type SampledLoss,
} from './losses/step-loss.ts';
import { inverseTemperature, temperatureVariable } from './losses/temperature.ts';
import type { TrainingStep } from './sampling/sampler.ts';
import type { TrainConfig } from '../train-config.ts';
import type { TrainingNoise } from '../network/layers.ts';
import { distinctItems } from '../network/ragged-histories.ts';
import type { TwoTower, WeightMap } from '../network/two-tower.ts';

/** The table of learned item rows. A step with a sampled loss reads and updates few of its rows. */
const ITEM_TABLE = 'items.id';
/**
 * Name of the learned temperature. Checkpoints save it with the optimiser's moments, because it is
 * part of the run and not of a bundle.
 */
const TEMPERATURE = 'loss.temperature';

export interface TrainerOptions {
  /** Trains only context layer and head; states and item vectors stay as they are. */
  readonly headOnly?: boolean;
  /** The moments from which the optimiser continues; zero when absent. */
  readonly moments?: WeightMap;
}

/** Takes gradient steps on one model. Holds the optimiser, the loss and its temperature. */
export class Trainer {
  readonly #model: TwoTower;
  readonly #config: TrainConfig;
  readonly #optimiser: Adam;
  readonly #loss: CatalogueLoss | SampledLoss;
  readonly #temperature: tf.Variable | undefined;
  /** [N, D] item vectors, which do not change when only the head is trained; else undefined. */
  readonly #frozenVectors: tf.Variable<tf.Rank.R2> | undefined;

  constructor(
    model: TwoTower,
    items: ItemTable,
    statistics: ItemStatistics,
    config: TrainConfig,
    { headOnly = false, moments }: TrainerOptions = {},
  ) {
    this.#model = model;
    this.#config = config;
    this.#loss = stepLoss(config.loss, items, statistics);
    if (config.learnTemperature) this.#temperature = temperatureVariable(config.temperature);
    if (headOnly) this.#frozenVectors = tf.tidy(() => tf.variable(model.itemVectorTable(), false));
    this.#optimiser = new Adam(trainedVariables(model, config, this.#temperature, headOnly));
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

  /**
   * Takes one step.
   *
   * @param step - counts from 1.
   * @param drawn - the histories and examples of the step.
   * @returns the loss before the update: the weighted mean over the examples, in nats.
   * @throws TandemError ERR_TRAINING_DIVERGED when the loss is not finite.
   */
  async step(step: number, drawn: TrainingStep): Promise<number> {
    const random = new Random(this.#config.seed, 2, step);
    const rate = learningRate(this.#config, step);
    const loss = await this.#optimiser.minimise(() => this.#task(drawn, random), rate, step);
    if (!Number.isFinite(loss))
      throw new TandemError(
        'ERR_TRAINING_DIVERGED',
        `Expected a finite loss, received ${loss} at step ${step}. ` +
          `Lower learningRate (now ${this.#config.learningRate}) or raise temperature.`,
      );
    return loss;
  }

  #task(drawn: TrainingStep, random: Random): GradientTask {
    if (this.#frozenVectors !== undefined)
      return this.#headTask(this.#loss, this.#frozenVectors, drawn, random);
    return this.#loss.sampled
      ? this.#sampledTask(this.#loss, drawn, random)
      : this.#fullTask(this.#loss, drawn, random);
  }

  /** A step whose loss runs over the whole catalogue. */
  #fullTask(loss: CatalogueLoss, drawn: TrainingStep, random: Random): GradientTask {
    return {
      loss: () => {
        const inputs = this.#model.itemInputs();
        const subjects = tf.gather(inputs, tf.tensor1d(subjectRows(drawn), 'int32'));
        const noise = this.#noise(random);
        const hidden = this.#model.encode(inputs, drawn.histories, noise);
        const queries = this.#queries(hidden, drawn, noise, subjects);
        return loss.value(queries, this.#model.itemTower(inputs), drawn, this.#boosts(drawn));
      },
      lookups: new Map(),
    };
  }

  /** A step that reads only the items of its histories, positives, candidates and subjects. */
  #sampledTask(loss: SampledLoss, drawn: TrainingStep, random: Random): GradientTask {
    const candidates = loss.draw(drawn.positives, random);
    const subjects = this.#config.model.subjectItem ? subjectRows(drawn) : new Int32Array(0);
    const wanted = new Int32Array([...drawn.positives, ...candidates.rows, ...subjects]);
    const items = distinctItems(drawn.histories.items, wanted);
    const histories = { ...drawn.histories, items: items.indices };
    const count = drawn.positives.length;
    const end = count + candidates.rows.length;
    return {
      loss: (read) => {
        const inputs = this.#model.itemInputs(items.catalogueRows, read.get(ITEM_TABLE));
        const rowsOf = (table: tf.Tensor2D, first: number, last?: number): tf.Tensor2D =>
          tf.gather(table, tf.tensor1d(items.alsoIndices.subarray(first, last), 'int32'));
        const noise = this.#noise(random);
        const hidden = this.#model.encode(inputs, histories, noise);
        const queries = this.#queries(hidden, drawn, noise, rowsOf(inputs, end));
        // The item tower runs once per distinct item, because one item can be the positive of many
        // examples.
        const vectors = this.#model.itemTower(inputs);
        return loss.value(
          queries,
          rowsOf(vectors, 0, count),
          rowsOf(vectors, count, end),
          candidates,
          drawn,
          this.#boosts(drawn),
        );
      },
      lookups: new Map([[ITEM_TABLE, items.catalogueRows]]),
    };
  }

  /**
   * A step of the head alone. Hidden states and item vectors are computed without dropout, as
   * serving computes them, and before tfjs records the graph. So they get no gradient.
   *
   * @param vectors - [N, D] item vectors of the catalogue.
   */
  #headTask(
    loss: CatalogueLoss | SampledLoss,
    vectors: tf.Tensor2D,
    drawn: TrainingStep,
    random: Random,
  ): GradientTask {
    const { catalogueRows, indices } = distinctItems(drawn.histories.items);
    const inputs = this.#model.itemInputs(catalogueRows);
    const hidden = this.#model.encode(inputs, { ...drawn.histories, items: indices });
    const candidates = loss.sampled ? loss.draw(drawn.positives, random) : undefined;
    const vectorsOf = (items: Int32Array): tf.Tensor2D =>
      tf.gather(vectors, tf.tensor1d(items, 'int32'));
    return {
      loss: () => {
        const queries = this.#queries(hidden, drawn, this.#noise(random));
        const boosts = this.#boosts(drawn);
        if (!loss.sampled) return loss.value(queries, vectors, drawn, boosts);
        const sampled = vectorsOf(candidates!.rows);
        const positives = vectorsOf(drawn.positives);
        return loss.value(queries, positives, sampled, candidates!, drawn, boosts);
      },
      lookups: new Map(),
    };
  }

  #noise(random: Random): TrainingNoise {
    return {
      random,
      encoderRate: this.#config.encoderDropout,
      headRate: this.#config.headDropout,
      contextRate: this.#config.contextDropout,
    };
  }

  /**
   * Query embeddings of the examples, divided by tau.
   *
   * @param hidden - [R, D] hidden states of the step's histories.
   * @param subjectInputs - [E, D] input embeddings of the items in view, when these get gradients.
   * @returns [E, D] unit rows divided by tau.
   */
  #queries(
    hidden: tf.Tensor2D,
    drawn: TrainingStep,
    noise: TrainingNoise,
    subjectInputs?: tf.Tensor2D,
  ): tf.Tensor2D {
    const states = {
      hidden,
      offsets: drawn.histories.offsets,
      histories: drawn.users,
      newest: drawn.stateRows,
    };
    return tf.mul(
      this.#model.fuse(states, drawn.contexts, noise, subjectInputs),
      this.#inverseTemperature(),
    );
  }

  /**
   * History boosts of the examples' logits, divided by tau like the cosines; undefined without
   * itemFrequency.
   */
  #boosts({ frequencies }: TrainingStep): ExampleBoosts | undefined {
    if (frequencies === undefined) return undefined;
    const { rows, columns, counts, ofPositives } = frequencies;
    const logits = (of: Float32Array): tf.Tensor1D =>
      tf.mul(this.#model.frequencyBoost(of), this.#inverseTemperature());
    return {
      pairs: { rows, columns, values: logits(counts) },
      ofPositives: logits(ofPositives),
    };
  }

  #inverseTemperature(): tf.Tensor | number {
    return this.#temperature === undefined
      ? 1 / this.#config.temperature
      : inverseTemperature(this.#temperature);
  }

  /** The current tau. */
  async temperature(): Promise<number> {
    const variable = this.#temperature;
    if (variable === undefined) return this.#config.temperature;
    const inverse = tf.tidy(() => inverseTemperature(variable));
    const [value] = await valuesOf(inverse);
    inverse.dispose();
    return 1 / value!;
  }

  /**
   * Copies of the optimiser's moments, named `<variable>.m` and `<variable>.v`, and of the learned
   * temperature.
   */
  async moments(): Promise<WeightMap> {
    const moments = new Map<string, { shape: number[]; data: Float32Array }>();
    for (const [name, pair] of this.#optimiser.moments)
      for (const suffix of ['m', 'v'] as const) {
        const variable = pair[suffix];
        moments.set(`${name}.${suffix}`, {
          shape: [...variable.shape],
          data: await valuesOf(variable),
        });
      }
    if (this.#temperature !== undefined)
      moments.set(TEMPERATURE, {
        shape: [1],
        data: await valuesOf(this.#temperature),
      });
    return moments;
  }

  dispose(): void {
    this.#optimiser.dispose();
    this.#temperature?.dispose();
    this.#frozenVectors?.dispose();
  }
}

/**
 * [E] catalogue rows of the items in view. An example without one gets row 0, and the model masks
 * its embedding.
 */
function subjectRows({ contexts, positives }: TrainingStep): Int32Array {
  return positives.map((_, e) => Math.max(0, contexts.subjectItems?.[e] ?? -1));
}

/**
 * The variables that a step trains: the weights of the model, or of context layer and head alone,
 * and the learned temperature. The table of an unused feature is set to zero and is not trained.
 */
function trainedVariables(
  model: TwoTower,
  { gapFeature, positionFeature }: TrainConfig,
  temperature: tf.Variable | undefined,
  headOnly: boolean,
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
  if (headOnly)
    for (const name of variables.keys()) if (!isHeadTensor(name)) variables.delete(name);
  if (temperature !== undefined) variables.set(TEMPERATURE, temperature);
  return variables;
}

/** Linear warm-up, then a cosine down to a tenth of the rate. */
function learningRate(config: TrainConfig, step: number): number {
  const warm = Math.min(1, step / Math.max(1, config.warmupSteps));
  const share = step / config.steps;
  return config.learningRate * warm * (0.1 + 0.45 * (1 + Math.cos(Math.PI * share)));
}
