// How a dataset is trained on for a protocol: where training ends and which number stops it. Validation data only; the
// test period is never looked at.

import { join } from 'node:path';
import type { Dataset } from '../data/dataset.ts';
import type { DatasetShards } from '../data/shards.ts';
import { lastEventsSplit, timeCutSplit } from '../data/splits.ts';
import { cutOf, refuseCountsInTable, validationWindow } from '../evaluate/protocols.ts';
import { isFinished, type Checkpoint } from '../model/training/checkpoint.ts';
import { train, type TrainOptions } from '../model/training/train.ts';
import type { TrainConfig } from '../model/train-config.ts';
import type { WarmStart } from '../model/training/warm-start.ts';
import { gatherValidation, validationMetric } from './validation.ts';

export interface TrainingPlan {
  readonly shards: DatasetShards;
  readonly protocol: 'table' | 'time';
  /** Of the time protocol: what validation measures. */
  readonly form: 'all' | 'discovery';
  readonly config: TrainConfig;
  readonly directory: string;
  /** Trains once more on everything before the test period, for as many steps as were best on validation data. */
  readonly refit: boolean;
  /** What the run begins with; drawn weights when absent. */
  readonly start?: WarmStart;
  /** Of tfjs; `native` when absent. */
  readonly backend?: TrainOptions['backend'];
}

/**
 * Trains (or continues, or returns) a run that stops early on the validation split, with real context: NDCG@10 of a table, Recall@50 of a cut in time.
 *
 * With `refit` the run in `directory` is the second of two: the first, in `<directory>/search`, finds the number of steps
 * without the validation period; the second has that period in its training data, as production would. Of a start that has
 * both, too, each begins with its like: what has seen the validation period cannot be judged by it.
 *
 * @throws TandemError what refuseCountsInTable, gatherValidation and train throw.
 */
export async function trainForProtocol(plan: TrainingPlan): Promise<Checkpoint> {
  const { shards, protocol, form, config, directory, refit, start, backend } = plan;
  refuseCountsInTable(protocol, config.model);
  const trainingEnds = endsBefore(protocol, () => validationWindow(shards).from);
  const validation = await gatherValidation(shards, protocol, form, trainingEnds);
  const searched = await train({
    shards,
    trainingEnds,
    config,
    directory: refit ? searchOf(directory) : directory,
    validate: (model) => validationMetric(model, validation),
    backend,
    ...(start !== undefined && { start: refit ? searchStart(start) : start }),
  });
  if (!refit) return searched;
  return train({
    shards,
    trainingEnds: endsBefore(protocol, () => cutOf(shards)),
    config: { ...config, steps: searched.result.bestStep },
    directory,
    backend,
    ...(start !== undefined && { start }),
  });
}

/** Where the first of the two runs of a refit lies. */
function searchOf(directory: string): string {
  return join(directory, 'search');
}

function searchStart(start: WarmStart): WarmStart {
  const directory = searchOf(start.directory);
  return isFinished(directory) ? { ...start, directory } : start;
}

/** Where training ends; at the cut in the time protocol. */
function endsBefore(
  protocol: 'table' | 'time',
  cutSeconds: () => number,
): (dataset: Dataset) => Int32Array {
  if (protocol === 'table') return (dataset) => lastEventsSplit(dataset, 'validation').trainEnd;
  const cut = cutSeconds();
  return (dataset) => timeCutSplit(dataset, cut);
}
