// Settings of a training run and their defaults. They are stored with the checkpoint and are part
// of its identity.

import { z } from 'zod';
import { parseModelConfig, type ModelConfig } from '../bundle/manifest.ts';
import { TandemError } from '../errors.ts';
import { describeIssue } from '../foreign-errors.ts';

const LOG_Q = ['yi2019', 'negativesOnly', 'none'] as const satisfies readonly LogQ[];
/**
 * Which logits the logQ correction applies to: `yi2019` all; `negativesOnly` those of the
 * negatives, so that the loss estimates the full softmax; `none` none.
 */
export type LogQ = 'yi2019' | 'negativesOnly' | 'none';

/** Bounds of a learned temperature. */
export const TEMPERATURE_BOUNDS: { readonly low: number; readonly high: number } = {
  low: 0.01,
  high: 1,
};

/** How the sampled candidates of a step are drawn, in addition to in-batch positives. */
export interface CandidateSampling {
  /**
   * Number of negatives per step, drawn from a mixture of the unigram and the uniform distribution.
   * All examples of a step share them.
   */
  readonly negatives: number;
  /** Share of the mixture that follows item frequency (1 = popularity); the rest is uniform. */
  readonly unigramShare: number;
  /** Number of hard negatives per step: items from the categories of positives. */
  readonly hardNegatives: number;
}

/** The loss of a training step. */
export type LossConfig =
  /** Softmax over the catalogue. */
  | { readonly kind: 'full' }
  /** Sampled softmax with logQ correction. */
  | (CandidateSampling & {
      readonly kind: 'sampled';
      /** Whether the positives of all examples are candidates as well (in-batch negatives). */
      readonly inBatch: boolean;
      readonly logQ: LogQ;
    })
  /** Binary cross-entropy. */
  | (CandidateSampling & {
      readonly kind: 'bce';
      /** t of gBCE: 0 is plain BCE, 1 fully corrects the overconfidence due to sampling. */
      readonly calibration: number;
    });

/**
 * The future window of a position in a history: the next `windowEvents` events, limited to the next
 * `windowDays` days. A limit that is absent does not apply.
 */
export interface FutureWindow {
  readonly windowEvents?: number;
  readonly windowDays?: number;
}

/** Which later events are the positives of a position in a history. */
export type Objective =
  /** The next event after each drawn position. */
  | { readonly kind: 'next' }
  /** Several events of the future window of one position per user, where the encoded events end. */
  | (FutureWindow & { readonly kind: 'all' })
  /** One event of the future window of each drawn position. */
  | (FutureWindow & { readonly kind: 'denseAll' });

