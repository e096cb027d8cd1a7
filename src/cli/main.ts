#!/usr/bin/env node
// Entry point of the tandem program. An error ends it with exit code 1 and one message on standard
// error.

import { CommanderError } from 'commander';
import { translateError } from '../foreign-errors.ts';
import { loadOffline } from '../platform/offline-package.ts';
import { loadProgram } from './program.ts';
import { throwUsageErrors, usageError } from './usage-error.ts';

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  await loadOffline(`tandem ${args[0] ?? ''}`, async () => {
    const program = await loadProgram(args);
    throwUsageErrors(program);
    await program.parseAsync();
  });
}

function report(error: unknown): void {
  const known = translateError(error);
  const text =
    known !== undefined
      ? `${known.code}: ${known.message}`
      : 'ERR_INTERNAL: Expected no unexpected error. This is a defect of tandem: ' +
        'please report it.\n' +
        (error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.stderr.write(`${text}\n`);
  // What the command left open, such as a connection that is tried again, must not keep it alive.
  process.exit(1);
}

main().catch((reason: unknown) => {
  if (!(reason instanceof CommanderError)) {
    report(reason);
    return;
  }
  const error = usageError(reason);
  if (error === undefined) process.exitCode = reason.exitCode;
  else report(error);
});
