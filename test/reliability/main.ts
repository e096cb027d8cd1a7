// npm run test:reliability -- [row ...] [--long] [--write]: runs the rows, or all, and prints what
// each measured. A row that misses its target or throws fails the run, and the next one runs.
// --write stores the figures in docs/reliability/ and writes docs/reliability.md from them.

import { availableParallelism, cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { writePage } from './page.ts';
import { storeResults, type Machine, type StoredResult } from './results.ts';
import { Figures, LeftOut, lineOf, type Row, type Scale } from './row.ts';
import { ROWS } from './rows.ts';

interface Outcome {
  readonly result: StoredResult;
  /** What missed its target, and by how much. */
  readonly misses: readonly string[];
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      long: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  const known = ROWS.map(({ name }) => name);
  const unknown = positionals.filter((name) => !known.includes(name));
  if (unknown.length > 0)
    throw new RangeError(
      `Expected rows that exist (${known.join(', ')}), received ${unknown.join(', ')}.`,
    );
  const scale = values.long ? 'long' : 'quick';
  const rows =
    positionals.length === 0 ? ROWS : ROWS.filter(({ name }) => positionals.includes(name));
  const machine: Machine = {
    cpu: cpus()[0]?.model.trim() ?? 'unknown CPU',
    cores: availableParallelism(),
    load: Number(loadavg()[0]!.toFixed(1)),
    node: process.version,
  };
  say(`${machine.cpu}; ${machine.cores} cores (load ${machine.load!}); node ${machine.node}`);
  const outcomes: Outcome[] = [];
  for (const row of rows) {
    say(`\n${row.name}: ${row.fault}`);
    for (const target of row.targets) say(`  target: ${target}`);
    const outcome = await runRow(row, scale, machine);
    outcomes.push(outcome);
    const { figures, verdict, seconds } = outcome.result;
    for (const figure of figures) say(`  ${lineOf(figure)}`);
    for (const miss of outcome.misses) say(`  MISSED ${miss}`);
    say(`  ${verdict} in ${seconds} s`);
  }
  const results = outcomes.map(({ result }) => result);
  const failed = results.filter(({ verdict }) => verdict === 'missed' || verdict === 'failed');
  say(`\n${results.length - failed.length} of ${results.length} rows without a miss`);
  if (values.write) {
    storeResults(scale, results);
    writePage();
    say(`wrote docs/reliability/${scale}.json and docs/reliability.md`);
  }
  if (failed.length > 0) process.exitCode = 1;
}

async function runRow(row: Row, scale: Scale, machine: Machine): Promise<Outcome> {
  const startedMs = performance.now();
  const figures = new Figures(scale, (text) => {
    say(`  ... ${((performance.now() - startedMs) / 1000).toFixed(0)} s: ${text}`);
  });
  const verdict = await verdictOf(row, scale, figures);
  const result: StoredResult = {
    name: row.name,
    verdict,
    date: new Date().toISOString().slice(0, 10),
    seconds: Math.round((performance.now() - startedMs) / 1000),
    machine,
    figures: figures.list,
  };
  return { result, misses: figures.misses };
}

async function verdictOf(
  row: Row,
  scale: Scale,
  figures: Figures,
): Promise<StoredResult['verdict']> {
  try {
    await row.run(scale, figures);
    return figures.misses.length === 0 ? 'passed' : 'missed';
  } catch (error) {
    if (error instanceof LeftOut) {
      say(`  ${error.message}`);
      figures.report('left out', 'this machine cannot measure it');
      return 'left out';
    }
    figures.report('measured to its end', 'no');
    figures.misses.push(error instanceof Error ? error.stack! : String(error));
    return 'failed';
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
