// tandem doctor: whether this machine can serve, and which backends it can train and encode on.

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
    .description('check this machine; the exit status is 1 when it cannot serve')
    .option('--bundles <directory>', 'directory of bundles that it shall serve')
    .option('--store <location>', 'feature store that it shall read')
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
