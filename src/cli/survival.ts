// tandem survival: simulates which candidates of several generators survive the ranker and the
// auction of the synthetic world.

import { Command, InvalidArgumentError } from 'commander';
import { readDataset } from '../data/read-dataset.ts';
import { Baselines } from '../evaluate/baselines/baselines.ts';
import { evaluationSet, mixtureOf, refuseLeakage } from '../evaluate/evaluate.ts';
import { loadAllEvaluated } from '../evaluate/load-checkpoint.ts';
import { mainScorer } from '../evaluate/rows.ts';
import { formatSurvival, SURVIVAL_FILES, writeSurvival } from '../world/survival-report.ts';
import { simulateSurvival } from '../world/survival.ts';

interface SurvivalFlags {
  readonly data: string;
  readonly checkpoint: readonly string[];
  readonly candidates: number;
  readonly seed: number;
  readonly out: string;
}

export function survivalCommand(): Command {
  return new Command('survival')
    .description(
      'simulate ranking and auction of candidates of models and baselines (synthetic world)',
    )
    .requiredOption('--data <directory>', 'dataset of tandem world')
    .option(
      '--checkpoint <directory>',
      'training run; may be repeated; the first is the one that others are compared with',
      (directory: string, others: readonly string[]) => [...others, directory],
      [] as readonly string[],
    )
    .option(
      '--candidates <count>',
      'number of candidates that each generator returns for a request',
      positive,
      100,
    )
    .option('--seed <number>', 'seed of the bootstrap', positive, 1)
    .requiredOption(
      '--out <directory>',
      `directory for ${Object.values(SURVIVAL_FILES).join(', ')}`,
    )
    .action(run);
}

async function run(flags: SurvivalFlags): Promise<void> {
  const dataset = await readDataset(flags.data);
  const request = { dataset, protocol: 'time', form: 'all', split: 'test' } as const;
  const set = evaluationSet(request);
  const models = await loadAllEvaluated(flags.checkpoint);
  for (const model of models) refuseLeakage(model, dataset, set);
  const report = await simulateSurvival({
    dataset,
    set,
    generators: [
      ...models.map((model) => mainScorer(model, dataset)),
      ...new Baselines(dataset, set).scorers(mixtureOf(request, set).weights),
    ],
    candidates: flags.candidates,
    seed: flags.seed,
  });
  writeSurvival(flags.out, report);
  process.stdout.write(`${formatSurvival(report)}\n`);
}

function positive(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('Expected a whole number above 0.');
  return Number(text);
}
