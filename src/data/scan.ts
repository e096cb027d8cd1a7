// Scans of source files as SQL relations, by format: Parquet, NDJSON and tables that an adapter
// made. CSV is in scan-csv.ts. A scan says which columns there are; what they mean is decided in
// sources.ts.

import { basename } from 'node:path';
import { TandemError } from '../errors.ts';
import { literal, literalList, type Database } from './duckdb.ts';
import type { CsvOptions, SourceFormat, TableName } from './manifest.ts';
import { scanCsv } from './scan-csv.ts';

export interface Scan {
  /** FROM clause. */
  readonly from: string;
  /** SQL type of each column. */
  readonly columns: ReadonlyMap<string, string>;
  /** Whether each row is one JSON object in the column `json`. */
  readonly json: boolean;
  /** SQL expression of the path of a row's file. */
  readonly file: string;
  /** SQL expression of a row's number. */
  readonly row: string;
  /** SQL condition of rows that are not in the format. */
  readonly malformed: string;
  /** Lines of a file before its first row. */
  readonly headerLines: number;
  /** Table of the lines that DuckDB could not split; CSV alone. */
  readonly rejectsTable?: string;
}

/**
 * NDJSON has no header: its columns are the names in the first so many objects. All objects are
 * read before a column counts as missing.
 */
const JSON_SAMPLE_ROWS = 2048;

/**
 * Scans the files of a table.
 *
 * @param wanted - columns that the manifest maps.
 * @throws TandemError ERR_DATASET_INVALID for files that are not in the format.
 */
export async function scanFiles(
  database: Database,
  table: TableName,
  files: readonly string[],
  format: SourceFormat,
  csv: CsvOptions,
  wanted: readonly string[],
): Promise<Scan> {
  const list = literalList(files);
  const file = files.length === 1 ? literal(files[0]!) : 'source_path';
  const named = files.length === 1 ? '' : ", filename = 'source_path'";
  const common = {
    file,
    row: 'row_number() OVER ()',
    malformed: 'false',
    json: false,
    headerLines: 0,
  };
  try {
    if (format === 'parquet') {
      const from = `read_parquet(${list}, union_by_name = true${named})`;
      return { ...common, from, columns: await describe(database, from) };
    }
    if (format === 'ndjson') {
      const from = `read_ndjson_objects(${list}, ignore_errors = true${named})`;
      let names = await jsonNames(database, `(SELECT json FROM ${from} LIMIT ${JSON_SAMPLE_ROWS})`);
      if (wanted.some((name) => !names.includes(name))) names = await jsonNames(database, from);
      const columns = new Map(names.map((name) => [name, 'JSON']));
      const malformed = "json IS NULL OR json_type(json) <> 'OBJECT'";
      return { ...common, from, columns, json: true, malformed };
    }
    return { ...common, ...(await scanCsv(database, table, files, csv, named)) };
  } catch (error) {
    if (error instanceof TandemError) throw error;
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected ${format} in ${basename(files[0]!)} for ${table}: ${firstLine(error)}`,
      { details: { table, files }, cause: error },
    );
  }
}

/**
 * Scans a table that an adapter made.
 *
 * @param label - what the report calls it.
 */
export async function scanRelation(
  database: Database,
  relation: string,
  label: string,
): Promise<Scan> {
  const columns = await describe(database, relation);
  return {
    from: relation,
    columns,
    json: false,
    file: literal(label),
    row: columns.has('source_row') ? 'source_row' : 'row_number() OVER ()',
    malformed: 'false',
    headerLines: 0,
  };
}

async function describe(database: Database, relation: string): Promise<Map<string, string>> {
  const rows = await database.rows(`DESCRIBE SELECT * FROM ${relation}`);
  return new Map(rows.map((row) => [String(row['column_name']), String(row['column_type'])]));
}

async function jsonNames(database: Database, relation: string): Promise<string[]> {
  const rows = await database.rows(
    `SELECT DISTINCT unnest(json_keys(json)) AS name FROM ${relation}
     WHERE json_type(json) = 'OBJECT' ORDER BY name`,
  );
  return rows.map((row) => String(row['name']));
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
}
