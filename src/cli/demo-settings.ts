// What the demo trains and on what: sizes that fit six minutes on two cores, and the real data set's settings.
// Chosen on validation data; docs/evaluation.md has the results.

import { DEFAULT_TRAINING, type TrainConfig } from '../model/train-config.ts';

export interface DemoSettings {
  readonly training: Omit<TrainConfig, 'model'> & {
    readonly model: Omit<TrainConfig['model'], 'fusion'>;
  };
  /** Form of the time protocol that training validates on. */
  readonly form: 'all' | 'discovery';
}

export const WORLD_DEMO: DemoSettings = {
  training: { ...DEFAULT_TRAINING, usersPerStep: 32, steps: 600, validateEvery: 150 },
  form: 'all',
};

export const ONLINE_RETAIL_DEMO: DemoSettings = {
  training: {
    ...DEFAULT_TRAINING,
    steps: 2000,
    validateEvery: 200,
    patience: 3,
    neighbourShare: 0.9,
    queryShare: 0.05,
  },
  form: 'discovery',
};
