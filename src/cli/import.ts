// tandem import: turns the tables of a manifest, or a public data set, into a dataset, and reports
// which rows were left out and why.

import { Command, Option } from 'commander';
import { importDataset } from '../api/import-dataset.ts';
import { ADAPTERS } from '../data/adapters/registry.ts';
import type { ImportReport } from '../data/import.ts';
import { describePlace } from '../data/source-stager.ts';
import { TandemError } from '../errors.ts';

interface ImportFlags {
  readonly manifest?: string;
  readonly adapter?: string;
  readonly source?: string;
  readonly out: string;
  readonly force?: true;
  readonly allowLoss?: true;
  readonly json?: true;
}

export function importCommand(): Command {
  return new Command('import')
    .description(
      'import events, items, users and requests from CSV, NDJSON or Parquet files as a dataset',
    )
    .addOption(
      new Option(
        '--manifest <file>',
        'source manifest (JSON; see docs/reference/data-format.md)',
      ).conflicts(['adapter', 'source']),
    )
    .option(
      '--adapter <name>',
      `name of a public data set: ${ADAPTERS.map(({ name }) => name).join(', ')}`,
    )
    .option('--source <path>', 'file or folder of the public data set')
    .requiredOption('--out <directory>', 'directory for the dataset')
    .option('--force', 'replace a different dataset at --out')
    .option('--allow-loss', 'import also when over 1 % of the rows of a table are left out')
    .option('--json', 'print the report as JSON')
    .addHelpText('after', `\nAdapters:\n${adapterList()}`)
    .action(async (flags: ImportFlags) => {
      try {
        const report = await runImport(flags);
        process.stdout.write(
          flags.json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report),
        );
      } catch (error) {
        if (!(error instanceof TandemError)) throw error;
        process.stderr.write(`${error.code}: ${error.message}\n`);
        process.exitCode = 1;
      }
    });
}

function adapterList(): string {
  return ADAPTERS.map(({ name, description }) => `  ${name.padEnd(14)} ${description}`).join('\n');
}

async function runImport(flags: ImportFlags): Promise<ImportReport> {
  if (
    (flags.adapter === undefined) !== (flags.source === undefined) ||
    (flags.manifest ?? flags.adapter) === undefined
  )
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      'Expected either --manifest FILE, or --adapter NAME with --source PATH.',
    );
  return importDataset({
    ...(flags.manifest === undefined ? {} : { manifestPath: flags.manifest }),
    ...(flags.adapter === undefined
      ? {}
      : { adapter: { name: flags.adapter, source: flags.source! } }),
    outputDirectory: flags.out,
    force: flags.force ?? false,
    allowLoss: flags.allowLoss ?? false,
  });
}

/** The report as text: the counts, then what was left out, with the first places of each reason. */
export function formatReport(report: ImportReport): string {
  const { counts, seconds } = report;
  const [from, until] = report.timeRange;
  const outcome = {
    created: 'Created',
    replaced: 'Replaced',
    unchanged: 'Unchanged (the same dataset was already there):',
  }[report.outcome];
  const rows = Object.values(report.sourceRows).reduce((sum, count) => sum + count, 0);
  const when = (time: number): string =>
    report.hasTime ? new Date(time * 1000).toISOString().slice(0, 19) + 'Z' : String(time);
  const lines = [
    `${outcome} ${report.directory}`,
    `  ${report.name}, digest ${report.digest.slice(0, 12)}`,
    `  events ${counts.events}, users ${counts.users}, items ${counts.items}, ` +
      `categories ${counts.categories}, requests ${counts.requests}`,
    `  ${report.hasTime ? 'times' : 'positions only'} ${when(from!)} .. ${when(until!)}` +
      (Number.isNaN(report.testFrom) ? '' : `, test from ${when(report.testFrom)}`),
    `  actions ${report.actionNames.join(', ')}`,
    `  ${rows} source rows in ${seconds.toFixed(1)} s, ${Math.round(rows / seconds)} rows/s`,
  ];
  for (const [table, read] of Object.entries(report.sourceRows)) {
    const taken = report.takenRows[table as keyof typeof report.takenRows]!;
    if (taken < read)
      lines.push(`  ${table}: ${read} rows read, ${taken} taken, ${read - taken} left out`);
  }
  if (report.rejected.length > 0) {
    lines.push('', 'Left out:');
    for (const { table, reason, effect, count, samples } of report.rejected) {
      const what =
        effect === 'row' ? 'rows' : effect === 'value' ? 'values' : 'rows, by the adapter';
      lines.push(`  ${table.padEnd(9)} ${String(count).padStart(9)} ${what}: ${reason}`);
      for (const sample of samples)
        lines.push(
          `      ${describePlace(sample)}${sample.value === '' ? '' : `  ${sample.value}`}`,
        );
    }
  }
  return `${lines.join('\n')}\n`;
}
