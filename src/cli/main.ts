#!/usr/bin/env node
// tandem: one command per job. Each command's code is loaded when it runs, so that `tandem serve` never loads tfjs.

import { Command, CommanderError } from 'commander';
import { TandemError } from '../errors.ts';
import { packageVersion } from '../version.ts';
import { throwUsageErrors, usageError } from './usage-error.ts';

const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  world: async () => (await import('./world.ts')).worldCommand(),
  import: async () => (await import('./import.ts')).importCommand(),
  train: async () => (await import('./train.ts')).trainCommand(),
  evaluate: async () => (await import('./evaluate.ts')).evaluateCommand(),
  experiment: async () => (await import('./experiment.ts')).experimentCommand(),
  survival: async () => (await import('./survival.ts')).survivalCommand(),
  encode: async () => (await import('./encode.ts')).encodeCommand(),
  publish: async () => (await import('./encode.ts')).publishCommand(),
  activate: async () => (await import('./activate.ts')).activateCommand(),
  rollback: async () => (await import('./activate.ts')).rollbackCommand(),
  config: async () => (await import('./config.ts')).configCommand(),
  serve: async () => (await import('./serve.ts')).serveCommand(),
  supervise: async () => (await import('./supervise.ts')).superviseCommand(),
  items: async () => (await import('./items.ts')).itemsCommand(),
  keys: async () => (await import('./keys.ts')).keysCommand(),
  inspect: async () => (await import('./inspect.ts')).inspectCommand(),
  verify: async () => (await import('./verify.ts')).verifyCommand(),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(),
  demo: async () => (await import('./demo.ts')).demoCommand(),
};

async function main(): Promise<void> {
  const program = new Command('tandem')
    .description('contextual sequential two-tower candidate generator')
    .version(packageVersion());
  const named = process.argv[2];
  const chosen =
    named !== undefined && Object.hasOwn(COMMANDS, named) ? [named] : Object.keys(COMMANDS);
  for (const name of chosen) program.addCommand(await COMMANDS[name]!());
  throwUsageErrors(program);
  await program.parseAsync();
}

function report(error: unknown): void {
  const text =
    error instanceof TandemError
      ? `${error.code}: ${error.message}`
      : error instanceof Error
        ? (error.stack ?? error.message)
        : String(error);
  process.stderr.write(`${text}\n`);
  process.exitCode = 1;
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
