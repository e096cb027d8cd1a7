// tandem evaluate: compares trained models with all baselines on a dataset, and writes the report.

import { Command, Option } from 'commander';
import { evaluate } from '../api/evaluate.ts';
import { formatReport, REPORT_FILES } from '../evaluate/report/report.ts';

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

/** Prints the table on standard output, writes the report to --out, and logs to standard error. */
export function evaluateCommand(): Command {
  return new Command('evaluate')
    .description('rank all items for held-out requests and compare models with all baselines')
    .requiredOption('--data <directory>', 'dataset of tandem import')
    .option(
      '--checkpoint <directory>',
      'training run; may be repeated; without it, only the baselines are evaluated',
      (directory: string, others: readonly string[]) => [...others, directory],
      [] as readonly string[],
    )
    .addOption(
      new Option(
        '--protocol <name>',
        'held-out requests; table: the last event of each user; time: the last weeks',
      )
        .choices(['table', 'time'])
        .default('time'),
    )
    .addOption(
      new Option(
        '--form <name>',
        'items of the time protocol; all: every item; discovery: items new to the user',
      )
        .choices(['all', 'discovery'])
        .default('all'),
    )
    .addOption(
      new Option('--split <name>', 'requests to rank; validation: for tuning; test: for reports')
        .choices(['validation', 'test'])
        .default('test'),
    )
    .requiredOption('--out <directory>', `directory for ${Object.values(REPORT_FILES).join(', ')}`)
    .option(
      '--oracle',
      'add a row with context derived from the label; the report marks it as leakage',
    )
    .option('--skew', 'also mix states, head and index of two runs that differ only in their seed')
    .action(run);
}

async function run(flags: EvaluateFlags): Promise<void> {
  const report = await evaluate({
    dataset: flags.data,
    checkpoints: flags.checkpoint,
    protocol: flags.protocol,
    form: flags.form,
    split: flags.split,
    oracle: flags.oracle ?? false,
    skew: flags.skew ?? false,
    outputDirectory: flags.out,
  });
  process.stdout.write(`${formatReport(report)}\n`);
}
