// tandem experiment: runs experiment files, stores their results, and writes the page of all
// results.

import { Command, Option } from 'commander';
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
      'run experiments (import, train each row and seed, evaluate), skipping what is done',
    )
    .argument('[files...]', 'experiment files; without any, only the page is written')
    .addOption(
      new Option('--sources <directory>', 'directory of the public data sets')
        .env('TANDEM_DATA_DIR')
        .default('data'),
    )
    .option(
      '--work <directory>',
      'directory for datasets, training runs and full reports',
      'runs/experiments',
    )
    .option(
      '--results <directory>',
      'directory for the results, <experiment>.json',
      'experiments/results',
    )
    .option('--page <file>', 'page of all results to write', 'docs/results.md')
    .action(run);
}

async function run(files: readonly string[], flags: ExperimentFlags): Promise<void> {
  // All files are read first, so that a mistake in the last one is found before any training.
  for (const experiment of files.map(readExperiment)) {
    const { runs } = await runExperiment(experiment, flags);
    process.stdout.write(`${JSON.stringify({ experiment: experiment.name, runs: runs.length })}\n`);
  }
  await writeResultsPage(flags.page, flags.results);
}
