// tandem encode users|items and tandem publish: the batch jobs between training and serving.

import { Command, InvalidArgumentError, Option } from 'commander';
import { MIN_KEPT_BUNDLES, pruneBundles } from '../bundle/current.ts';
import { BACKENDS, type BackendName } from '../backend/backends.ts';
import { TandemError } from '../errors.ts';
import type { IndexKind } from '../retrieval/search-plan.ts';
import type { EncodeEngine } from '../encode/open-encoder.ts';
import type { Precision } from '../native/binding.ts';
import type { StateType } from '../features/user-state.ts';

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

interface PublishFlags {
  readonly checkpoint: string;
  readonly bundles: string;
  readonly index: IndexKind;
  readonly stateType: StateType;
  readonly activate: boolean;
  readonly keep?: number;
}

export function encodeCommand(): Command {
  const command = new Command('encode').description(
    'batch jobs: users into states, items into vectors and index',
  );
  command
    .command('users')
    .description('encode users with new activity into the feature store; run again, it continues')
    .requiredOption('--data <directory>', 'dataset, as tandem import writes it')
    .requiredOption(
      '--bundles <directory>',
      'a bundle, or the directory of bundles whose current one counts',
    )
    .requiredOption(
      '--store <location>',
      'feature store: a directory of LMDB, or redis://host:port/db',
    )
    .option(
      '--since <time>',
      'encode users active from here on (ISO or Unix seconds); default: the watermark',
    )
    .option('--until <time>', 'see events before this only (ISO or Unix seconds); default: all')
    .addOption(
      new Option('--engine <name>', 'what computes the states')
        .choices(['native', 'tfjs'])
        .default('native'),
    )
    .addOption(
      new Option('--precision <name>', 'operands of the native engine')
        .choices(['f32', 'bf16'])
        .default('f32'),
    )
    .addOption(new Option('--backend <name>', 'of engine tfjs; default: native').choices(BACKENDS))
    .option(
      '--histories',
      "keep each user's newest events in the store, too, so that a server can encode new ones at once",
    )
    .action(runUsers);
  command
    .command('items')
    .description('item vectors and index of a trained checkpoint; run again, it continues')
    .requiredOption('--checkpoint <directory>', 'finished training run')
    .addOption(indexOption())
    .action(async ({ checkpoint, index: kind }: { checkpoint: string; index: IndexKind }) => {
      const { encodeItems } = await import('../encode/items.ts');
      const { index } = await encodeItems(checkpoint, kind);
      process.stdout.write(`${JSON.stringify({ checkpoint, ...index })}\n`);
    });
  command
    .command('state-loss')
    .description(
      'what storing states as bf16 or int8 costs: query embeddings and candidates against f32',
    )
    .requiredOption('--data <directory>', 'dataset, as tandem import writes it')
    .requiredOption('--bundles <directory>', 'a bundle, or a directory of bundles')
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

export function publishCommand(): Command {
  return new Command('publish')
    .description('publish a trained checkpoint as an immutable bundle and make it current')
    .requiredOption('--checkpoint <directory>', 'finished training run')
    .requiredOption('--bundles <directory>', 'where bundles lie')
    .addOption(indexOption())
    .addOption(
      new Option('--state-type <name>', 'what user states are stored as')
        .choices(['f32', 'bf16', 'int8'])
        .default('f32'),
    )
    .option(
      '--no-activate',
      'leave the current bundle current: encode users for this one first, then "tandem activate"',
    )
    .option(
      '--keep <count>',
      `then delete bundles that were current before the last <count>, at least ${MIN_KEPT_BUNDLES}; default: delete none`,
      countToKeep,
    )
    .action(async ({ checkpoint, bundles, index, stateType, activate, keep }: PublishFlags) => {
      const { publish } = await import('../encode/publish.ts');
      const published = await publish(checkpoint, bundles, index, stateType, activate);
      const deleted = keep === undefined ? [] : pruneBundles(bundles, keep);
      process.stdout.write(`${JSON.stringify({ ...published, deleted })}\n`);
    });
}

function countToKeep(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= MIN_KEPT_BUNDLES) return count;
  throw new InvalidArgumentError(
    `Expected a whole number from ${MIN_KEPT_BUNDLES}, which a rollback needs.`,
  );
}

function indexOption(): Option {
  return new Option('--index <kind>', 'clusters: partitions of 8-bit codes; hnsw: a usearch graph')
    .choices(['clusters', 'hnsw'])
    .default('clusters');
}

async function runUsers(flags: UsersFlags): Promise<void> {
  const [{ encodeUsers }, { loadBundle }, { readDataset }, { openStore }] = await Promise.all([
    import('../encode/users.ts'),
    import('../bundle/load.ts'),
    import('../data/read-dataset.ts'),
    import('../store/open-store.ts'),
  ]);
  const since = flags.since === undefined ? undefined : parseTime(flags.since, '--since');
  const until = flags.until === undefined ? undefined : parseTime(flags.until, '--until');
  const bundle = await loadBundle(flags.bundles);
  const dataset = await readDataset(flags.data);
  const store = await openStore(flags.store);
  try {
    const report = await encodeUsers({
      bundle,
      dataset,
      store,
      engine: flags.engine,
      precision: flags.precision,
      ...(flags.backend !== undefined && { backend: flags.backend }),
      histories: flags.histories ?? false,
      ...(since !== undefined && { sinceSeconds: since }),
      ...(until !== undefined && { untilSeconds: until }),
    });
    process.stdout.write(`${JSON.stringify(report)}\n`);
  } finally {
    await store.close();
  }
}

/** Unix seconds of a flag given as a number or as ISO 8601. */
function parseTime(text: string, flag: string): number {
  const seconds = /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : Date.parse(text) / 1000;
  if (Number.isFinite(seconds)) return seconds;
  throw new TandemError(
    'ERR_INVALID_ARGUMENT',
    `Expected Unix seconds or an ISO date for ${flag}, received "${text}". Example: 2026-03-01T00:00:00Z.`,
  );
}
