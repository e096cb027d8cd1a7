// tandem train: trains a model on a dataset. A run that was interrupted continues from its last
// checkpoint.

import { Command, InvalidArgumentError, Option } from 'commander';
import { train } from '../api/train.ts';
import { BACKENDS, type BackendName } from '../backend/backends.ts';
import { DEFAULT_SHARD_EVENTS } from '../data/shards.ts';
import { TandemError } from '../errors.ts';
import type { SettingsLayer } from '../experiment/settings.ts';
import type { WarmStart } from '../model/training/run.ts';
import { readJsonFile, reasonOf } from '../foreign-errors.ts';

interface TrainFlags {
  readonly data: string;
  readonly out: string;
  readonly fusion?: 'none' | 'concat' | 'attention';
  readonly protocol: 'table' | 'time';
  readonly form: 'all' | 'discovery';
  readonly settings?: string;
  readonly refit?: true;
  readonly shardEvents: number;
  readonly warmStart?: string;
  readonly headOnly?: true;
  readonly backend: BackendName;
}

export function trainCommand(): Command {
  return new Command('train')
    .description('train a two-tower model; an interrupted run continues from its last checkpoint')
    .requiredOption('--data <directory>', 'dataset of tandem import')
    .requiredOption('--out <directory>', 'directory of the training run')
    .addOption(
      new Option(
        '--fusion <name>',
        'fusion of context and history; none: history only; concat: both side by side; ' +
          'attention: the context also weights the ' +
          'history; default: that of --settings, of the warm start, or concat',
      ).choices(['none', 'concat', 'attention']),
    )
    .addOption(
      new Option(
        '--protocol <name>',
        'held-out data; table: the last events of each user; time: the last weeks',
      )
        .choices(['table', 'time'])
        .default('time'),
    )
    .addOption(
      new Option(
        '--form <name>',
        'validation of the time protocol; all: on all items; discovery: on items new to the user',
      )
        .choices(['all', 'discovery'])
        .default('all'),
    )
    .option(
      '--refit',
      'afterwards, train again with the validation period, for the best number of steps',
    )
    .option(
      '--shard-events <count>',
      'approximate number of events in memory; larger datasets are trained on in shards',
      atLeastOne,
      DEFAULT_SHARD_EVENTS,
    )
    .option(
      '--warm-start <directory>',
      'start from the weights of a finished run, which may be of older data: rows are matched ' +
        'by name, and new rows are drawn; the layers are those of that run unless --settings ' +
        'differs; with --refit, the search starts from the search of that run',
    )
    .option(
      '--head-only',
      'with --warm-start on the same catalogue: train only context layer and head, ' +
        'so that stored states and item vectors stay valid',
    )
    .addOption(
      new Option('--backend <name>', 'backend of tfjs').choices(BACKENDS).default('native'),
    )
    .option('--settings <file>', 'JSON file with training settings')
    .action(async (flags: TrainFlags) => {
      const start = warmStart(flags);
      const report = await train({
        dataset: flags.data,
        checkpoint: flags.out,
        protocol: flags.protocol,
        form: flags.form,
        settings: readSettings(flags),
        refit: flags.refit ?? false,
        shardEvents: flags.shardEvents,
        backend: flags.backend,
        ...(start !== undefined && { warmStart: start }),
      });
      process.stdout.write(`${JSON.stringify(report)}\n`);
    });
}

function atLeastOne(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('Expected a whole number from 1.');
  return Number(text);
}

function warmStart({ warmStart: directory, headOnly }: TrainFlags): WarmStart | undefined {
  if (directory !== undefined) return { directory, headOnly: headOnly ?? false };
  if (headOnly === undefined) return undefined;
  throw new TandemError(
    'ERR_INVALID_ARGUMENT',
    'Expected --warm-start with --head-only, received none. ' +
      'Name the finished run whose states and item vectors stay valid: --warm-start <directory>.',
  );
}

/** The layers of settings: those of the file, then that of --fusion. */
function readSettings({ settings: file, fusion }: TrainFlags): SettingsLayer[] {
  const ofFlag = fusion === undefined ? [] : [{ model: { fusion } }];
  if (file === undefined) return ofFlag;
  try {
    return [readJsonFile(file) as SettingsLayer, ...ofFlag];
  } catch (cause) {
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected a JSON file of training settings at ${file}, but: ${reasonOf(cause)}. ` +
        'docs/reference/settings.md describes the settings.',
      { cause },
    );
  }
}
