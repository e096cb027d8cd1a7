// Settings of a training run and their defaults: one schema, stored with the checkpoint, part of its identity.

import { z } from 'zod';
import { parseModelConfig, type ModelConfig } from '../bundle/manifest.ts';
import { TandemError } from '../errors.ts';

const LOG_Q = ['yi2019', 'negativesOnly', 'none'] as const;
/**
 * What logQ corrects: `yi2019` every logit; `negativesOnly` the negatives', so that the loss estimates the full softmax;
 * `none` nothing.
 */
export type LogQ = (typeof LOG_Q)[number];

/** Bounds of a learned temperature. */
export const TEMPERATURE_BOUNDS: { readonly low: number; readonly high: number } = {
  low: 0.01,
  high: 1,
};

/** Where the columns that examples are scored against come from, beside their own positive. */
export interface SampledColumns {
  /** Drawn for a step and shared by its examples, from the mixture of unigram and uniform. */
  readonly negatives: number;
  /** Share of that mixture that follows item frequency (1 = popularity); the rest is uniform. */
  readonly unigramShare: number;
  /** Drawn for a step from the categories of positives. */
  readonly hardNegatives: number;
}

export type LossConfig =
  /** Softmax over the catalogue. */
  | { readonly kind: 'full' }
  /** Sampled softmax with logQ correction. */
  | (SampledColumns & {
      readonly kind: 'sampled';
      /** The positives of all examples are columns, too. */
      readonly inBatch: boolean;
      readonly logQ: LogQ;
    })
  /** Binary cross-entropy. */
  | (SampledColumns & {
      readonly kind: 'bce';
      /** t of gBCE: 0 is plain BCE, 1 undoes the overconfidence of sampling in full. */
      readonly calibration: number;
    });

/** The future window of a position: its next events, its next days, or both; neither = all that follows in training. */
export interface FutureWindow {
  readonly windowEvents?: number;
  readonly windowDays?: number;
}

export type Objective =
  /** The event that follows each drawn position. */
  | { readonly kind: 'next' }
  /** Several events of the future window of one position, the last that is encoded. */
  | (FutureWindow & { readonly kind: 'all' })
  /** One event of the future window of each drawn position. */
  | (FutureWindow & { readonly kind: 'denseAll' });

export interface TrainConfig {
  readonly seed: number;
  readonly model: ModelConfig;
  /**
   * Norm of the item rows that start where the items' co-occurrence in training baskets puts them; the larger, the longer they stay
   * near. 0 = they start at random, small.
   */
  readonly coOccurrenceStart: number;
  /** Users whose histories are encoded in a step. */
  readonly usersPerStep: number;
  readonly objective: Objective;
  /** Positives drawn for each of those histories; `all` takes every position (objective all: every event of the window). */
  readonly positivesPerUser: number | 'all';
  /**
   * What weighs the same: users, who are drawn evenly and whose examples share their weight; the examples of such users; or
   * events, where users are drawn in proportion to theirs and examples share.
   */
  readonly userWeighting: 'user' | 'example' | 'event';
  readonly steps: number;
  /** Adam's rate after warm-up; falls to a tenth along a cosine. */
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** Mean age of the weights whose mean is validated and kept, as a share of the steps so far; 0 = the last weights are. */
  readonly averagedShare: number;
  readonly loss: LossConfig;
  /** tau: scores are divided by it. Where a learned one starts. */
  readonly temperature: number;
  /** Learns tau within [0.01, 1]. */
  readonly learnTemperature: boolean;
  /** Share of units dropped inside the history encoder, and of events from the mean of a history. */
  readonly encoderDropout: number;
  /** The encoder sees the time since the event before; false holds its table at zero. */
  readonly gapFeature: boolean;
  /** The encoder sees positions; false holds its table at zero. */
  readonly positionFeature: boolean;
  /** Share of units dropped from the context vector: keeps the weight of the history. */
  readonly contextDropout: number;
  /** Share of units dropped from what the head's hidden layer reads. */
  readonly headDropout: number;
  /** Share of examples without a subject, so that requests without context are in distribution. */
  readonly subjectDropout: number;
  /** Share of examples with unknown demographics. */
  readonly demographicDropout: number;
  /** Share of examples with the context of their logged request (no subject where none was logged); the others get pseudo-context. */
  readonly loggedShare: number;
  /** Share of pseudo-contexts that are a synthetic search query instead of categories. */
  readonly queryShare: number;
  /** Share of pseudo-contexts taken from another conversion near the positive instead of the positive itself. */
  readonly neighbourShare: number;
  /** What counts as near, in seconds. */
  readonly neighbourSeconds: number;
  /**
   * Whether what the user had before the state is a positive again, and competes. False leaves it out of the loss, as
   * protocols leave it out of the ranking: the score of such an item is then nobody's concern.
   */
  readonly repeats: boolean;
  /** R: the state misses the last U(0, R) hours before a positive, as a daily batch would. 0 = none of them. */
  readonly recencyMaskHours: number;
  /** A positive's weight halves with every so many days before the newest training event; 0 = all weigh the same. */
  readonly halfLifeDays: number;
  /** Steps between validations, which are also the checkpoints. */
  readonly validateEvery: number;
  /** Validations without improvement after which training stops. */
  readonly patience: number;
}

