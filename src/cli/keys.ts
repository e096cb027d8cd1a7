// `tandem keys`: makes, lists and takes away API keys. A key is printed once, when it is made; its file has the digest.

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

/** The `keys` command. */
export function keysCommand(): Command {
  const command = new Command('keys').description('API keys of a server (its setting keys)');
  command
    .command('add')
    .description('make a key: prints it once, and writes its digest')
    .argument('<file>', 'key file; made when it does not exist')
    .requiredOption('--name <name>', 'whose key it is; unique in the file')
    .addOption(
      new Option('--role <role>', 'what it may do').choices(ROLES).makeOptionMandatory(true),
    )
    .option('--requests-per-second <rate>', 'rate limit; without it there is none', positive)
    .option('--burst <requests>', 'requests at once; default what a second brings', positive)
    .action((file: string, options: AddOptions) => {
      process.stdout.write(`${addKey(file, options)}\n`);
    });
  command
    .command('list')
    .description('print the keys of a file: id, role, rate, name')
    .argument('<file>', 'key file')
    .action((file: string) => {
      process.stdout.write(readKeyFile(file).map(describeKey).join(''));
    });
  command
    .command('remove')
    .description('revoke a key: servers that run follow within a second')
    .argument('<file>', 'key file')
    .requiredOption('--name <name>', 'whose key')
    .action((file: string, { name }: { name: string }) => {
      const keys = readKeyFile(file);
      const kept = keys.filter((key) => key.name !== name);
      if (kept.length === keys.length)
        throw new TandemError(
          'ERR_INVALID_ARGUMENT',
          `Expected the name of a key in ${file}, received "${name}". "tandem keys list" prints them.`,
        );
      writeKeyFile(file, kept);
    });
  return command;
}

/** @returns the key. */
function addKey(file: string, options: AddOptions): string {
  const { name, role, requestsPerSecond, burst } = options;
  if (burst !== undefined && (requestsPerSecond === undefined || !Number.isInteger(burst)))
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      'Expected --burst as a whole number, together with --requests-per-second.',
    );
  const keys = existsSync(file) ? readKeyFile(file) : [];
  if (keys.some((key) => key.name === name))
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      `Expected a new name, but ${file} has a key of "${name}". Remove it first, or choose another.`,
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
