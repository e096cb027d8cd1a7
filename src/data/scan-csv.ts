// Scans CSV files with DuckDB. The header is read here and not by DuckDB, so that every column
// comes as text and lines that cannot be split are counted instead of ending the import.

import { basename } from 'node:path';
import { TandemError } from '../errors.ts';
import { identifier, literal, literalList, type Database } from './duckdb.ts';
import type { CsvOptions, TableName } from './manifest.ts';

export interface CsvScan {
  /** FROM clause. */
  readonly from: string;
  /** SQL type of each column, which is text. */
  readonly columns: ReadonlyMap<string, string>;
  readonly headerLines: number;
  /** Table that DuckDB fills with the lines that it could not split. */
  readonly rejectsTable: string;
}

/** How the files of a table are written, with every default in place. */
interface CsvFormat {
  readonly delimiter: string;
  readonly quote: string;
  readonly header: boolean;
  readonly encoding: string;
}

/**
 * Scans the CSV files of a table.
 *
 * @param named - option of read_csv that adds the column `source_path`; empty for one file.
 * @throws TandemError ERR_DATASET_INVALID for an empty file, for files with different columns, and
 *   for a column name that occurs twice.
 */
export async function scanCsv(
  database: Database,
  table: TableName,
  files: readonly string[],
  csv: CsvOptions,
  named: string,
): Promise<CsvScan> {
  const delimiter = csv.delimiter ?? (/\.tsv(\.\w+)?$/i.test(files[0]!) ? '\t' : ',');
  const { quote = '"', header = true, encoding = 'utf-8' } = csv;
  const format = { delimiter, quote, header, encoding };
  const names =
    !header && csv.columns !== undefined
      ? csv.columns
      : await columnNames(database, table, files, format);
  if (new Set(names).size !== names.length)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected distinct column names in ${basename(files[0]!)}, received ${names.join(', ')}.`,
    );
  // DuckDB reads columns by position here, so its names may be ours: c0, c1, ... A source column
  // may then be called "source_path" without a clash.
  const types = names.map((_name, column) => `'c${column}': 'VARCHAR'`).join(', ');
  const renamed = names.map((name, column) => `c${column} AS ${identifier(name)}`).join(', ');
  const rejectsTable = `csv_rejects_${table}`;
  const from = `(SELECT ${renamed}${named === '' ? '' : ', source_path'}
    FROM read_csv(${literalList(files)}, auto_detect = false, columns = {${types}},
      delim = ${literal(delimiter)}, quote = ${literal(quote)}, escape = ${literal(quote)},
      header = ${header}, encoding = ${literal(encoding)}, ignore_errors = true,
      store_rejects = true, rejects_table = '${rejectsTable}',
      rejects_scan = '${rejectsTable}_scan'${named}))`;
  return {
    from,
    columns: new Map(names.map((name) => [name, 'VARCHAR'])),
    headerLines: header ? 1 : 0,
    rejectsTable,
  };
}

/**
 * The column names of files that all have the same: from the headers, else column0, column1, ...
 */
async function columnNames(
  database: Database,
  table: TableName,
  files: readonly string[],
  { delimiter, quote, header, encoding }: CsvFormat,
): Promise<readonly string[]> {
  let names: readonly string[] | undefined;
  for (const file of files) {
    const first = await firstCsvLine(database, file, encoding);
    const cells = splitCsvLine(first, delimiter, quote);
    const found = header ? cells : cells.map((_cell, column) => `column${column}`);
    if (names !== undefined && found.join('\0') !== names.join('\0'))
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected the same columns in all files of ${table}: ` +
          `${basename(files[0]!)} has ${names.join(', ')}; ` +
          `${basename(file)} has ${found.join(', ')}.`,
        { details: { table, file } },
      );
    names = found;
  }
  return names!;
}

async function firstCsvLine(database: Database, file: string, encoding: string): Promise<string> {
  const rows = await database.rows(
    `SELECT line FROM read_csv(${literal(file)}, auto_detect = false,
       columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '', header = false,
       encoding = ${literal(encoding)}) LIMIT 1`,
  );
  if (rows.length === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected at least a header in ${basename(file)}, found an empty file.`,
      { details: { file } },
    );
  return String(rows[0]!['line']).replace(/^\uFEFF/, '');
}

/** Splits a CSV line into cells. A line break inside a header cell is not supported. */
function splitCsvLine(line: string, delimiter: string, quote: string): string[] {
  const cells: string[] = [];
  let cell = '';
  let quoted = false;
  for (let i = 0; i < line.length;) {
    if (quote !== '' && line[i] === quote) {
      if (quoted && line[i + 1] === quote) {
        cell += quote;
        i += 2;
        continue;
      }
      quoted = !quoted;
      i++;
    } else if (!quoted && line.startsWith(delimiter, i)) {
      cells.push(cell);
      cell = '';
      i += delimiter.length;
    } else {
      cell += line[i]!;
      i++;
    }
  }
  cells.push(cell);
  return cells;
}
