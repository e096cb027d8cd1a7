// The training settings of the demo. Those of the synthetic world fit into six minutes on two
// cores. All were chosen on validation data; docs/explanation/evaluation.md has the results.

import { DEFAULT_TRAINING, type TrainConfig } from '../../model/train-config.ts';
import { DEFAULT_WORLD, type WorldSize } from '../../world/law.ts';

export interface DemoSettings {
  readonly training: Omit<TrainConfig, 'model'> & {
    readonly model: Omit<TrainConfig['model'], 'fusion'>;
  };
  /** Form of the time protocol with which training validates. */
  readonly form: 'all' | 'discovery';
  readonly refit: boolean;
  /** The synthetic world to generate, if it is not a public data set. */
  readonly world?: WorldSize;
}

export const WORLD_DEMO: DemoSettings = {
  world: DEFAULT_WORLD,
  training: { ...DEFAULT_TRAINING, usersPerStep: 32, steps: 300, validateEvery: 100 },
  form: 'all',
  refit: false,
};

/** A demo of less than a minute, which shows that every job runs. Its models are hardly trained. */
export const QUICK_DEMO: DemoSettings = {
  ...WORLD_DEMO,
  world: { ...DEFAULT_WORLD, users: 1_000, items: 1_000 },
  training: { ...WORLD_DEMO.training, usersPerStep: 16, steps: 30, validateEvery: 30 },
};

/**
 * The settings of experiments/online-retail.json with fewer steps. A shop has seasons, so recent
 * purchases weigh more, and the last weeks before the test period are trained on too. Its customers
 * come back a few times for a dozen items each.
 */
export const ONLINE_RETAIL_DEMO: DemoSettings = {
  training: {
    ...DEFAULT_TRAINING,
    model: {
      ...DEFAULT_TRAINING.model,
      embeddingWidth: 128,
      subjectWidth: 128,
      contextWidth: 256,
      blocks: 1,
      feedForwardWidth: 128,
      maxHistory: 128,
      historyMean: true,
      subjectItem: true,
    },
    positivesPerUser: 16,
    userWeighting: 'event',
    steps: 400,
    validateEvery: 50,
    temperature: 0.15,
    encoderDropout: 0.5,
    contextDropout: 0.3,
    headDropout: 0.5,
    subjectDropout: 0.1,
    repeats: false,
    halfLifeDays: 20,
    neighbourShare: 1,
    neighbourSeconds: 60,
    queryShare: 0.05,
  },
  form: 'discovery',
  refit: true,
};
