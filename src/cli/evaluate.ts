// tandem evaluate: judges checkpoints against every baseline on a dataset, and writes the report.

import { Command, Option } from 'commander';
import { readDataset } from '../data/read-dataset.ts';
import { evaluate } from '../evaluate/evaluate.ts';
import { loadAllEvaluated } from '../evaluate/load-checkpoint.ts';
import { formatReport, REPORT_FILES, writeReport } from '../evaluate/report/report.ts';

interface EvaluateFlags {
  readonly data: string;
  readonly checkpoint: readonly string[];
  readonly protocol: 'table' | 'time';
  readonly form: 'all' | 'discovery';
  readonly split: 'validation' | 'test';
  readonly out: string;
  readonly oracle?: true;
  readonly skew?: true;
}

/** The table goes to standard output, the report into --out, progress to standard error. */
export function evaluateCommand(): Command {
  return new Command('evaluate')
    .description(
      'rank all items for held-out requests: models, baselines, context rows, slices, swap and staleness tests',
    )
    .requiredOption('--data <directory>', 'dataset, as tandem import writes it')
    .option(
      '--checkpoint <directory>',
      'trained model, may be repeated; without any the baselines alone are reported',
      (directory: string, others: readonly string[]) => [...others, directory],
      [] as readonly string[],
    )
    .addOption(
      new Option('--protocol <name>', 'leave one out (table), or a cut in time with real contexts')
        .choices(['table', 'time'])
        .default('time'),
    )
    .addOption(
      new Option('--form <name>', 'time protocol: all items, or without what the user had before')
        .choices(['all', 'discovery'])
        .default('all'),
    )
    .addOption(
      new Option('--split <name>', 'tune on validation, report test')
        .choices(['validation', 'test'])
        .default('test'),
    )
    .requiredOption('--out <directory>', `where ${Object.values(REPORT_FILES).join(', ')} go`)
    .option('--oracle', 'add the row whose context is derived from the label, printed as leakage')
    .option(
      '--skew',
      'mix states, head and index of two checkpoints that differ in their seed alone',
    )
    .action(run);
}

async function run(flags: EvaluateFlags): Promise<void> {
  const dataset = await readDataset(flags.data);
  const report = await evaluate({
    dataset,
    protocol: flags.protocol,
    form: flags.form,
    split: flags.split,
    models: await loadAllEvaluated(flags.checkpoint),
    oracle: flags.oracle ?? false,
    skew: flags.skew ?? false,
  });
  await writeReport(flags.out, report);
  process.stdout.write(`${formatReport(report)}\n`);
}
