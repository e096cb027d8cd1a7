// What the demo trains and on what: sizes that fit six minutes on two cores, and the real data set's settings.
// Chosen on validation data; docs/evaluation.md has the results.

import { DEFAULT_TRAINING, type TrainConfig } from '../model/train-config.ts';

export interface DemoSettings {
  readonly training: Omit<TrainConfig, 'model'> & {
    readonly model: Omit<TrainConfig['model'], 'fusion'>;
  };
  /** Form of the time protocol that training validates on. */
  readonly form: 'all' | 'discovery';
  readonly refit: boolean;
}

export const WORLD_DEMO: DemoSettings = {
  training: { ...DEFAULT_TRAINING, usersPerStep: 32, steps: 300, validateEvery: 100 },
  form: 'all',
  refit: false,
};

/** A shop's seasons: recent purchases weigh more, and the last weeks before the test period are trained on too. */
export const ONLINE_RETAIL_DEMO: DemoSettings = {
  training: {
    ...DEFAULT_TRAINING,
    model: { ...DEFAULT_TRAINING.model, maxHistory: 48 },
    usersPerStep: 32,
    positivesPerUser: 16,
    steps: 400,
    validateEvery: 50,
    patience: 8,
    neighbourShare: 0.9,
    neighbourSeconds: 60,
    queryShare: 0.05,
    halfLifeDays: 60,
  },
  form: 'discovery',
  refit: true,
};
