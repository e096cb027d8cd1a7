// tandem train: trains a model on a dataset. A run that was interrupted continues from its last
// checkpoint.

import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { BACKENDS, type BackendName } from '../backend/backends.ts';
import { DEFAULT_SHARD_EVENTS, openShards } from '../data/shards.ts';
import { TandemError } from '../errors.ts';
import { loadRunSettings } from '../model/training/checkpoint.ts';
import type { TrainConfig } from '../model/train-config.ts';
import type { WarmStart } from '../model/training/warm-start.ts';
import { layerSettings, type SettingsLayer } from '../experiment/settings.ts';
import { trainForProtocol } from '../experiment/training-recipe.ts';

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
      const config = readSettings(flags);
      const shards = await openShards(flags.data, flags.shardEvents);
      try {
        const { result } = await trainForProtocol({
          shards,
          protocol: flags.protocol,
          form: flags.form,
          config,
          directory: flags.out,
          refit: flags.refit ?? false,
          backend: flags.backend,
          ...(start !== undefined && { start }),
        });
        process.stdout.write(`${JSON.stringify({ checkpoint: flags.out, ...result })}\n`);
      } finally {
        shards.close();
      }
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

/** The training settings: defaults, then those of the warm start, of the file, and of --fusion. */
function readSettings(flags: TrainFlags): TrainConfig {
  let given: SettingsLayer = {};
  if (flags.settings !== undefined)
    try {
      given = JSON.parse(readFileSync(flags.settings, 'utf8')) as SettingsLayer;
    } catch (cause) {
      throw new TandemError(
        'ERR_CONFIG_INVALID',
        `Expected a JSON file of training settings at ${flags.settings}: ${String(cause)}.`,
        { cause },
      );
    }
  return layerSettings(
    flags.warmStart === undefined ? {} : layersOf(flags.warmStart),
    given,
    flags.fusion === undefined ? {} : { model: { fusion: flags.fusion } },
  );
}

/** The settings of a finished run on which its weights depend. */
function layersOf(directory: string): SettingsLayer {
  const { model, gapFeature, positionFeature } = loadRunSettings(directory).config;
  return { model, gapFeature, positionFeature };
}
