// Scans of CSV and NDJSON files. Both are read by text/, which leaves one file of the mapped cells
// for DuckDB, with the number of the line in front of each row.

import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { TandemError } from '../../errors.ts';
import { fileLiteral, literal, type Database } from '../duckdb.ts';
import type { ColumnReference, CsvOptions, TableName } from '../manifest.ts';
import type { Place, Scan } from './scan.ts';
import {
  cutShort,
  readTextTable,
  type TextFile,
  type TextFormat,
  type TextTable,
} from '../text/text-table.ts';

/**
 * NDJSON has no header: its columns are the names in the first so many objects. All objects are
 * read before a column counts as missing.
 */
const JSON_SAMPLE_ROWS = 2048;

/**
 * Scans the CSV files of a table.
 *
 * @param references - mapped columns by field. The scan has no other columns.
 * @throws TandemError ERR_DATASET_INVALID as readTextTable, and for files without a row.
 */
export async function scanCsv(
  database: Database,
  table: TableName,
  paths: readonly string[],
  csv: CsvOptions,
  references: Readonly<Record<string, ColumnReference>>,
): Promise<Scan> {
  const delimiter = csv.delimiter ?? (/\.tsv(\.\w+)?$/i.test(paths[0]!) ? '\t' : ',');
  const { quote = '"', header = true, encoding = 'utf-8', columns } = csv;
  const format = { delimiter, quote, header, encoding, columns };
  const mapped = Object.values(references).map(({ column }) => column);
  const { from, ...rest } = await scanText(database, table, paths, format, references);
  return {
    ...rest,
    from: `(${from})`,
    columns: new Map(mapped.map((_column, i) => [`c${i}`, 'VARCHAR'])),
    columnOf: (name) => `c${mapped.indexOf(name)}`,
    malformed: 'false',
    json: false,
  };
}

/**
 * Scans the NDJSON files of a table.
 *
 * @param wanted - mapped columns.
 * @throws TandemError ERR_DATASET_INVALID as readTextTable, for a JSON array, for an object on
 *   several lines, and for files without an object.
 */
export async function scanNdjson(
  database: Database,
  table: TableName,
  paths: readonly string[],
  wanted: readonly string[],
): Promise<Scan> {
  const format: TextFormat = {
    delimiter: '',
    quote: '',
    encoding: 'utf-8',
    header: false,
    columns: ['json'],
    checkStart: refuseOtherJson,
  };
  const text = await scanText(database, table, paths, format, { json: { column: 'json' } });
  await refuseHalfObjects(database, text.files);
  const from = `(SELECT source_row, try_cast(c0 AS JSON) AS json FROM (${text.from}))`;
  let names = await jsonNames(database, `(FROM ${from} LIMIT ${JSON_SAMPLE_ROWS})`);
  if (wanted.some((name) => !names.includes(name))) names = await jsonNames(database, from);
  if (names.length === 0) throw notOneObject(paths[0]!, 'no line that is a JSON object');
  return {
    ...text,
    from,
    columns: new Map(names.map((name) => [name, 'JSON'])),
    columnOf: (name) => name,
    malformed: "json IS NULL OR json_type(json) <> 'OBJECT'",
    json: true,
  };
}

/**
 * A relation of all rows of a CSV file with the columns `names`, for adapters.
 *
 * @throws TandemError ERR_DATASET_INVALID when a line is not a row: published files have none.
 */
export async function csvRelation(
  database: Database,
  path: string,
  csv: CsvOptions,
  names: readonly string[],
): Promise<string> {
  const references = Object.fromEntries(names.map((column) => [column, { column }]));
  const scan = await scanCsv(database, 'events', [path], csv, references);
  const [bad] = scan.rejected;
  if (bad !== undefined)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected rows of ${names.length} cells or more in ${basename(path)}, received ` +
        `${bad.count} lines that are left out (${bad.reason}), the first at line ` +
        `${bad.samples[0]!.line}: ${bad.samples[0]!.value}.`,
      { details: { file: path, reason: bad.reason } },
    );
  const columns = names.map((name, i) => `c${i} AS "${name.replaceAll('"', '""')}"`);
  return `(SELECT source_row, ${columns.join(', ')} FROM ${scan.from})`;
}

/** What the scans of text have in common; `from` is a SELECT of source_row, c0, c1, ... */
async function scanText(
  database: Database,
  table: TableName,
  paths: readonly string[],
  format: TextFormat,
  references: Readonly<Record<string, ColumnReference>>,
): Promise<
  Pick<Scan, 'from' | 'row' | 'place' | 'rejected' | 'temporary'> & Pick<TextTable, 'files'>
> {
  const temporary = join(database.folder ?? tmpdir(), `rows-${table}-${randomUUID()}`);
  const { writer, files, rejected } = await readTextTable(
    table,
    paths,
    format,
    references,
    temporary,
  );
  if (writer.rows === 0 && rejected.length === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected rows after the header of ${basename(paths[0]!)} for ${table}, found none: ` +
        'the table is empty. Leave it out of the manifest, or write the file again.',
      { details: { table, files: paths } },
    );
  return {
    from: writer.select(fileLiteral(temporary), Object.keys(references).length),
    row: 'source_row',
    place: (row) => placeOf(files, row),
    rejected,
    temporary,
    files,
  };
}

function placeOf(files: readonly TextFile[], row: number): Place {
  const { path, firstLine } = files.findLast((file) => file.firstLine <= row)!;
  return { file: path, line: row - firstLine + 1 };
}

function refuseOtherJson(path: string, text: string): void {
  if (text.startsWith('[')) throw notOneObject(path, 'a JSON array');
  if (/^\{\s*[\r\n]/.test(text)) throw notOneObject(path, 'an object on several lines');
}

function notOneObject(path: string, found: string): TandemError {
  const name = basename(path);
  return new TandemError(
    'ERR_DATASET_INVALID',
    `Expected NDJSON in ${name}, which is one JSON object per line, found ${found}. ` +
      `Convert it, for example with: jq -c '.[]?' ${name} > ${name.replace(/\.\w+$/, '')}.ndjson`,
    { details: { file: path } },
  );
}

/** Refuses files whose last line has no line end and is no JSON: they were cut short. */
async function refuseHalfObjects(database: Database, files: readonly TextFile[]): Promise<void> {
  for (const { path, unended, lastLine } of files) {
    if (unended === undefined) continue;
    const bad = await database.number(
      `SELECT (try_cast(${literal(unended)} AS JSON) IS NULL)::INTEGER`,
    );
    if (bad === 1) throw cutShort(path, lastLine, 'half a JSON value');
  }
}

async function jsonNames(database: Database, relation: string): Promise<string[]> {
  const rows = await database.rows(
    `SELECT DISTINCT unnest(json_keys(json)) AS name FROM ${relation}
     WHERE json_type(json) = 'OBJECT' ORDER BY name`,
  );
  return rows.map((row) => String(row['name']));
}
