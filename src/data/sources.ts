// Opens the sources of a plan as SQL relations: finds the files, checks the mapped columns, and
// gives one column per field of the table.

import { existsSync, statSync } from 'node:fs';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { TandemError } from '../errors.ts';
import { missingColumn } from './scan/columns.ts';
import { databaseError, literal, pathPattern, type Database } from './duckdb.ts';
import { emptyField, fieldExpression } from './fields/field-sql.ts';
import {
  FIELDS,
  type ColumnReference,
  type SourceFormat,
  type TableManifest,
  type TableName,
} from './manifest.ts';
import { scanParquet } from './scan/scan-parquet.ts';
import { scanCsv, scanNdjson } from './scan/scan-text.ts';
import { scanRelation, type Scan } from './scan/scan.ts';

/** A table that an adapter made in the database. A column `source_row` is its row in the file. */
export interface RelationSource {
  readonly relation: string;
  /** Name for messages: the file that it was made from. */
  readonly label: string;
  readonly columns: Readonly<Record<string, ColumnReference>>;
}

export type TableSource = TableManifest | RelationSource;

/** The sources of a dataset, from a manifest or an adapter. */
export interface SourcePlan {
  readonly name: string;
  /** Unix seconds. */
  readonly testFrom?: number | undefined;
  readonly events: TableSource;
  readonly items?: TableSource | undefined;
  readonly users?: TableSource | undefined;
  readonly requests?: TableSource | undefined;
  /**
   * Rows that the adapter left out on purpose, by reason; the report shows them beside rejected
   * rows.
   */
  readonly excluded?: readonly {
    readonly table: TableName;
    readonly reason: string;
    readonly count: number;
  }[];
}

/** A source opened as a relation with `source_row` and one column per field. */
export interface OpenedSource {
  /** Name for messages. */
  readonly label: string;
  /** Fields that the source maps. */
  readonly fields: ReadonlySet<string>;
  /**
   * SELECT of source_row BIGINT, malformed BOOLEAN, and each field in its type or NULL; the columns
   * <field>_text and <field>_received are those of fieldExpression.
   */
  readonly select: string;
  readonly scan: Scan;
}

/**
 * Opens one table of a plan.
 *
 * @param baseDirectory - directory that relative paths start from.
 * @throws TandemError ERR_DATASET_NOT_FOUND for a missing file; ERR_DATASET_INVALID for a missing
 *   column, or for a file that is not in its format.
 */
export async function openSource(
  database: Database,
  table: TableName,
  source: TableSource,
  baseDirectory: string,
): Promise<OpenedSource> {
  const { label, scan } = await openScan(database, table, source, baseDirectory);
  for (const [field, { column }] of Object.entries(source.columns))
    if (!scan.columns.has(scan.columnOf(column)))
      throw missingColumn(table, field, column, label, [...scan.columns.keys()]);
  const cells: string[] = [];
  const fields = Object.entries(FIELDS[table]).map(([field, rule]) => {
    const reference = source.columns[field];
    if (reference === undefined) return emptyField(field, rule.kind);
    const inScan = { ...reference, column: scan.columnOf(reference.column) };
    const { cell, columns } = fieldExpression(table, field, rule.kind, inScan, scan);
    cells.push(cell);
    return columns;
  });
  return {
    label,
    fields: new Set(Object.keys(source.columns)),
    select: `SELECT source_row, malformed,
      ${fields.join(',\n      ')}
      FROM (SELECT ${scan.row} AS source_row, ${scan.malformed} AS malformed, ${cells.join(', ')}
        FROM ${scan.from})`,
    scan,
  };
}

async function openScan(
  database: Database,
  table: TableName,
  source: TableSource,
  baseDirectory: string,
): Promise<{ readonly label: string; readonly scan: Scan }> {
  if ('relation' in source) {
    const { relation, label } = source;
    return { label, scan: await scanRelation(database, relation, label) };
  }
  const files = await findFiles(database, table, source.files, baseDirectory);
  const first = basename(files[0]!);
  const label = files.length === 1 ? first : `${first} and ${files.length - 1} more`;
  const { columns } = source;
  const wanted = Object.values(columns).map(({ column }) => column);
  try {
    switch (source.format ?? inferFormat(table, files)) {
      case 'parquet':
        return { label, scan: await scanParquet(database, table, files, wanted) };
      case 'ndjson':
        return { label, scan: await scanNdjson(database, table, files, wanted) };
      case 'csv':
        return { label, scan: await scanCsv(database, table, files, source.csv ?? {}, columns) };
    }
  } catch (error) {
    throw databaseError(error, `${label} for ${table}`);
  }
}

async function findFiles(
  database: Database,
  table: TableName,
  patterns: readonly string[],
  baseDirectory: string,
): Promise<string[]> {
  const files: string[] = [];
  for (const pattern of patterns) {
    const path = resolve(baseDirectory, pattern);
    if (existsSync(path)) {
      if (statSync(path).isDirectory())
        throw new TandemError(
          'ERR_DATASET_INVALID',
          `Expected a file for ${table} at ${path}, found a folder. ` +
            `Name its files, for example "${join(pattern, '*.parquet')}".`,
          { details: { table, path } },
        );
      files.push(path);
      continue;
    }
    const found = /[*?[]/.test(pattern) ? await glob(database, baseDirectory, pattern) : [];
    if (found.length === 0)
      throw new TandemError(
        'ERR_DATASET_NOT_FOUND',
        `Expected a file for ${table} at ${path}, found none. ` +
          'Paths in a manifest are local, and relative to the manifest.',
        { details: { table, path } },
      );
    files.push(...found);
  }
  return files;
}

/** The files that a pattern matches, by name. The base directory is a name and no pattern. */
async function glob(database: Database, base: string, pattern: string): Promise<string[]> {
  const path = isAbsolute(pattern) ? pattern : join(pathPattern(resolve(base)), pattern);
  const rows = await database.rows(`SELECT file FROM glob(${literal(path)}) ORDER BY file`);
  return rows.map((row) => String(row['file']));
}

function inferFormat(table: TableName, files: readonly string[]): SourceFormat {
  const formats = new Set(
    files.map((file): SourceFormat => {
      const name = basename(file)
        .toLowerCase()
        .replace(/\.(gz|zst)$/, '');
      if (name.endsWith('.parquet')) return 'parquet';
      if (/\.(ndjson|jsonl|json)$/.test(name)) return 'ndjson';
      if (/\.(csv|tsv|txt|dat|data)$/.test(name)) return 'csv';
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected a file of ${table} ending in .csv, .tsv, .ndjson, .jsonl or .parquet ` +
          `(also .gz), received ${basename(file)}. ` +
          `Set ${table}.format to csv, ndjson or parquet.`,
        { details: { table, file } },
      );
    }),
  );
  if (formats.size > 1)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected all files of ${table} in one format, received ${[...formats].join(' and ')}.`,
    );
  return [...formats][0]!;
}
