// The job of tandem train: a dataset becomes a training run.

import type { BackendName } from '../backend/backends.ts';
import type { SettingsLayer } from '../experiment/settings.ts';
import type { TrainingResult, WarmStart } from '../model/training/run.ts';
import { loadOffline } from '../platform/offline-package.ts';
import { reportProgressTo } from '../telemetry.ts';
import type { JobOptions } from './job-options.ts';

/** What to train on, where to, and how. */
export interface TrainOptions extends JobOptions {
  /** Directory of the dataset. */
  readonly dataset: string;
  /** Directory of the run. A run that was interrupted there continues; a finished one returns. */
  readonly checkpoint: string;
  /**
   * Held-out data; `table`: the last events of each user; `time`: the last weeks. Default `time`.
   */
  readonly protocol?: 'table' | 'time';
  /**
   * Validation of the time protocol; `all`: on all items; `discovery`: on items new to the user.
   * Default `all`.
   */
  readonly form?: 'all' | 'discovery';
  /**
   * Settings of training and model, layer by layer: later layers win, setting by setting. The
   * default of a setting is that of the warm start, for the layers of the model, or of the program.
   */
  readonly settings?: SettingsLayer | readonly SettingsLayer[];
  /**
   * Whether to train again with the validation period, for the best number of steps. Default false.
   */
  readonly refit?: boolean;
  /** Approximate number of events in memory; larger datasets are trained on in shards. */
  readonly shardEvents?: number;
  /** The finished run to start from. */
  readonly warmStart?: WarmStart;
  /** Backend of tfjs. Default `native`. */
  readonly backend?: BackendName;
}

/** How a training run went. */
export interface TrainReport extends TrainingResult {
  /** Directory of the finished run. */
  readonly checkpoint: string;
}

/**
 * Trains a two-tower model. A process that was killed continues from its last checkpoint when it
 * calls this again with the same options, and ends in the same bytes.
 *
 * @throws TandemError ERR_CONFIG_INVALID for wrong settings; ERR_DATASET_NOT_FOUND,
 *   ERR_DATASET_INVALID; ERR_CHECKPOINT_INVALID for a directory that holds another run;
 *   ERR_TRAINING_DIVERGED; ERR_BACKEND_UNAVAILABLE, ERR_NATIVE_UNAVAILABLE; ERR_PACKAGE_MISSING
 *   without tandem-offline.
 */
export async function train(options: TrainOptions): Promise<TrainReport> {
  const [{ openShards }, { layerSettings }, { trainForProtocol }, { loadRunSettings }] =
    await loadOffline('tandem train', () =>
      Promise.all([
        import('../data/shards.ts'),
        import('../experiment/settings.ts'),
        import('../experiment/training-recipe.ts'),
        import('../model/training/checkpoint.ts'),
      ]),
    );
  const { dataset, checkpoint, settings = [], warmStart, backend } = options;
  const ofStart = (): SettingsLayer => {
    if (warmStart === undefined) return {};
    const { model, gapFeature, positionFeature } = loadRunSettings(warmStart.directory).config;
    return { model, gapFeature, positionFeature };
  };
  const config = layerSettings(ofStart(), ...[settings].flat());
  const shards = await openShards(dataset, options.shardEvents);
  try {
    const { result } = await reportProgressTo(options.onProgress, () =>
      trainForProtocol({
        shards,
        protocol: options.protocol ?? 'time',
        form: options.form ?? 'all',
        config,
        directory: checkpoint,
        refit: options.refit ?? false,
        ...(backend !== undefined && { backend }),
        ...(warmStart !== undefined && { start: warmStart }),
      }),
    );
    return { checkpoint, ...result };
  } finally {
    shards.close();
  }
}
