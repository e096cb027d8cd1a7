// Training settings in layers: the defaults, then what a file says, then what a row of an experiment or a flag says.

import { DEFAULT_TRAINING, parseTrainConfig, type TrainConfig } from '../model/train-config.ts';

/** Any of the training settings; those of the model may be given in part, too. */
export type SettingsLayer = Partial<Omit<TrainConfig, 'model'>> & {
  readonly model?: Partial<TrainConfig['model']>;
};

/** Later layers win, setting by setting. @throws TandemError ERR_CONFIG_INVALID naming the first setting that is wrong. */
export function layerSettings(...layers: readonly SettingsLayer[]): TrainConfig {
  const all: readonly SettingsLayer[] = [DEFAULT_TRAINING, ...layers];
  return parseTrainConfig({
    ...(Object.assign({}, ...all) as SettingsLayer),
    model: Object.assign({}, ...all.map(({ model }) => model)) as unknown,
  });
}
