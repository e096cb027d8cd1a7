// How a dataset is trained on for a protocol: where training ends and which number stops it. Validation data only; the
// test period is never looked at.

import { join } from 'node:path';
import type { Dataset } from '../data/dataset.ts';
import { lastEventsSplit, timeCutSplit } from '../data/splits.ts';
import { evaluationSet } from '../evaluate/evaluate.ts';
import { ModelEvaluation } from '../evaluate/model-scorer.ts';
import { validationWindow } from '../evaluate/protocols.ts';
import type { EvaluationSet } from '../evaluate/query.ts';
import { rankAll } from '../evaluate/ranking.ts';
import { recallAtK } from '../evaluate/metrics.ts';
import { isFinished, type Checkpoint } from '../model/checkpoint.ts';
import { train } from '../model/train.ts';
import type { TrainConfig } from '../model/train-config.ts';
import type { TwoTower } from '../model/two-tower.ts';
import type { WarmStart } from '../model/warm-start.ts';
import { Random } from '../random.ts';

export interface TrainingPlan {
  readonly dataset: Dataset;
  readonly protocol: 'table' | 'time';
  /** Of the time protocol: what validation measures. */
  readonly form: 'all' | 'discovery';
  readonly config: TrainConfig;
  readonly directory: string;
  /** Trains once more on everything before the test period, for as many steps as were best on validation data. */
  readonly refit: boolean;
  /** What the run begins with; drawn weights when absent. */
  readonly start?: WarmStart;
}

/** Requests of the validation split that are ranked at each validation. */
const VALIDATION_REQUESTS = 1500;
/** Recall at this many candidates decides which weights are best. */
const VALIDATION_K = 50;

/**
 * Trains (or continues, or returns) a run that stops early on Recall@50 of the validation split, with real context.
 *
 * With `refit` the run in `directory` is the second of two: the first, in `<directory>/search`, finds the number of steps
 * without the validation period; the second has that period in its training data, as production would. Of a start that has
 * both, too, each begins with its like: what has seen the validation period cannot be judged by it.
 */
export async function trainForProtocol(plan: TrainingPlan): Promise<Checkpoint> {
  const { dataset, protocol, form, config, directory, refit, start } = plan;
  const window = validationWindow(dataset);
  const trainedUntil = (cutSeconds: number): Int32Array =>
    protocol === 'table'
      ? lastEventsSplit(dataset, 'validation').trainEnd
      : timeCutSplit(dataset, cutSeconds);
  const validation = sampled(evaluationSet({ dataset, protocol, form, split: 'validation' }));
  const searched = await train({
    dataset,
    trainingEnds: trainedUntil(window.from),
    config,
    directory: refit ? searchOf(directory) : directory,
    validate: (model) => validationRecall(model, dataset, validation),
    ...(start !== undefined && { start: refit ? searchStart(start) : start }),
  });
  if (!refit) return searched;
  return train({
    dataset,
    // Not from the test requests: a retrain has none yet.
    trainingEnds: trainedUntil(window.until),
    config: { ...config, steps: searched.result.bestStep },
    directory,
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

async function validationRecall(
  model: TwoTower,
  dataset: Dataset,
  validation: EvaluationSet,
): Promise<number> {
  const scorer = new ModelEvaluation(model, dataset).scorer({
    name: 'validation',
    context: 'real',
  });
  let total = 0;
  await rankAll(validation, scorer, 1, (_query, { ranks }) => {
    total += recallAtK(ranks, VALIDATION_K);
  });
  return total / validation.queries.length;
}

/** The same random requests at every validation of every run. */
function sampled(set: EvaluationSet): EvaluationSet {
  const queries = new Random(17).shuffle([...set.queries]).slice(0, VALIDATION_REQUESTS);
  return { ...set, queries };
}
