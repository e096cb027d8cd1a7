// Opens the files of a manifest as SQL relations: finds them, checks the mapped columns, and hands out one SQL
// expression per field, so that import.ts need not know whether a cell came from CSV, NDJSON or Parquet.

import { existsSync } from 'node:fs';
import { basename, isAbsolute, join } from 'node:path';
import { nearestName, TandemError } from '../errors.ts';
import { identifier, literal, literalList, type Database } from './duckdb.ts';
import {
  FIELDS,
  type ColumnReference,
  type CsvOptions,
  type SourceFormat,
  type TableManifest,
  type TableName,
} from './manifest.ts';

/** A table already prepared in the database by an adapter; column `source_row`, if any, is its row in the file. */
export interface RelationSource {
  readonly relation: string;
  /** What to call it in messages: the file it was made from. */
  readonly label: string;
  readonly columns: Readonly<Record<string, ColumnReference>>;
}

export type TableSource = TableManifest | RelationSource;

/** What an adapter or a manifest comes down to: a source for each table. */
export interface SourcePlan {
  readonly name: string;
  readonly testFrom?: number | undefined;
  readonly events: TableSource;
  readonly items?: TableSource | undefined;
  readonly users?: TableSource | undefined;
  readonly requests?: TableSource | undefined;
  /** Rows that the adapter left out on purpose, by reason; reported beside the rejected ones. */
  readonly excluded?: readonly {
    readonly table: TableName;
    readonly reason: string;
    readonly count: number;
  }[];
}

/** A source opened as a relation with the columns `source_row`, `source_file` and one per mapped field. */
export interface OpenedSource {
  readonly label: string;
  /** Fields that the source maps. */
  readonly fields: ReadonlySet<string>;
  /** SELECT with source_row BIGINT, source_file VARCHAR, malformed BOOLEAN, and each field in its type or NULL;
   *  times also as <field>_text. */
  readonly select: string;
  /** Rows before the first data row of a file: 1 for a CSV header. */
  readonly headerLines: number;
  /** True when an adapter made it: source_row then is the row in the adapter's file. */
  readonly prepared: boolean;
  /** Table that DuckDB fills with CSV lines it could not split; undefined for other formats. */
  readonly rejectsTable: string | undefined;
}

interface Scan {
  /** FROM clause. */
  readonly from: string;
  /** Column -> SQL type; undefined where any name may occur (NDJSON). */
  readonly columns: ReadonlyMap<string, string>;
  readonly json: boolean;
  readonly file: string;
  readonly row: string;
  readonly malformed: string;
  readonly headerLines: number;
  readonly rejectsTable?: string;
}

const DEFAULT_LIST_DELIMITER = '|';
/** NDJSON has no header: the names in this many objects are the columns; all objects are read before giving up. */
const JSON_SAMPLE_ROWS = 2048;

/**
 * Opens one table of a plan.
 *
 * @param baseDirectory - what relative paths are relative to.
 * @throws TandemError ERR_DATASET_NOT_FOUND for a missing file, ERR_DATASET_INVALID for a column that is not there.
 */