/** All settings of a training run. */
export interface TrainConfig {
  readonly seed: number;
  readonly model: ModelConfig;
  /**
   * Norm of the item rows that start from the co-occurrence of items in training baskets. Rows of a
   * larger norm stay near their start for longer. 0 = all item rows start small and at random.
   */
  readonly coOccurrenceStart: number;
  /** Users per step; their histories are encoded. */
  readonly usersPerStep: number;
  readonly objective: Objective;
  /**
   * Largest number of positives that a step draws for each user. `all` takes every position or, for
   * objective `all`, every event of the future window.
   */
  readonly positivesPerUser: number | 'all';
  /**
   * Which unit has equal weight in the loss.
   *
   * - `user`: each user. Users are drawn uniformly, and the examples of a user share one weight.
   * - `example`: each example. Users are drawn uniformly, and each of their examples has weight 1.
   * - `event`: each event. Users are drawn in proportion to their number of events, at most
   *   maxHistory + 1, and the examples of a user share one weight.
   */
  readonly userWeighting: 'user' | 'example' | 'event';
  readonly steps: number;
  /** Peak learning rate of Adam; after a linear warm-up it decays to a tenth along a cosine. */
  readonly learningRate: number;
  readonly warmupSteps: number;
  /**
   * Mean age of the averaged weights, as a share of the steps so far. The averaged weights are
   * validated and kept instead of the last ones. 0 = no averaging.
   */
  readonly averagedShare: number;
  readonly loss: LossConfig;
  /** The temperature tau, which divides the scores. A learned tau starts at this value. */
  readonly temperature: number;
  /** Whether tau is learned, within [0.01, 1]. */
  readonly learnTemperature: boolean;
  /**
   * Dropout rate inside the history encoder, and rate of events left out of the mean of a history.
   */
  readonly encoderDropout: number;
  /** Whether the encoder reads the time since the previous event; if not, the gap table is zero. */
  readonly gapFeature: boolean;
  /** Whether the encoder reads positions; if not, the position table is zero. */
  readonly positionFeature: boolean;
  /** Dropout rate of the context vector, so that the head does not rely on the context alone. */
  readonly contextDropout: number;
  /** Dropout rate of the input of the head's hidden layer. */
  readonly headDropout: number;
  /** Share of examples whose subject is removed, so that the model learns requests without one. */
  readonly subjectDropout: number;
  /** Share of examples whose demographics are set to unknown. */
  readonly demographicDropout: number;
  /**
   * Share of examples with the context of their logged request (no subject if none was logged). The
   * others get pseudo-context.
   */
  readonly loggedShare: number;
  /** Share of pseudo-contexts that are a synthetic search query instead of categories. */
  readonly queryShare: number;
  /**
   * Share of pseudo-contexts that are made from a neighbour instead of the positive itself. A
   * neighbour is another conversion of the user near the positive in time.
   */
  readonly neighbourShare: number;
  /** The largest time between a positive and its neighbour, in seconds. */
  readonly neighbourSeconds: number;
  /**
   * Whether items of the user's history can be positives again, and candidates. False leaves them
   * out of the loss, as the protocols without repeats leave them out of the ranking. The model then
   * learns nothing about their scores.
   */
  readonly repeats: boolean;
  /**
   * R: the state of an example lacks the events of the last U(0, R) hours before its request, as a
   * state from a daily batch does. 0 = the state is complete.
   */
  readonly recencyMaskHours: number;
  /**
   * Half-life of the weight of a positive, in days; its age counts back from the newest training
   * event. 0 = all positives have the same weight.
   */
  readonly halfLifeDays: number;
  /** Steps between validations. Each validation also saves a checkpoint. */
  readonly validateEvery: number;
  /** Training stops after this many validations without improvement. */
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

const candidateSampling = {
  negatives: z.int().min(0).default(512),
  unigramShare: share.default(0.5),
  hardNegatives: z.int().min(0).default(0),
};

const lossSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('full') }),
  z.strictObject({
    kind: z.literal('sampled'),
    ...candidateSampling,
    inBatch: z.boolean().default(true),
    logQ: z.enum(LOG_Q).default('negativesOnly'),
  }),
  z.strictObject({
    kind: z.literal('bce'),
    ...candidateSampling,
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

/**
 * Checks training settings and fills in defaults.
 *
 * @throws TandemError ERR_CONFIG_INVALID naming the first setting that is wrong, or settings that
 *   contradict each other.
 */
export function parseTrainConfig(value: unknown): TrainConfig {
  const parsed = trainConfigSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      'Expected valid training settings, received ' +
        `${issue.path.join('.') || '(root)'}: ${describeIssue(issue)}. ` +
        'docs/reference/settings.md describes the settings.',
    );
  }
  const contradiction = contradictionOf(parsed.data);
  if (contradiction !== undefined) throw new TandemError('ERR_CONFIG_INVALID', contradiction);
  return parsed.data;
}

/** A message for settings that are valid one by one but contradict each other, with the remedy. */
function contradictionOf(config: TrainConfig): string | undefined {
  const { loss, temperature, learnTemperature, model } = config;
  const { loggedShare, neighbourShare, queryShare } = config;
  const { low, high } = TEMPERATURE_BOUNDS;
  if (loss.kind === 'sampled' && loss.inBatch && loss.logQ === 'none')
    return (
      'Expected a logQ correction for in-batch negatives, received logQ "none". In-batch ' +
      'negatives are as frequent as conversions, so popular items would be pushed away in ' +
      'proportion to their popularity. Choose logQ "negativesOnly", or inBatch false.'
    );
  if (loss.kind !== 'full' && loss.negatives + loss.hardNegatives === 0)
    if (loss.kind === 'bce' || !loss.inBatch)
      return (
        `Expected negatives for the ${loss.kind} loss, received negatives 0 and ` +
        'hardNegatives 0. Raise one of them.'
      );
  if (loss.kind === 'bce' && loss.calibration > 0 && loss.unigramShare + loss.hardNegatives > 0)
    return (
      'Expected uniform negatives for gBCE, which derives its power from their sampling rate, ' +
      `received unigramShare ${loss.unigramShare} and hardNegatives ${loss.hardNegatives}. ` +
      'Set both to 0, or calibration to 0 for plain BCE.'
    );
  if (learnTemperature && !(temperature > low && temperature < high))
    return (
      `Expected a learned temperature to start between ${low} and ${high}, its bounds, ` +
      `received ${temperature}. Choose one inside, or learnTemperature false.`
    );
  if (model.subjectItem && model.fusion === 'none')
    return (
      'Expected a fusion with context for subjectItem, received fusion "none". ' +
      'Choose fusion "concat", or subjectItem false.'
    );
  if (model.subjectItem && loggedShare === 0 && neighbourShare * (1 - queryShare) === 0)
    return (
      'Expected examples with an item in view for subjectItem, received loggedShare 0, ' +
      `neighbourShare ${neighbourShare} and queryShare ${queryShare}, with which no example ` +
      'has one. Raise loggedShare or neighbourShare, or set subjectItem to false.'
    );
  if (model.itemFrequency && !config.repeats)
    return (
      'Expected repeats for itemFrequency, received repeats false, which leaves items that a ' +
      'user has had before out of the loss, so the boost would learn nothing. ' +
      'Set repeats to true, or itemFrequency to false.'
    );
  return undefined;
}
