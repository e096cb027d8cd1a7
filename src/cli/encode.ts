// tandem encode: the batch jobs between training and serving, and the measurement of stored states.

import { Command, Option } from 'commander';
import { encodeItems } from '../api/encode-items.ts';
import { encodeUsers } from '../api/encode-users.ts';
import { BACKENDS, type BackendName } from '../backend/backends.ts';
import { TandemError } from '../errors.ts';
import type { IndexKind } from '../retrieval/search-plan.ts';
import type { EncodeEngine } from '../encode/open-encoder.ts';
import { indexOption } from './index-option.ts';
import type { Precision } from '../native/isa.ts';
import { parseTime, TIME_TEXT } from '../time.ts';

interface UsersFlags {
  readonly data: string;
  readonly bundles: string;
  readonly store: string;
  readonly since?: string;
  readonly until?: string;
  readonly engine: EncodeEngine;
  readonly precision: Precision;
  readonly backend?: BackendName;
  readonly histories?: true;
}

export function encodeCommand(): Command {
  const command = new Command('encode').description(
    'encode users into states, or items into vectors and an index',
  );
  command
    .command('users')
    .description('encode users with new events into the feature store; run it again to continue')
    .requiredOption('--data <directory>', 'dataset of tandem import')
    .requiredOption(
      '--bundles <directory>',
      'directory of a bundle, or of bundles with a current one',
    )
    .requiredOption(
      '--store <location>',
      'feature store: an LMDB directory, or redis://host:port/db',
    )
    .option(
      '--since <time>',
      'encode all users with events from this time on (ISO or Unix seconds); default: users with ' +
        'events that their states have not seen',
    )
    .option(
      '--until <time>',
      'use only events before this time (ISO or Unix seconds); default: all',
    )
    .addOption(
      new Option('--engine <name>', 'code that computes the states')
        .choices(['native', 'tfjs'])
        .default('native'),
    )
    .addOption(
      new Option('--precision <name>', 'number format of the operands of the native engine')
        .choices(['f32', 'bf16'])
        .default('f32'),
    )
    .addOption(
      new Option('--backend <name>', 'backend of the engine tfjs; default: native').choices(
        BACKENDS,
      ),
    )
    .option(
      '--histories',
      "also store each user's newest events, so that a server can encode fresh events at once",
    )
    .action(runUsers);
  command
    .command('items')
    .description('compute item vectors and index of a training run; run it again to continue')
    .requiredOption('--checkpoint <directory>', 'finished training run')
    .addOption(indexOption())
    .action(async ({ checkpoint, index: kind }: { checkpoint: string; index: IndexKind }) => {
      const index = await encodeItems({ checkpoint, index: kind });
      process.stdout.write(`${JSON.stringify({ checkpoint, ...index })}\n`);
    });
  command
    .command('state-loss')
    .description('measure what states stored as bf16 or int8 change in embeddings and candidates')
    .requiredOption('--data <directory>', 'dataset of tandem import')
    .requiredOption(
      '--bundles <directory>',
      'directory of a bundle, or of bundles with a current one',
    )
    .action(async ({ data, bundles }: { data: string; bundles: string }) => {
      const [{ measureStateLoss }, { loadBundle }, { readDataset }] = await Promise.all([
        import('../encode/state-loss.ts'),
        import('../bundle/load.ts'),
        import('../data/read-dataset.ts'),
      ]);
      const losses = await measureStateLoss(await loadBundle(bundles), await readDataset(data));
      for (const loss of losses) process.stdout.write(`${JSON.stringify(loss)}\n`);
    });
  return command;
}

async function runUsers(flags: UsersFlags): Promise<void> {
  const since = flags.since === undefined ? undefined : timeOf(flags.since, '--since');
  const until = flags.until === undefined ? undefined : timeOf(flags.until, '--until');
  const report = await encodeUsers({
    dataset: flags.data,
    bundles: flags.bundles,
    store: flags.store,
    engine: flags.engine,
    precision: flags.precision,
    ...(flags.backend !== undefined && { backend: flags.backend }),
    histories: flags.histories ?? false,
    ...(since !== undefined && { sinceSeconds: since }),
    ...(until !== undefined && { untilSeconds: until }),
  });
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

/** Unix seconds of a flag. */
function timeOf(text: string, flag: string): number {
  try {
    return parseTime(text);
  } catch (error) {
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      `Expected a time for ${flag}, received "${text}": ${(error as Error).message}. ` +
        `Write ${TIME_TEXT}.`,
    );
  }
}
