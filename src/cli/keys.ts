// tandem keys: creates, lists and revokes API keys. A key is printed once, when it is created; the
// file holds only its digest.

import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import { TandemError } from '../errors.ts';
import {
  ROLES,
  newKey,
  readKeyFile,
  writeKeyFile,
  type KeyRecord,
  type Role,
} from '../serve/admission/key-file.ts';

interface AddOptions {
  readonly name: string;
  readonly role: Role;
  readonly requestsPerSecond?: number;
  readonly burst?: number;
}

export function keysCommand(): Command {
  const command = new Command('keys').description(
    'create, list and revoke the API keys of a server',
  );
  command
    .command('add')
    .description('create a key, print it once, and add its digest to the file')
    .argument('<file>', 'key file; it is created when it does not exist')
    .requiredOption('--name <name>', 'name of the owner; unique in the file')
    .addOption(
      new Option('--role <role>', 'what the key allows').choices(ROLES).makeOptionMandatory(true),
    )
    .option(
      '--requests-per-second <rate>',
      'rate limit; without it, the rate is unlimited',
      positive,
    )
    .option('--burst <requests>', 'requests at once; default: those of one second', positive)
    .action((file: string, options: AddOptions) => {
      process.stdout.write(`${addKey(file, options)}\n`);
    });
  command
    .command('list')
    .description('print id, role, rate and name of each key in a file')
    .argument('<file>', 'key file')
    .action((file: string) => {
      process.stdout.write(readKeyFile(file).map(describeKey).join(''));
    });
  command
    .command('remove')
    .description('revoke a key; running servers follow within a second')
    .argument('<file>', 'key file')
    .requiredOption('--name <name>', 'name of the owner')
    .action((file: string, { name }: { name: string }) => {
      const keys = readKeyFile(file);
      const kept = keys.filter((key) => key.name !== name);
      if (kept.length === keys.length)
        throw new TandemError(
          'ERR_INVALID_ARGUMENT',
          `Expected the name of a key in ${file}, received "${name}". ` +
            'Run "tandem keys list" for the names.',
        );
      writeKeyFile(file, kept);
    });
  return command;
}

/** Adds a key to the file. @returns the key, which is stored nowhere. */
function addKey(file: string, options: AddOptions): string {
  const { name, role, requestsPerSecond, burst } = options;
  if (burst !== undefined && (requestsPerSecond === undefined || !Number.isInteger(burst)))
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      'Expected a whole number for --burst, together with --requests-per-second.',
    );
  const keys = existsSync(file) ? readKeyFile(file) : [];
  if (keys.some((key) => key.name === name))
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      `Expected a new name, but ${file} already has a key of "${name}". ` +
        'Remove that key first, or choose another name.',
    );
  const { key, record } = newKey({ name, role, requestsPerSecond, burst });
  writeKeyFile(file, [...keys, record]);
  return key;
}

function describeKey({ id, name, role, requestsPerSecond, burst }: KeyRecord): string {
  const rate = requestsPerSecond === undefined ? 'no limit' : `${requestsPerSecond}/s`;
  return `${id}  ${role}  ${rate}${burst === undefined ? '' : `, burst ${burst}`}  ${name}\n`;
}

function positive(text: string): number {
  const value = Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new TandemError('ERR_INVALID_ARGUMENT', `Expected a positive number, received "${text}".`);
}
