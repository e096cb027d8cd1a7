// tandem experiment: runs experiment files to their results, and writes the page of all results.

import { Command } from 'commander';
import { readExperiment } from '../experiment/experiment-file.ts';
import { writeResultsPage } from '../experiment/results-page.ts';
import { runExperiment } from '../experiment/run-experiment.ts';

interface ExperimentFlags {
  readonly sources: string;
  readonly work: string;
  readonly results: string;
  readonly page: string;
}

export function experimentCommand(): Command {
  return new Command('experiment')
    .description(
      'run experiments (data, training of every row and seed, evaluation); run again, it skips what is done',
    )
    .argument('[files...]', 'experiment files; without any, the page alone is written again')
    .option(
      '--sources <directory>',
      'folder of the public data sets',
      process.env['TANDEM_DATA_DIR'] ?? 'data',
    )
    .option('--work <directory>', 'datasets, checkpoints and full reports', 'runs/experiments')
    .option('--results <directory>', 'where <experiment>.json goes', 'experiments/results')
    .option('--page <file>', 'page of all results', 'docs/results.md')
    .action(run);
}

async function run(files: readonly string[], flags: ExperimentFlags): Promise<void> {
  // All are read first: a mistake in the last file shows before the first one trains.
  for (const experiment of files.map(readExperiment)) {
    const { runs } = await runExperiment(experiment, flags);
    process.stdout.write(`${JSON.stringify({ experiment: experiment.name, runs: runs.length })}\n`);
  }
  await writeResultsPage(flags.page, flags.results);
}