export const DEFAULT_MODEL: ModelConfig = {
  fusion: 'concat',
  embeddingWidth: 64,
  blocks: 2,
  heads: 2,
  feedForwardWidth: 256,
  maxHistory: 32,
  actionWidth: 8,
  subjectWidth: 64,
  demographicWidth: 8,
  contextWidth: 128,
  hiddenWidth: 128,
  historyMean: false,
  subjectItem: false,
};

export const DEFAULT_TRAINING: TrainConfig = {
  seed: 1,
  model: DEFAULT_MODEL,
  coOccurrenceStart: 0,
  usersPerStep: 64,
  objective: { kind: 'next' },
  positivesPerUser: 8,
  userWeighting: 'user',
  steps: 1000,
  learningRate: 2e-3,
  warmupSteps: 50,
  averagedShare: 0,
  loss: { kind: 'full' },
  temperature: 0.06,
  learnTemperature: false,
  encoderDropout: 0.2,
  gapFeature: true,
  positionFeature: true,
  contextDropout: 0.5,
  headDropout: 0,
  subjectDropout: 0.25,
  demographicDropout: 0.1,
  loggedShare: 0,
  queryShare: 0.15,
  neighbourShare: 0.5,
  neighbourSeconds: 3600,
  repeats: true,
  recencyMaskHours: 24,
  halfLifeDays: 0,
  validateEvery: 100,
  patience: 5,
};

const share = z.number().min(0).max(1);
const dropoutRate = z.number().min(0).lt(1);
const positive = z.int().min(1);

const sampledColumns = {
  negatives: z.int().min(0).default(512),
  unigramShare: share.default(0.5),
  hardNegatives: z.int().min(0).default(0),
};

const lossSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('full') }),
  z.strictObject({
    kind: z.literal('sampled'),
    ...sampledColumns,
    inBatch: z.boolean().default(true),
    logQ: z.enum(LOG_Q).default('negativesOnly'),
  }),
  z.strictObject({
    kind: z.literal('bce'),
    ...sampledColumns,
    unigramShare: share.default(0),
    calibration: share.default(0.75),
  }),
]);

const futureWindow = {
  windowEvents: positive.exactOptional(),
  windowDays: z.number().positive().exactOptional(),
};

const objectiveSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('next') }),
  z.strictObject({ kind: z.literal('all'), ...futureWindow }),
  z.strictObject({ kind: z.literal('denseAll'), ...futureWindow }),
]);

