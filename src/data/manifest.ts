// The source manifest: which files hold events, items, users and requests, and what their columns
// mean. This file decides what a manifest may say; sources.ts opens the files, import-tables.ts
// checks rows.

import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { nearestName, TandemError } from '../errors.ts';
import { describeIssue, readJsonFile, reasonOf } from '../foreign-errors.ts';
import { checkedSeconds, parseTime, TIME_TEXT } from '../time.ts';

/** A table of a source. */
export type TableName = 'events' | 'items' | 'users' | 'requests';
/** Format of a source file. */
export type SourceFormat = 'csv' | 'ndjson' | 'parquet';
/**
 * Unit of a column of times: seconds, milliseconds or microseconds since 1970, or ISO 8601 text.
 */
export type TimeUnit = 's' | 'ms' | 'us' | 'iso';

/** A column of the source; `unit` is for times, `delimiter` for lists in one text cell. */
export interface ColumnReference {
  readonly column: string;
  readonly unit?: TimeUnit | undefined;
  readonly delimiter?: string | undefined;
}

/** How to read CSV files. */
export interface CsvOptions {
  /** One to four characters, none of them a line break. Default a comma, for .tsv a tab. */
  readonly delimiter?: string | undefined;
  /** Whether the files have a header. Default true. */
  readonly header?: boolean | undefined;
  /** Column names of files without a header. */
  readonly columns?: readonly string[] | undefined;
  /** One ASCII character that the delimiter does not have; empty: none. Default: double quote. */
  readonly quote?: string | undefined;
  /** Default utf-8. A byte order mark wins over it: UTF-8 and UTF-16 are read as such. */
  readonly encoding?: 'utf-8' | 'latin-1' | undefined;
}

/** The files of a table, and which column holds which field. */
export interface TableManifest {
  /** Paths or globs, relative to the manifest. */
  readonly files: readonly string[];
  /** Default: by the ending of the file's name. */
  readonly format?: SourceFormat | undefined;
  readonly csv?: CsvOptions | undefined;
  /** Column of the source by the name of the field. */
  readonly columns: Readonly<Record<string, ColumnReference>>;
}

/** The files of a source and what their columns mean. docs/reference/data-format.md explains it. */
export interface SourceManifest {
  readonly name: string;
  /** Unix seconds. */
  readonly testFrom?: number | undefined;
  readonly events: TableManifest;
  readonly items?: TableManifest | undefined;
  readonly users?: TableManifest | undefined;
  readonly requests?: TableManifest | undefined;
}

/** `id` also stands for names: of actions, categories, countries. `text` is a title or a query. */
export type FieldKind = 'id' | 'ids' | 'text' | 'number' | 'numbers' | 'time';
export interface FieldRule {
  readonly kind: FieldKind;
  readonly required: boolean;
}

const required = (kind: FieldKind): FieldRule => ({ kind, required: true });
const optional = (kind: FieldKind): FieldRule => ({ kind, required: false });

/**
 * Every field that a table may map, in the order of the reference in docs/reference/data-format.md.
 */
export const FIELDS: Readonly<Record<TableName, Readonly<Record<string, FieldRule>>>> = {
  events: {
    user: required('id'),
    item: required('id'),
    time: optional('time'),
    position: optional('number'),
    action: optional('id'),
    value: optional('number'),
  },
  items: {
    item: required('id'),
    title: optional('text'),
    categories: optional('ids'),
    confidences: optional('numbers'),
    advertiser: optional('id'),
    price: optional('number'),
    countries: optional('ids'),
  },
  users: {
    user: required('id'),
    age: optional('number'),
    gender: optional('id'),
    country: optional('id'),
  },
  requests: {
    id: required('id'),
    user: required('id'),
    time: required('time'),
    positives: required('ids'),
    surface: optional('id'),
    subjectItem: optional('id'),
    interests: optional('ids'),
    interestConfidences: optional('numbers'),
    query: optional('text'),
    delivered: optional('ids'),
    age: optional('number'),
    gender: optional('id'),
    country: optional('id'),
    slice: optional('id'),
  },
};

const REFERENCE_KEYS: Readonly<Record<FieldKind, readonly string[]>> = {
  id: ['column'],
  ids: ['column', 'delimiter'],
  text: ['column'],
  number: ['column'],
  numbers: ['column', 'delimiter'],
  time: ['column', 'unit'],
};

const columnName = z.string().min(1);
const cellReference = reference({ column: columnName });
const listReference = reference({ column: columnName, delimiter: z.string().min(1).optional() });
const references: Readonly<Record<FieldKind, z.ZodType<ColumnReference>>> = {
  id: cellReference,
  ids: listReference,
  text: cellReference,
  number: cellReference,
  numbers: listReference,
  time: reference({ column: columnName, unit: z.enum(['s', 'ms', 'us', 'iso']).optional() }),
};

/** Schema of a column reference; a plain text is short for { column: text }. */
function reference(shape: z.ZodRawShape): z.ZodType<ColumnReference> {
  return z.preprocess(
    (value) => (typeof value === 'string' ? { column: value } : value),
    z.strictObject(shape),
  ) as unknown as z.ZodType<ColumnReference>;
}

