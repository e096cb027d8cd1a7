// Opens the sources of a plan as SQL relations: finds the files, checks the mapped columns, and
// gives one column per field of the table.

import { existsSync } from 'node:fs';
import { basename, isAbsolute, join } from 'node:path';
import { nearestName, TandemError } from '../errors.ts';
import { literal, type Database } from './duckdb.ts';
import { emptyField, fieldExpression } from './field-sql.ts';
import {
  FIELDS,
  type ColumnReference,
  type SourceFormat,
  type TableManifest,
  type TableName,
} from './manifest.ts';
import { scanFiles, scanRelation, type Scan } from './scan.ts';

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

/** A source opened as a relation with `source_row`, `source_file` and one column per field. */
export interface OpenedSource {
  /** Name for messages. */
  readonly label: string;
  /** Fields that the source maps. */
  readonly fields: ReadonlySet<string>;
  /**
   * SELECT of source_row BIGINT, source_file VARCHAR, malformed BOOLEAN, and each field in its type
   * or NULL; numbers and times also as text in <field>_text.
   */
  readonly select: string;
  /** Rows before the first data row of a file: 1 for a CSV header. */
  readonly headerLines: number;
  /** Whether an adapter made it: source_row then is the row in the adapter's file. */
  readonly prepared: boolean;
  /** Table that DuckDB fills with CSV lines it could not split; undefined for other formats. */
  readonly rejectsTable: string | undefined;
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
  checkColumns(table, source.columns, scan, label);
  const fields = Object.entries(FIELDS[table]).map(([field, rule]) => {
    const reference = source.columns[field];
    if (reference === undefined) return emptyField(field, rule.kind);
    return fieldExpression(table, field, rule.kind, reference, scan);
  });
  return {
    label,
    fields: new Set(Object.keys(source.columns)),
    select: `SELECT ${scan.row} AS source_row, ${scan.file} AS source_file,
      ${scan.malformed} AS malformed,
      ${fields.join(',\n      ')} FROM ${scan.from}`,
    headerLines: scan.headerLines,
    prepared: 'relation' in source,
    rejectsTable: scan.rejectsTable,
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
  const format = source.format ?? inferFormat(table, files);
  const wanted = Object.values(source.columns).map(({ column }) => column);
  const scan = await scanFiles(database, table, files, format, source.csv ?? {}, wanted);
  const first = basename(files[0]!);
  return { label: files.length === 1 ? first : `${first} and ${files.length - 1} more`, scan };
}

async function findFiles(
  database: Database,
  table: TableName,
  patterns: readonly string[],
  baseDirectory: string,
): Promise<string[]> {
  const files: string[] = [];
  for (const pattern of patterns) {
    const path = isAbsolute(pattern) ? pattern : join(baseDirectory, pattern);
    if (existsSync(path)) {
      files.push(path);
      continue;
    }
    const found = /[*?[{]/.test(pattern)
      ? await database.rows(`SELECT file FROM glob(${literal(path)}) ORDER BY file`)
      : [];
    if (found.length === 0)
      throw new TandemError(
        'ERR_DATASET_NOT_FOUND',
        `Expected a file for ${table} at ${path}, found none. ` +
          'Paths in a manifest are relative to the manifest.',
        { details: { table, path } },
      );
    files.push(...found.map((row) => String(row['file'])));
  }
  return files;
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

function checkColumns(
  table: TableName,
  references: Readonly<Record<string, ColumnReference>>,
  scan: Scan,
  label: string,
): void {
  for (const [field, { column }] of Object.entries(references)) {
    if (scan.columns.has(column)) continue;
    const names = [...scan.columns.keys()].filter((name) => name !== 'source_path');
    const nearest = nearestColumn(column, names);
    const suggestion = nearest === undefined ? '' : ` Did you mean "${nearest}"?`;
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected a column of ${label} for ${table}.columns.${field}, received "${column}".` +
        `${suggestion} Columns: ${names.join(', ')}.`,
      { details: { table, field, column, nearest, columns: names } },
    );
  }
}

/**
 * The column whose name is nearest: one that contains the name or is contained in it, else by edit
 * distance. So "user" suggests "user_id" and not "uses".
 */
function nearestColumn(column: string, names: readonly string[]): string | undefined {
  const wanted = column.toLowerCase();
  const related = names.filter((name) => {
    const known = name.toLowerCase();
    return known.includes(wanted) || (known !== '' && wanted.includes(known));
  });
  return related.sort((a, b) => a.length - b.length)[0] ?? nearestName(column, names);
}
