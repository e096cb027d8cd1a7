// The job of tandem survival: loads dataset and runs, and simulates the candidates of the runs and
// of every baseline.

import { readDataset } from '../data/read-dataset.ts';
import { Baselines } from '../evaluate/baselines/baselines.ts';
import { evaluationSet, mixtureOf, refuseLeakage } from '../evaluate/evaluate.ts';
import { loadAllEvaluated } from '../evaluate/load-checkpoint.ts';
import { mainScorer } from '../evaluate/rows.ts';
import { simulateSurvival, type SurvivalReport } from './survival.ts';

export interface SurvivalJob {
  /** Directory of the dataset of a synthetic world. */
  readonly data: string;
  /** Directories of finished runs. The first is the one that others are compared with. */
  readonly checkpoints: readonly string[];
  /** Number of candidates that each generator returns for a request. */
  readonly candidates: number;
  /** Seed of the bootstrap. */
  readonly seed: number;
}

/**
 * Runs the simulation on the test split of the time protocol.
 *
 * @throws TandemError ERR_DATASET_NOT_FOUND, ERR_DATASET_INVALID; ERR_CHECKPOINT_INVALID;
 *   ERR_INVALID_ARGUMENT when a model has trained on the requests.
 */
export async function runSurvival(job: SurvivalJob): Promise<SurvivalReport> {
  const dataset = await readDataset(job.data);
  const request = { dataset, protocol: 'time', form: 'all', split: 'test' } as const;
  const set = evaluationSet(request);
  const models = await loadAllEvaluated(job.checkpoints);
  for (const model of models) refuseLeakage(model, dataset, set);
  return simulateSurvival({
    dataset,
    set,
    generators: [
      ...models.map((model) => mainScorer(model, dataset)),
      ...new Baselines(dataset, set).scorers(mixtureOf(request, set).weights),
    ],
    candidates: job.candidates,
    seed: job.seed,
  });
}
