// dataset.json of an imported dataset: counts and digests of the Parquet files beside it. The
// import writes it, and readers check the files against it.

import { createHash } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { TandemError } from '../errors.ts';
import { describeIssue, readJsonFile, reasonOf } from '../foreign-errors.ts';
import { canonicalJson, sha256Hex } from '../json.ts';
import type { TableName } from './manifest.ts';

export const DATASET_FILE = 'dataset.json';
export const DATASET_FORMAT = 'tandem-dataset';
export const DATASET_VERSION = 1;

/** The data files of a dataset. Each exists in every dataset, also when it has no rows. */
export const DATA_FILES = [
  'items.parquet',
  'categories.parquet',
  'item-categories.parquet',
  'users.parquet',
  'events.parquet',
  'requests.parquet',
] as const;

/** Rows of the tables of a dataset. */
export interface DatasetCounts {
  readonly items: number;
  readonly categories: number;
  readonly itemCategories: number;
  readonly users: number;
  readonly events: number;
  readonly requests: number;
}

/** How many rows or values of a table were left out for one reason. */
export interface RejectedCount {
  readonly table: TableName;
  readonly reason: string;
  /**
   * `row`: the whole row was left out; `value`: the row was kept without this value; `excluded`: an
   * adapter left the row out on purpose.
   */
  readonly effect: 'row' | 'value' | 'excluded';
  readonly count: number;
}

/** Place of a row or value that was left out. */
export interface RejectedRow {
  readonly file: string;
  /** Line of a text file or row of a Parquet file, counted from 1. */
  readonly line: number;
  readonly value: string;
}

/** Rows or values that were left out for one reason, with samples. */
export interface Rejection extends RejectedCount {
  /** The first three at most. */
  readonly samples: readonly RejectedRow[];
}

export interface FileDigest {
  readonly bytes: number;
  readonly sha256: string;
}

export interface DatasetFile {
  readonly format: typeof DATASET_FORMAT;
  readonly version: typeof DATASET_VERSION;
  readonly name: string;
  /** SHA-256 over name, meaning and the digests of all data files. */
  readonly digest: string;
  readonly hasTime: boolean;
  /** Unix seconds, null when the source names none. */
  readonly testFrom: number | null;
  readonly actionNames: readonly string[];
  /** Times of the first and the last event: Unix seconds, or positions without time. */
  readonly timeRange: readonly number[];
  readonly counts: DatasetCounts;
  readonly rejected: readonly RejectedCount[];
  readonly files: Readonly<Record<string, FileDigest>>;
}

const count = z.number().int().nonnegative();
const schema = z.object({
  format: z.literal(DATASET_FORMAT),
  version: z.literal(DATASET_VERSION),
  name: z.string(),
  digest: z.string(),
  hasTime: z.boolean(),
  testFrom: z.number().nullable(),
  actionNames: z.array(z.string()),
  timeRange: z.array(z.number()).length(2),
  counts: z.object({
    items: count,
    categories: count,
    itemCategories: count,
    users: count,
    events: count,
    requests: count,
  }),
  rejected: z.array(
    z.object({
      table: z.enum(['events', 'items', 'users', 'requests']),
      reason: z.string(),
      effect: z.enum(['row', 'value', 'excluded']),
      count,
    }),
  ),
  files: z.record(z.string(), z.object({ bytes: count, sha256: z.string() })),
});

/** The digest of a dataset. It changes with the data and with their meaning. */
export function datasetDigest(file: Omit<DatasetFile, 'digest'>): string {
  return sha256Hex(canonicalJson(file));
}

/**
 * Reads dataset.json and checks it against its own digest.
 *
 * @throws TandemError ERR_DATASET_NOT_FOUND or ERR_DATASET_INVALID; both messages say how to import
 *   one.
 */
export function readDatasetFile(directory: string): DatasetFile {
  const path = join(directory, DATASET_FILE);
  if (!existsSync(path))
    throw new TandemError(
      'ERR_DATASET_NOT_FOUND',
      `Expected an imported dataset in ${resolve(directory)}, found no ${DATASET_FILE}. ` +
        'Make one with "tandem import --manifest source.json --out DIR" or ' +
        '"tandem import --adapter NAME --source PATH --out DIR".',
      { details: { directory: resolve(directory) } },
    );
  let value: unknown;
  try {
    value = readJsonFile(path);
  } catch (error) {
    throw invalidDataset(directory, `${DATASET_FILE}: ${reasonOf(error)}`, error);
  }
  if (typeof value === 'object' && value !== null && !('format' in value))
    throw invalidDataset(
      directory,
      `${DATASET_FILE} has no "format": it looks like a source manifest`,
    );
  const result = schema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    throw invalidDataset(
      directory,
      `${DATASET_FILE}, ${issue.path.join('.')}: ${describeIssue(issue)}`,
    );
  }
  const { digest, ...rest } = result.data;
  if (datasetDigest(rest) !== digest)
    throw invalidDataset(directory, `${DATASET_FILE} does not match its own digest`);
  return result.data;
}

/**
 * Checks size and SHA-256 of every data file, about one gigabyte per second.
 *
 * @throws TandemError ERR_DATASET_INVALID naming the file that is missing or different.
 */
export async function verifyDataFiles(directory: string, file: DatasetFile): Promise<void> {
  for (const name of DATA_FILES) {
    const expected = file.files[name];
    if (expected === undefined)
      throw invalidDataset(directory, `${DATASET_FILE} does not list ${name}`);
    const path = join(directory, name);
    if (!existsSync(path)) throw invalidDataset(directory, `${name} is missing`);
    const found = await digestFile(path);
    if (found.bytes !== expected.bytes || found.sha256 !== expected.sha256)
      throw invalidDataset(
        directory,
        `${name} has ${found.bytes} bytes of digest ${found.sha256.slice(0, 12)}, ` +
          `${DATASET_FILE} says ${expected.bytes} bytes of ${expected.sha256.slice(0, 12)}`,
      );
  }
}

/** Size and SHA-256 of a file, read as a stream. */
export async function digestFile(path: string): Promise<FileDigest> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(path, { highWaterMark: 1 << 20 }))
    hash.update(part as Buffer);
  return { bytes: statSync(path).size, sha256: hash.digest('hex') };
}

function invalidDataset(directory: string, problem: string, cause?: unknown): TandemError {
  return new TandemError(
    'ERR_DATASET_INVALID',
    `Expected an intact dataset of version ${DATASET_VERSION} in ${resolve(directory)}: ` +
      `${problem}. ` +
      'Import it again with "tandem import --force".',
    { details: { directory: resolve(directory), problem }, cause },
  );
}