const csvShape = {
  delimiter: z
    .string()
    .regex(/^[^\r\n]{1,4}$/, 'expected one to four characters that are no line breaks')
    .optional(),
  header: z.boolean().optional(),
  columns: z.array(columnName).min(1).optional(),
  quote: z
    .string()
    .regex(/^[\x20-\x7e]?$/, 'expected one printable ASCII character, or an empty text for none')
    .optional(),
  encoding: z.enum(['utf-8', 'latin-1']).optional(),
};

const tableShape = (table: TableName): z.ZodRawShape => ({
  file: z.string().min(1).optional(),
  files: z.array(z.string().min(1)).min(1).optional(),
  format: z.enum(['csv', 'ndjson', 'parquet']).optional(),
  csv: z
    .strictObject(csvShape)
    .refine(({ delimiter = ',', quote = '"' }) => quote === '' || !delimiter.includes(quote), {
      message: 'expected a delimiter without the quote character',
    })
    .optional(),
  columns: z.strictObject(
    Object.fromEntries(
      Object.entries(FIELDS[table]).map(([field, rule]) => [
        field,
        rule.required ? references[rule.kind] : references[rule.kind].optional(),
      ]),
    ),
  ),
});
const tableSchema = (table: TableName): z.ZodType<TableManifest> =>
  z
    .strictObject(tableShape(table))
    .refine((value) => (value['file'] === undefined) !== (value['files'] === undefined), {
      message: 'expected either "file" or "files"',
    })
    .transform(({ file, files, ...rest }) => ({
      ...rest,
      files: files ?? [file],
    })) as unknown as z.ZodType<TableManifest>;

const schema = z.strictObject({
  name: z.string().min(1),
  testFrom: z.union([z.number(), z.string()]).transform(secondsOf).optional(),
  events: tableSchema('events'),
  items: tableSchema('items').optional(),
  users: tableSchema('users').optional(),
  requests: tableSchema('requests').optional(),
});

function secondsOf(time: number | string, context: z.RefinementCtx): number {
  try {
    return typeof time === 'number' ? checkedSeconds(time) : parseTime(time);
  } catch (error) {
    context.addIssue({
      code: 'custom',
      message:
        `expected a time, received ${JSON.stringify(time)}: ${(error as Error).message}. ` +
        `Write ${TIME_TEXT}`,
    });
    return z.NEVER;
  }
}

/**
 * Checks a parsed manifest.
 *
 * @param origin - name of the manifest in messages, e.g. its path.
 * @throws TandemError ERR_DATASET_INVALID naming the field and, for an unknown field, the nearest
 *   known.
 */
export function parseManifest(value: unknown, origin: string): SourceManifest {
  const result = schema.safeParse(value);
  if (result.success) {
    checkPairs(result.data, origin);
    return result.data;
  }
  const issue = result.error.issues[0]!;
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    const known = knownKeys(path);
    const nearest = nearestName(key, known);
    throw invalid(
      `Expected a known field in ${at(path)} of ${origin}, received "${key}".` +
        `${nearest === undefined ? '' : ` Did you mean "${nearest}"?`} Known: ${known.join(', ')}.`,
      { field: [...path, key].join('.'), nearest },
    );
  }
  throw invalid(
    `Expected a valid source manifest, ${at(path)} of ${origin}: ${describeIssue(issue)}.`,
    {
      field: path.join('.'),
    },
  );
}

/**
 * Reads and checks a manifest file.
 *
 * @returns the manifest, and the directory that its relative paths start from.
 * @throws TandemError ERR_DATASET_NOT_FOUND when there is no such file; what parseManifest throws.
 */
export function readManifest(path: string): { manifest: SourceManifest; baseDirectory: string } {
  if (!existsSync(path))
    throw new TandemError(
      'ERR_DATASET_NOT_FOUND',
      `Expected a source manifest at ${resolve(path)}, found no such file. ` +
        'docs/reference/data-format.md shows one.',
    );
  let value: unknown;
  try {
    value = readJsonFile(path);
  } catch (error) {
    throw invalid(
      `Expected a source manifest in ${path}, but: ${reasonOf(error)}. ` +
        'docs/reference/data-format.md shows one.',
      {},
      error,
    );
  }
  return { manifest: parseManifest(value, path), baseDirectory: dirname(resolve(path)) };
}

function checkPairs(manifest: SourceManifest, origin: string): void {
  const pairs = [
    ['items', 'confidences', 'categories'],
    ['requests', 'interestConfidences', 'interests'],
  ] as const;
  for (const [table, field, needed] of pairs) {
    const columns = manifest[table]?.columns;
    if (columns?.[field] !== undefined && columns[needed] === undefined)
      throw invalid(
        `Expected ${table}.columns.${needed} beside ${table}.columns.${field} in ${origin}: ` +
          `confidences belong to ${needed}.`,
        { field: `${table}.columns.${field}` },
      );
  }
}

function knownKeys(path: readonly string[]): readonly string[] {
  const [table, part, field] = path;
  if (table === undefined) return Object.keys(schema.shape);
  if (part === undefined) return Object.keys(tableShape(table as TableName));
  if (part === 'csv') return Object.keys(csvShape);
  const fields = FIELDS[table as TableName];
  return field === undefined ? Object.keys(fields) : REFERENCE_KEYS[fields[field]!.kind];
}

function at(path: readonly string[]): string {
  return path.length === 0 ? 'the top level' : path.join('.');
}

function invalid(
  message: string,
  details: Readonly<Record<string, unknown>> = {},
  cause?: unknown,
): TandemError {
  return new TandemError('ERR_DATASET_INVALID', message, { details, cause });
}
