// Training settings in layers: the defaults, then those of a file, then those of an experiment's
// row or of flags.

import { DEFAULT_TRAINING, parseTrainConfig, type TrainConfig } from '../model/train-config.ts';

/** Any of the training settings. The settings of the model can be given in part as well. */
export type SettingsLayer = Partial<Omit<TrainConfig, 'model'>> & {
  readonly model?: Partial<TrainConfig['model']>;
};

/**
 * Merges layers of settings. Later layers win, setting by setting.
 *
 * @throws TandemError ERR_CONFIG_INVALID naming the first setting that is wrong.
 */
export function layerSettings(...layers: readonly SettingsLayer[]): TrainConfig {
  const all: readonly SettingsLayer[] = [DEFAULT_TRAINING, ...layers];
  return parseTrainConfig({
    ...(Object.assign({}, ...all) as SettingsLayer),
    model: Object.assign({}, ...all.map(({ model }) => model)) as unknown,
  });
}
