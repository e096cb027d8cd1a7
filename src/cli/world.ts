// tandem world: generates the synthetic ads world, or checks that measurements on it are
// meaningful.

import { Command, InvalidArgumentError } from 'commander';
import { generateWorld } from '../api/generate-world.ts';
import { SIMULATION_NOTICE } from '../world/generate.ts';
import { DEFAULT_WORLD } from '../world/law.ts';
import { formatSelfCheck, selfCheckWorld } from '../world/self-check.ts';
import { TandemError } from '../errors.ts';

interface WorldFlags {
  readonly users: number;
  readonly items: number;
  readonly seed: number;
  readonly out?: string;
  readonly selfCheck?: true;
  readonly json?: true;
  readonly keepRaw?: true;
  readonly force?: true;
}

/**
 * Results go to standard output and progress to standard error. A failed self-check sets exit code
 * 1.
 */
export function worldCommand(): Command {
  return new Command('world')
    .description(
      'generate a synthetic ads world with known ground truth (a simulation) as a dataset',
    )
    .option('--users <count>', 'number of users', integer, DEFAULT_WORLD.users)
    .option('--items <count>', 'number of items, at least 1000', integer, DEFAULT_WORLD.items)
    .option(
      '--seed <number>',
      'seed; the same sizes and seed give the same dataset',
      integer,
      DEFAULT_WORLD.seed,
    )
    .option('--out <directory>', 'directory for the dataset')
    .option(
      '--self-check',
      'check with the true parameters that context and history are worth measuring',
    )
    .option('--json', 'print only JSON')
    .option('--keep-raw', 'keep the raw CSV and NDJSON files in <out>-raw')
    .option('--force', 'replace a different dataset at --out')
    .action(run);
}

async function run(flags: WorldFlags): Promise<void> {
  if (flags.out === undefined && flags.selfCheck === undefined)
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      'Expected --out DIR for the dataset, or --self-check, received neither.',
    );
  const size = { users: flags.users, items: flags.items, seed: flags.seed };
  if (flags.out !== undefined) {
    const report = await generateWorld({
      ...size,
      outputDirectory: flags.out,
      keepRaw: flags.keepRaw ?? false,
      force: flags.force ?? false,
    });
    const { counts, generateSeconds, importSeconds } = report;
    if (flags.json === undefined)
      print(
        `${SIMULATION_NOTICE}\n${report.name}\n${counts.events} events, ${counts.items} items, ` +
          `${counts.users} users, ${counts.requests} requests in ${report.directory} ` +
          `(generated in ${generateSeconds.toFixed(1)} s, ` +
          `imported in ${importSeconds.toFixed(1)} s)\n`,
      );
    print(`${JSON.stringify({ notice: SIMULATION_NOTICE, ...report })}\n`);
  }
  if (flags.selfCheck === undefined) return;
  const check = selfCheckWorld(size);
  if (flags.json === undefined) print(`${formatSelfCheck(check)}\n`);
  print(`${JSON.stringify(check)}\n`);
  if (!check.passed) process.exitCode = 1;
}

function integer(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}

function print(text: string): void {
  process.stdout.write(text);
}
