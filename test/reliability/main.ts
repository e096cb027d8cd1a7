// npm run test:reliability -- [row ...] [--long] [--write]: runs the rows, or all, and prints what each measured.
// A row that misses its target or throws fails the run, and the next one runs. --write puts the table into docs/reliability.md.

import { availableParallelism, cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { ABORTS } from './aborts.ts';
import { BUNDLE_CORRUPTION } from './bundle-corruption.ts';
import { DISK_FULL } from './disk-full.ts';
import { FUZZ } from './fuzz.ts';
import { KILLS } from './kills.ts';
import { MIXED_VERSIONS } from './mixed-versions.ts';
import { NON_FINITE } from './non-finite.ts';
import { OVERLOAD } from './overload.ts';
import { writePage, type Result } from './page.ts';
import { Figures, LeftOut, type Row } from './row.ts';
import { SANITIZERS } from './sanitizers.ts';
import { SECRETS } from './secrets.ts';
import { STEADY_MEMORY } from './steady-memory.ts';
import { STORE_OUTAGE } from './store-outage.ts';
import { SWAPS } from './swaps.ts';

const ROWS: readonly Row[] = [
  BUNDLE_CORRUPTION,
  NON_FINITE,
  KILLS,
  ABORTS,
  STORE_OUTAGE,
  MIXED_VERSIONS,
  SWAPS,
  DISK_FULL,
  OVERLOAD,
  STEADY_MEMORY,
  FUZZ,
  SECRETS,
  SANITIZERS,
];

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      long: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  const unknown = positionals.filter((name) => !ROWS.some((row) => row.name === name));
  if (unknown.length > 0)
    throw new RangeError(
      `Expected rows that exist (${ROWS.map(({ name }) => name).join(', ')}), received ${unknown.join(', ')}.`,
    );
  const scale = values.long ? 'long' : 'quick';
  const rows =
    positionals.length === 0 ? ROWS : ROWS.filter(({ name }) => positionals.includes(name));
  const machine = `${cpus()[0]?.model.trim() ?? 'unknown CPU'}; ${availableParallelism()} cores (load ${loadavg()[0]!.toFixed(1)} before); node ${process.version}`;
  say(machine);
  const results: Result[] = [];
  for (const row of rows) {
    say(`\n${row.name}: ${row.target}`);
    const result = await runRow(row, scale);
    results.push(result);
    for (const line of result.figures) say(`  ${line}`);
    for (const miss of result.misses) say(`  MISSED ${miss}`);
    say(`  ${result.verdict} in ${result.seconds.toFixed(0)} s`);
  }
  const failed = results.filter(({ verdict }) => verdict === 'missed' || verdict === 'failed');
  say(`\n${results.length - failed.length} of ${results.length} rows without a miss`);
  if (values.write) say(`wrote ${writePage(results, scale, machine)}`);
  if (failed.length > 0) process.exitCode = 1;
}

async function runRow(row: Row, scale: 'quick' | 'long'): Promise<Result> {
  const startedMs = performance.now();
  const figures = new Figures(scale, (text) => {
    say(`  ... ${((performance.now() - startedMs) / 1000).toFixed(0)} s: ${text}`);
  });
  const result = (verdict: Result['verdict']): Result => ({
    ...{ name: row.name, target: row.target, scale, verdict },
    figures: figures.lines,
    misses: figures.misses,
    seconds: (performance.now() - startedMs) / 1000,
  });
  try {
    await row.run(scale, figures);
    return result(figures.misses.length === 0 ? 'passed' : 'missed');
  } catch (error) {
    if (error instanceof LeftOut) {
      figures.note(error.message);
      return result('left out');
    }
    figures.note('not measured to its end');
    figures.misses.push(error instanceof Error ? error.stack! : String(error));
    return result('failed');
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

main().catch((error: unknown) => {
  const isMisuse = error instanceof RangeError || error instanceof TypeError;
  const text = error instanceof Error ? (isMisuse ? error.message : error.stack) : undefined;
  process.stderr.write(`${text ?? String(error)}\n`);
  process.exitCode = 1;
});
