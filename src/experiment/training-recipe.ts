// How to train for a protocol: this file decides where training ends, and which metric stops it. It
// uses validation data only and never reads the test period.

import { join } from 'node:path';
import type { Dataset } from '../data/dataset.ts';
import type { DatasetShards } from '../data/shards.ts';
import { lastEventsSplit, timeCutSplit } from '../data/splits.ts';
import { cutOf, refuseItemFrequencyInTable, validationWindow } from '../evaluate/protocols.ts';
import { isFinished, type Checkpoint } from '../model/training/checkpoint.ts';
import { train, type TrainOptions } from '../model/training/train.ts';
import type { TrainConfig } from '../model/train-config.ts';
import type { WarmStart } from '../model/training/run.ts';
import { gatherValidation, validationMetric } from './validation.ts';

/** What to train, for which protocol. */
export interface TrainingPlan {
  readonly shards: DatasetShards;
  readonly protocol: 'table' | 'time';
  /** Form of the time protocol that validation measures. */
  readonly form: 'all' | 'discovery';
  readonly config: TrainConfig;
  readonly directory: string;
  /**
   * Trains a second time on everything before the test period, for the number of steps that was
   * best on validation data.
   */
  readonly refit: boolean;
  /** The finished run that training starts from; weights are drawn when absent. */
  readonly start?: WarmStart;
  /** The tfjs backend; `native` when absent. */
  readonly backend?: TrainOptions['backend'];
}

/**
 * Trains (or continues, or returns) a run that stops early on the validation split, with real
 * context: NDCG@10 for the table protocol, Recall@50 for the time protocol.
 *
 * With `refit` the run in `directory` is the second of two. The first, in `<directory>/search`,
 * finds the number of steps without the validation period. The second trains with that period, as
 * production would. If the start of a warm start has both runs, each run starts from its
 * counterpart: a model that has seen the validation period cannot be validated on it.
 *
 * @throws TandemError as refuseItemFrequencyInTable, gatherValidation and train do.
 */
export async function trainForProtocol(plan: TrainingPlan): Promise<Checkpoint> {
  const { shards, protocol, form, config, directory, refit, start, backend } = plan;
  refuseItemFrequencyInTable(protocol, config.model);
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

/** The directory of the first run of a refit. */
function searchOf(directory: string): string {
  return join(directory, 'search');
}

function searchStart(start: WarmStart): WarmStart {
  const directory = searchOf(start.directory);
  return isFinished(directory) ? { ...start, directory } : start;
}

/** Where training ends; in the time protocol, at the cut. */
function endsBefore(
  protocol: 'table' | 'time',
  cutSeconds: () => number,
): (dataset: Dataset) => Int32Array {
  if (protocol === 'table') return (dataset) => lastEventsSplit(dataset, 'validation').trainEnd;
  const cut = cutSeconds();
  return (dataset) => timeCutSplit(dataset, cut);
}
