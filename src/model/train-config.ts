// Settings of a training run and their defaults: one schema, stored with the checkpoint, part of its identity.

import { z } from 'zod';
import { parseModelConfig, type ModelConfig } from '../bundle/manifest.ts';
import { TandemError } from '../errors.ts';

export interface TrainConfig {
  readonly seed: number;
  readonly model: ModelConfig;
  /** Users whose histories are encoded in a step. */
  readonly usersPerStep: number;
  /** Positives drawn from each of those histories: the loss is taken at several positions of one encoding. */
  readonly positivesPerUser: number;
  readonly steps: number;
  /** Adam's rate after warm-up; falls to a tenth along a cosine. */
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** tau: scores are divided by it. */
  readonly temperature: number;
  /** `full` softmax over the catalogue, or `sampled` with logQ correction. */
  readonly loss: 'full' | 'sampled';
  /** Negatives shared by a step's examples (sampled loss), besides the other examples' positives. */
  readonly negatives: number;
  /** Share of the negatives' proposal that follows item frequency; the rest is uniform. */
  readonly unigramShare: number;
  /** Share of units dropped inside the history encoder. */
  readonly encoderDropout: number;
  /** Share of units dropped from the context vector: keeps the weight of the history. */
  readonly contextDropout: number;
  /** Share of examples without a subject, so that requests without context are in distribution. */
  readonly subjectDropout: number;
  /** Share of examples with unknown demographics. */
  readonly demographicDropout: number;
  /** Share of subjects that are a synthetic search query instead of categories. */
  readonly queryShare: number;
  /** Share of pseudo-contexts taken from another conversion near the positive instead of the positive itself. */
  readonly neighbourShare: number;
  /** What counts as near, in seconds. */
  readonly neighbourSeconds: number;
  /** R: the state misses the last U(0, R) hours before a positive, as a daily batch would. 0 = the event before. */
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
};

export const DEFAULT_TRAINING: TrainConfig = {
  seed: 1,
  model: DEFAULT_MODEL,
  usersPerStep: 64,
  positivesPerUser: 8,
  steps: 1000,
  learningRate: 2e-3,
  warmupSteps: 50,
  temperature: 0.06,
  loss: 'full',
  negatives: 512,
  unigramShare: 0.5,
  encoderDropout: 0.2,
  contextDropout: 0.5,
  subjectDropout: 0.25,
  demographicDropout: 0.1,
  queryShare: 0.15,
  neighbourShare: 0.5,
  neighbourSeconds: 3600,
  recencyMaskHours: 24,
  halfLifeDays: 0,
  validateEvery: 100,
  patience: 5,
};

const share = z.number().min(0).max(1);
const dropoutRate = z.number().min(0).lt(1);
const positive = z.int().min(1);

const trainConfigSchema = z.strictObject({
  seed: z.int().min(0),
  model: z.unknown().transform(parseModelConfig),
  usersPerStep: positive,
  positivesPerUser: positive,
  steps: positive,
  learningRate: z.number().positive(),
  warmupSteps: z.int().min(0),
  temperature: z.number().positive(),
  loss: z.enum(['full', 'sampled']),
  negatives: positive,
  unigramShare: share,
  encoderDropout: dropoutRate,
  contextDropout: dropoutRate,
  subjectDropout: share,
  demographicDropout: share,
  queryShare: share,
  neighbourShare: share,
  neighbourSeconds: z.number().min(0),
  recencyMaskHours: z.number().min(0),
  halfLifeDays: z.number().min(0),
  validateEvery: positive,
  patience: positive,
});

/** @throws TandemError ERR_CONFIG_INVALID naming the first setting that is wrong. */
export function parseTrainConfig(value: unknown): TrainConfig {
  const parsed = trainConfigSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new TandemError(
    'ERR_CONFIG_INVALID',
    `Expected valid training settings: ${issue.path.join('.') || '(root)'}: ${issue.message}.`,
  );
}
