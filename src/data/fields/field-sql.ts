// One SQL expression per field of a table, so that the import need not know whether a cell came
// from CSV, NDJSON or Parquet.

import { TandemError } from '../../errors.ts';
import { isoSecondsSql } from '../../time.ts';
import { identifier, literal } from '../duckdb.ts';
import { readCell, readListCell } from './id-sql.ts';
import type { ColumnReference, FieldKind, TableName } from '../manifest.ts';
import type { Scan } from '../scan/scan.ts';

const DEFAULT_LIST_DELIMITER = '|';
/** Characters of an unusable cell that are kept for the report. */
const SHOWN_CHARACTERS = 60;

/** The SQL of a mapped field: `columns` are computed over a relation that has `cell`. */
export interface FieldSql {
  /** Column with what the source holds for the field. */
  readonly cell: string;
  readonly columns: string;
}

/** Columns of a field that the source does not map: NULL. */
export function emptyField(field: string, kind: FieldKind): string {
  const name = identifier(field);
  if (kind === 'id' || kind === 'text') return `NULL::VARCHAR AS ${name}`;
  if (kind === 'ids' || kind === 'numbers') return `NULL::VARCHAR[] AS ${name}`;
  return `NULL::DOUBLE AS ${name}, NULL::VARCHAR AS ${identifier(`${field}_text`)}`;
}

/**
 * Columns of a mapped field.
 *
 * - Ids, names and texts are as id-sql.ts reads them. They are NULL when there are none, and
 *   <field>_received then says what came instead, unless nothing came.
 * - Numbers and times are NULL when they cannot be parsed, and keep their text in <field>_text.
 *
 * @throws TandemError ERR_DATASET_INVALID for a time in a number column without a unit, and for a
 *   column whose type holds no text and no numbers, where an id, a name or a text is expected.
 */
export function fieldExpression(
  table: TableName,
  field: string,
  kind: FieldKind,
  reference: ColumnReference,
  scan: Scan,
): FieldSql {
  const type = scan.columns.get(reference.column)!;
  // A JSON pointer: in a JSON path of DuckDB, even a quoted * is a pattern.
  const path = literal(`/${reference.column.replaceAll('~', '~0').replaceAll('/', '~1')}`);
  const source = scan.json ? `json_extract(json, ${path})` : identifier(reference.column);
  const name = identifier(field);
  const nameText = identifier(`${field}_text`);
  const cellName = identifier(`${field}_cell`);
  const cell = `${source} AS ${cellName}`;
  const delimiter = reference.delimiter ?? DEFAULT_LIST_DELIMITER;
  if (kind === 'id' || kind === 'ids' || kind === 'text') {
    const read =
      kind === 'ids' ? readListCell(cellName, type, delimiter) : readCell(kind, cellName, type);
    if (read === undefined) throw unusableColumn(table, field, reference.column, type);
    const shown = `(${read.received}) || ': ' || left(${cellName}::VARCHAR, ${SHOWN_CHARACTERS})`;
    const received = identifier(`${field}_received`);
    return { cell, columns: `${read.value} AS ${name}, ${shown} AS ${received}` };
  }
  const raw = scan.json ? `(${cellName} ->> '$')` : cellName;
  const text = `nullif(trim(${raw}::VARCHAR), '')`;
  if (kind === 'number')
    return {
      cell,
      columns: `try_cast(${text} AS DOUBLE) AS ${name}, ${text} AS ${nameText}`,
    };
  if (kind === 'numbers')
    return { cell, columns: `${numberTexts(cellName, raw, text, type, delimiter)} AS ${name}` };
  const time = timeExpression({ table, field }, raw, text, type, reference);
  return { cell, columns: `${time} AS ${name}, ${text} AS ${nameText}` };
}

/** A list of numbers as texts, of which the checks of import-tables.ts show the bad ones. */
function numberTexts(
  cell: string,
  raw: string,
  text: string,
  type: string,
  delimiter: string,
): string {
  const list = `string_split(${text}, ${literal(delimiter)})`;
  const split = `list_transform(${list}, lambda x: trim(x))`;
  if (type === 'JSON')
    return `CASE json_type(${cell}) WHEN 'ARRAY' THEN from_json(${cell}, '["VARCHAR"]')
      ELSE ${split} END`;
  return type.endsWith(']') ? `${raw}::VARCHAR[]` : split;
}

function unusableColumn(
  table: TableName,
  field: string,
  column: string,
  type: string,
): TandemError {
  return new TandemError(
    'ERR_DATASET_INVALID',
    `Expected text or integers in the column "${column}" for ${table}.columns.${field}, ` +
      `received ${type}. Map another column, or convert this one to text.`,
    { details: { table, field, column, type } },
  );
}

/** Unix seconds of a time in any unit. */
function timeExpression(
  { table, field }: { readonly table: TableName; readonly field: string },
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
  return isoSecondsSql(text);
}
