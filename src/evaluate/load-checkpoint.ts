// Loads a finished training run as a model to evaluate. It imports tfjs only when it is called, so
// that an evaluation of baselines alone starts at once.

import { basename, resolve } from 'node:path';
import type { EvaluatedModel } from './evaluate.ts';

export interface EvaluatedCheckpoint extends EvaluatedModel {
  /** Frees the weights. */
  dispose(): void;
}

/**
 * Loads the run in a directory.
 *
 * @param name - the name of its rows in the report.
 * @throws TandemError ERR_CHECKPOINT_INVALID when there is no finished run.
 */
export async function loadEvaluated(directory: string, name: string): Promise<EvaluatedCheckpoint> {
  const { loadCheckpoint, loadModel } = await import('../model/training/checkpoint.ts');
  const { settings } = loadCheckpoint(directory);
  const model = await loadModel(directory);
  return {
    name,
    model,
    datasetDigest: settings.datasetDigest,
    dataUntilSeconds: settings.dataUntilSeconds,
    trainingEvents: settings.trainingEvents,
    identity: { schemaHash: settings.schemaHash, config: settings.config },
    dispose: () => {
      model.dispose();
    },
  };
}

/**
 * Loads the runs of several folders and names them after the folders. Folders with the same name
 * get a number, so that their rows can be told apart.
 */
export async function loadAllEvaluated(
  directories: readonly string[],
): Promise<EvaluatedCheckpoint[]> {
  const seen = new Map<string, number>();
  const loaded: EvaluatedCheckpoint[] = [];
  for (const directory of directories) {
    const name = basename(resolve(directory));
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    loaded.push(await loadEvaluated(directory, count === 1 ? name : `${name} (${count})`));
  }
  return loaded;
}
