// The format of an experiment file: data, protocol, rows of training settings, seeds, and published
// numbers to compare with. A result depends on nothing else.

import { basename } from 'node:path';
import { z } from 'zod';
import type { WorldSize } from '../world/law.ts';
import { TandemError } from '../errors.ts';
import { describeIssue, readJsonFile, reasonOf } from '../foreign-errors.ts';
import type { TrainConfig } from '../model/train-config.ts';
import { layerSettings, type SettingsLayer } from './settings.ts';

/** One experiment. docs/explanation/evaluation.md describes the fields of its file. */
export interface Experiment {
  /** The name of the file without .json. */
  readonly name: string;
  /** One or two sentences for the results page. */
  readonly about: string;
  readonly dataset:
    { readonly adapter: string; readonly source: string } | { readonly world: WorldSize };
  readonly protocol: 'table' | 'time';
  /** Forms of the time protocol that are reported. Training validates on the first one. */
  readonly forms: readonly ('all' | 'discovery')[];
  readonly refit: boolean;
  readonly oracle: boolean;
  /** Training settings that all rows share. */
  readonly train: SettingsLayer;
  readonly rows: readonly ExperimentRow[];
  readonly seeds: readonly number[];
  /** The setting that the rows vary, for a chart; a number in each row. */
  readonly sweep?: string | undefined;
  readonly published: readonly PublishedNumbers[];
}

/** A row: a training with these settings, once per seed. */
export interface ExperimentRow {
  readonly name: string;
  readonly train: SettingsLayer;
}

/** The numbers of a paper for the same data and protocol. */
interface PublishedNumbers {
  readonly name: string;
  readonly recallAt10: number;
  readonly ndcgAt10?: number | undefined;
}

// layerSettings checks the settings once all layers are merged.
const layer = z.record(z.string(), z.unknown()).default({});

const schema = z.strictObject({
  about: z.string(),
  dataset: z.union([
    z.strictObject({ adapter: z.string(), source: z.string() }),
    z.strictObject({ world: z.strictObject({ users: z.int(), items: z.int(), seed: z.int() }) }),
  ]),
  protocol: z.enum(['table', 'time']),
  forms: z
    .array(z.enum(['all', 'discovery']))
    .min(1)
    .default(['all']),
  refit: z.boolean().default(false),
  oracle: z.boolean().default(false),
  train: layer,
  rows: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[a-z0-9.-]+$/, 'expected lower-case letters, digits, "." and "-"'),
        train: layer,
      }),
    )
    .min(1),
  seeds: z.array(z.int().min(0)).min(1),
  sweep: z.string().optional(),
  published: z
    .array(
      z.strictObject({
        name: z.string(),
        recallAt10: z.number(),
        ndcgAt10: z.number().optional(),
      }),
    )
    .default([]),
});

/**
 * Reads an experiment and checks the settings of every row, so that a mistake in the last row is
 * found before the first one trains.
 *
 * @throws TandemError ERR_CONFIG_INVALID naming the file and the field.
 */
export function readExperiment(path: string): Experiment {
  const name = basename(path).replace(/\.json$/, '');
  let value: unknown;
  try {
    value = readJsonFile(path);
  } catch (cause) {
    throw invalid(path, `JSON, but: ${reasonOf(cause)}`);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw invalid(path, `${issue.path.join('.') || '(root)'}: ${describeIssue(issue)}`);
  }
  const experiment = { ...parsed.data, name } as Experiment;
  const names = new Set(experiment.rows.map((row) => row.name));
  if (names.size < experiment.rows.length) throw invalid(path, 'rows: two rows have one name');
  for (const row of experiment.rows) {
    const config = rowSettings(experiment, row, experiment.seeds[0]!);
    const { sweep } = experiment;
    if (sweep !== undefined && typeof sweptValue(config, sweep) !== 'number')
      throw invalid(path, `sweep: expected a setting that is a number, received "${sweep}"`);
  }
  return experiment;
}

/**
 * The training settings of one run.
 *
 * @throws TandemError ERR_CONFIG_INVALID naming the first setting that is wrong.
 */
export function rowSettings(
  experiment: Pick<Experiment, 'train'>,
  row: ExperimentRow,
  seed: number,
): TrainConfig {
  return layerSettings(experiment.train, row.train, { seed });
}

/** The value of the setting that an experiment varies. */
export function sweptValue(config: TrainConfig, sweep: string): unknown {
  return (config as unknown as Readonly<Record<string, unknown>>)[sweep];
}

function invalid(path: string, problem: string): TandemError {
  return new TandemError(
    'ERR_CONFIG_INVALID',
    `Expected an experiment in ${path}: ${problem}. ` +
      'docs/explanation/evaluation.md describes the fields.',
  );
}
