// tandem doctor: checks whether this machine can serve, and on which backends it can train and
// encode.

import { Command } from 'commander';
import { runChecks, type Check, type Places } from './doctor-checks.ts';

const MARKS: Readonly<Record<Check['status'], string>> = {
  ok: 'ok     ',
  warning: 'WARNING',
  missing: 'MISSING',
  absent: '-      ',
};

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check whether this machine can serve; if not, the exit code is 1')
    .option('--bundles <directory>', 'directory of bundles to check')
    .option('--store <location>', 'feature store to check')
    .option('--json', 'print the checks as JSON')
    .action(async ({ json, ...places }: Places & { json?: true }) => {
      const checks = await runChecks(places);
      process.stdout.write(json ? `${JSON.stringify(checks, null, 2)}\n` : describe(checks));
      if (checks.some(({ status }) => status === 'missing')) process.exitCode = 1;
    });
}

function describe(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks
    .map(({ name, status, expected, found, remedy }) => {
      const line = `${MARKS[status]}  ${name.padEnd(width)}  ${found}\n`;
      if (status === 'ok') return line;
      const indent = ' '.repeat(MARKS.ok.length + width + 4);
      const advice = status === 'absent' || remedy === undefined ? '' : `${indent}${remedy}\n`;
      return `${line}${indent}Expected: ${expected}.\n${advice}`;
    })
    .join('');
}