const trainConfigSchema = z.strictObject({
  seed: z.int().min(0),
  model: z.unknown().transform(parseModelConfig),
  coOccurrenceStart: z.number().min(0).default(0),
  usersPerStep: positive,
  objective: objectiveSchema,
  positivesPerUser: z.union([positive, z.literal('all')]),
  userWeighting: z.enum(['user', 'example', 'event']),
  steps: positive,
  learningRate: z.number().positive(),
  warmupSteps: z.int().min(0),
  averagedShare: z.number().min(0).max(0.5).default(0),
  loss: lossSchema,
  temperature: z.number().positive(),
  learnTemperature: z.boolean(),
  encoderDropout: dropoutRate,
  gapFeature: z.boolean(),
  positionFeature: z.boolean(),
  contextDropout: dropoutRate,
  headDropout: dropoutRate,
  subjectDropout: share,
  demographicDropout: share,
  loggedShare: share,
  queryShare: share,
  neighbourShare: share,
  neighbourSeconds: z.number().min(0),
  repeats: z.boolean(),
  recencyMaskHours: z.number().min(0),
  halfLifeDays: z.number().min(0),
  validateEvery: positive,
  patience: positive,
});

/** @throws TandemError ERR_CONFIG_INVALID naming the first setting that is wrong, or two that contradict each other. */
export function parseTrainConfig(value: unknown): TrainConfig {
  const parsed = trainConfigSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected valid training settings: ${issue.path.join('.') || '(root)'}: ${issue.message}.`,
    );
  }
  const contradiction = contradictionOf(parsed.data);
  if (contradiction !== undefined) throw new TandemError('ERR_CONFIG_INVALID', contradiction);
  return parsed.data;
}

/** What each setting allows alone and together makes no sense, with the remedy. */
function contradictionOf(config: TrainConfig): string | undefined {
  const { loss, temperature, learnTemperature, model } = config;
  const { loggedShare, neighbourShare, queryShare } = config;
  const { low, high } = TEMPERATURE_BOUNDS;
  if (loss.kind === 'sampled' && loss.inBatch && loss.logQ === 'none')
    return 'Expected a logQ correction for in-batch negatives, received logQ "none". They come as often as users convert on them, so popular items would be pushed away in proportion to their popularity. Choose logQ "negativesOnly", or inBatch false.';
  if (loss.kind !== 'full' && loss.negatives + loss.hardNegatives === 0)
    if (loss.kind === 'bce' || !loss.inBatch)
      return `Expected negatives for the ${loss.kind} loss, received negatives 0 and hardNegatives 0. Raise one of them.`;
  if (loss.kind === 'bce' && loss.calibration > 0 && loss.unigramShare + loss.hardNegatives > 0)
    return `Expected uniform negatives for gBCE, whose power is derived from their sampling rate, received unigramShare ${loss.unigramShare} and hardNegatives ${loss.hardNegatives}. Set both to 0, or calibration to 0 for plain BCE.`;
  if (learnTemperature && !(temperature > low && temperature < high))
    return `Expected a learned temperature to start between ${low} and ${high}, its bounds, received ${temperature}. Choose one inside, or learnTemperature false.`;
  if (model.subjectItem && model.fusion === 'none')
    return 'Expected a fusion with context for subjectItem, received fusion "none". Choose fusion "concat", or subjectItem false.';
  if (model.subjectItem && loggedShare === 0 && neighbourShare * (1 - queryShare) === 0)
    return `Expected examples with an item in view for subjectItem, received loggedShare 0, neighbourShare ${neighbourShare} and queryShare ${queryShare}, with which no example has one. Raise loggedShare or neighbourShare, or set subjectItem to false.`;
  if (model.itemFrequency && !config.repeats)
    return 'Expected repeats for itemFrequency, received repeats false, which leaves what a user had before out of the loss: nothing would be learned of it. Set repeats to true, or itemFrequency to false.';
  return undefined;
}