export async function openSource(
  database: Database,
  table: TableName,
  source: TableSource,
  baseDirectory: string,
): Promise<OpenedSource> {
  const wanted = Object.values(source.columns).map((reference) => reference.column);
  let label: string;
  let scan: Scan;
  if ('relation' in source) {
    label = source.label;
    scan = await scanRelation(database, source);
  } else {
    const files = await findFiles(database, table, source.files, baseDirectory);
    const format = source.format ?? inferFormat(table, files);
    label =
      files.length === 1
        ? basename(files[0]!)
        : `${basename(files[0]!)} and ${files.length - 1} more`;
    scan = await scanFiles(database, table, files, format, source.csv ?? {}, wanted);
  }
  checkColumns(table, source.columns, scan, label);
  const fields = Object.entries(FIELDS[table]).map(([field, rule]) => {
    const reference = source.columns[field];
    if (reference === undefined) return emptyField(field, rule.kind);
    return fieldExpression(table, field, rule.kind, reference, scan);
  });
  return {
    label,
    fields: new Set(Object.keys(source.columns)),
    select: `SELECT ${scan.row} AS source_row, ${scan.file} AS source_file, ${scan.malformed} AS malformed,
      ${fields.join(',\n      ')} FROM ${scan.from}`,
    headerLines: scan.headerLines,
    prepared: 'relation' in source,
    rejectsTable: scan.rejectsTable,
  };
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
        `Expected a file for ${table} at ${path}, found none. Paths in a manifest are relative to the manifest.`,
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
        `Expected a file of ${table} ending in .csv, .tsv, .ndjson, .jsonl or .parquet (also .gz), received ${basename(file)}. ` +
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

async function scanFiles(
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

async function scanCsv(
  database: Database,
  table: TableName,
  files: readonly string[],
  csv: CsvOptions,
  named: string,
): Promise<Pick<Scan, 'from' | 'columns' | 'headerLines' | 'rejectsTable'>> {
  const delimiter = csv.delimiter ?? (/\.tsv(\.\w+)?$/i.test(files[0]!) ? '\t' : ',');
  const quote = csv.quote ?? '"';
  const header = csv.header ?? true;
  const encoding = csv.encoding ?? 'utf-8';
  let names: readonly string[] | undefined;
  for (const file of files) {
    if (!header && csv.columns !== undefined) {
      names = csv.columns;
      break;
    }
    const first = await firstCsvLine(database, file, encoding);
    const cells = splitCsvLine(first, delimiter, quote);
    const found = header ? cells : cells.map((_cell, column) => `column${column}`);
    if (names !== undefined && found.join('\0') !== names.join('\0'))
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected the same columns in all files of ${table}: ${basename(files[0]!)} has ${names.join(', ')}; ` +
          `${basename(file)} has ${found.join(', ')}.`,
        { details: { table, file } },
      );
    names = found;
  }
  const unique = new Set(names);
  if (unique.size !== names!.length)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected distinct column names in ${basename(files[0]!)}, received ${names!.join(', ')}.`,
    );
  // The reader takes only columns by position, so its names may be ours: a source column called "source_path" is safe.
  const types = names!.map((_name, column) => `'c${column}': 'VARCHAR'`).join(', ');
  const rejectsTable = `csv_rejects_${table}`;
  const from = `(SELECT ${names!.map((name, column) => `c${column} AS ${identifier(name)}`).join(', ')}${named === '' ? '' : ', source_path'}
    FROM read_csv(${literalList(files)}, auto_detect = false, columns = {${types}}, delim = ${literal(delimiter)},
      quote = ${literal(quote)}, escape = ${literal(quote)}, header = ${header}, encoding = ${literal(encoding)},
      ignore_errors = true, store_rejects = true, rejects_table = '${rejectsTable}',
      rejects_scan = '${rejectsTable}_scan'${named}))`;
  return {
    from,
    columns: new Map(names!.map((name) => [name, 'VARCHAR'])),
    headerLines: header ? 1 : 0,
    rejectsTable,
  };
}

async function firstCsvLine(database: Database, file: string, encoding: string): Promise<string> {
  const rows = await database.rows(
    `SELECT line FROM read_csv(${literal(file)}, auto_detect = false, columns = {'line': 'VARCHAR'}, delim = '\x01',
       quote = '', escape = '', header = false, encoding = ${literal(encoding)}) LIMIT 1`,
  );
  if (rows.length === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected at least a header in ${basename(file)}, found an empty file.`,
      { details: { file } },
    );
  return String(rows[0]!['line']).replace(/^\uFEFF/, '');
}

/** Cells of one CSV line; a header cell with a line break inside is not supported. */
export function splitCsvLine(line: string, delimiter: string, quote: string): string[] {
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

async function scanRelation(database: Database, source: RelationSource): Promise<Scan> {
  const columns = await describe(database, source.relation);
  return {
    from: source.relation,
    columns,
    json: false,
    file: literal(source.label),
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
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected a column of ${label} for ${table}.columns.${field}, received "${column}".` +
        `${nearest === undefined ? '' : ` Did you mean "${nearest}"?`} Columns: ${names.join(', ')}.`,
      { details: { table, field, column, nearest, columns: names } },
    );
  }
}

/** "user" is nearer to "user_id" than to "buyer", whatever the edit distance says. */
function nearestColumn(column: string, names: readonly string[]): string | undefined {
  const wanted = column.toLowerCase();
  const related = names.filter((name) => {
    const known = name.toLowerCase();
    return known.includes(wanted) || (known !== '' && wanted.includes(known));
  });
  return related.sort((a, b) => a.length - b.length)[0] ?? nearestName(column, names);
}

function emptyField(field: string, kind: 'text' | 'number' | 'time' | 'list'): string {
  if (kind === 'text') return `NULL::VARCHAR AS ${identifier(field)}`;
  if (kind === 'list') return `NULL::VARCHAR[] AS ${identifier(field)}`;
  return `NULL::DOUBLE AS ${identifier(field)}, NULL::VARCHAR AS ${identifier(`${field}_text`)}`;
}

/** Text is trimmed and NULL when empty; numbers and times are NULL when unparsable and keep their text beside them. */
function fieldExpression(
  table: TableName,
  field: string,
  kind: 'text' | 'number' | 'time' | 'list',
  reference: ColumnReference,
  scan: Scan,
): string {
  const type = scan.columns.get(reference.column)!;
  const path = literal(`$."${reference.column.replaceAll('"', '\\"')}"`);
  const raw = scan.json ? `json_extract_string(json, ${path})` : identifier(reference.column);
  const text = `nullif(trim(${type === 'DOUBLE' || type === 'FLOAT' ? integralText(raw) : `${raw}::VARCHAR`}), '')`;
  const name = identifier(field);
  const nameText = identifier(`${field}_text`);
  if (kind === 'text') return `${text} AS ${name}`;
  if (kind === 'number') return `try_cast(${text} AS DOUBLE) AS ${name}, ${text} AS ${nameText}`;
  if (kind === 'list') {
    const split = `list_transform(string_split(${text}, ${literal(reference.delimiter ?? DEFAULT_LIST_DELIMITER)}), lambda x: trim(x))`;
    if (scan.json)
      return `CASE json_type(json, ${path}) WHEN 'ARRAY' THEN from_json(json_extract(json, ${path}), '["VARCHAR"]') ELSE ${split} END AS ${name}`;
    if (type.endsWith(']')) return `${raw}::VARCHAR[] AS ${name}`;
    return `${split} AS ${name}`;
  }
  return `${timeExpression(table, field, raw, text, type, reference)} AS ${name}, ${text} AS ${nameText}`;
}

/** 17850.0 as an identifier is 17850: spreadsheets and data frames turn integer ids with gaps into doubles. */
function integralText(raw: string): string {
  return `CASE WHEN ${raw} = trunc(${raw}) AND abs(${raw}) < 9e15 THEN (${raw}::BIGINT)::VARCHAR ELSE ${raw}::VARCHAR END`;
}

function timeExpression(
  table: TableName,
  field: string,
  raw: string,
  text: string,
  type: string,
  reference: ColumnReference,
): string {
  if (type.startsWith('TIMESTAMP') || type === 'DATE') return `epoch(${raw})`;
  const unit = reference.unit ?? 'iso';
  if (unit !== 'iso') {
    const scale = { s: '1', ms: '1e3', us: '1e6' }[unit];
    return `try_cast(${text} AS DOUBLE) / ${scale}`;
  }
  if (!['VARCHAR', 'JSON'].includes(type))
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected a unit for the number column ${table}.columns.${field} (${type}): ` +
        `{"column": "${reference.column}", "unit": "s"}, or "ms" or "us".`,
      { details: { table, field, type } },
    );
  return `epoch(try_cast(${text} AS TIMESTAMPTZ))`;
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
}
