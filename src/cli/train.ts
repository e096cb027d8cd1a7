// tandem train: a model for a dataset and a protocol, into a checkpoint directory; run again, it continues.

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
    .description(
      'train a two-tower model; a run that was killed continues from its last checkpoint',
    )
    .requiredOption('--data <directory>', 'dataset, as tandem import writes it')
    .requiredOption('--out <directory>', 'checkpoint directory')
    .addOption(
      new Option(
        '--fusion <name>',
        'none: history only; concat: contextual; attention: the context re-weights the history (default: that of the settings, of the warm start, "concat")',
      ).choices(['none', 'concat', 'attention']),
    )
    .addOption(
      new Option(
        '--protocol <name>',
        'what is held out: the last events (table) or the last weeks (time)',
      )
        .choices(['table', 'time'])
        .default('time'),
    )
    .addOption(
      new Option('--form <name>', 'time protocol: what validation measures')
        .choices(['all', 'discovery'])
        .default('all'),
    )
    .option(
      '--refit',
      'then train on the validation period too, for the steps that were best without it',
    )
    .option(
      '--shard-events <count>',
      'events in memory at a time, about: above it, users are trained on in shards',
      atLeastOne,
      DEFAULT_SHARD_EVENTS,
    )
    .option(
      '--warm-start <directory>',
      'begin with the weights of this finished run, of older data perhaps: rows are carried over by name, new ones drawn; the layers are its own unless settings say otherwise; of a run with --refit, the search begins with its search',
    )
    .option(
      '--head-only',
      'with --warm-start, on the same catalogue and names: train context layer and head alone, so that stored states and item vectors stay valid',
    )
    .addOption(new Option('--backend <name>', 'of tfjs').choices(BACKENDS).default('native'))
    .option('--settings <file>', 'JSON with any of the training settings of docs/model.md')
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
    'Expected --warm-start with --head-only, received none. Name the finished run whose states and item vectors shall stay: --warm-start <directory>.',
  );
}

/** Defaults, overridden by what a warm start fixes, by the file, by --fusion. */
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

/** The settings of a finished run that its weights depend on. */
function layersOf(directory: string): SettingsLayer {
  const { model, gapFeature, positionFeature } = loadRunSettings(directory).config;
  return { model, gapFeature, positionFeature };
}
