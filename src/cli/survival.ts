// tandem survival: simulates which candidates of several generators survive the ranker and the
// auction of the synthetic world.

import { Command, InvalidArgumentError } from 'commander';
import { runSurvival } from '../world/run-survival.ts';
import { formatSurvival, SURVIVAL_FILES, writeSurvival } from '../world/survival-report.ts';

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
  const report = await runSurvival({
    data: flags.data,
    checkpoints: flags.checkpoint,
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
