// One SQL expression per field of a table, so that the import need not know whether a cell came
// from CSV, NDJSON or Parquet.

import { TandemError } from '../errors.ts';
import { isoSecondsSql } from '../time.ts';
import { identifier, literal } from './duckdb.ts';
import type { ColumnReference, FieldKind, TableName } from './manifest.ts';
import type { Scan } from './scan.ts';

const DEFAULT_LIST_DELIMITER = '|';

/** Columns of a field that the source does not map: NULL. */
export function emptyField(field: string, kind: FieldKind): string {
  if (kind === 'text') return `NULL::VARCHAR AS ${identifier(field)}`;
  if (kind === 'list') return `NULL::VARCHAR[] AS ${identifier(field)}`;
  const text = identifier(`${field}_text`);
  return `NULL::DOUBLE AS ${identifier(field)}, NULL::VARCHAR AS ${text}`;
}

/**
 * Columns of a mapped field. Text is trimmed, and NULL when empty. Numbers and times are NULL when
 * they cannot be parsed, and keep their text in <field>_text.
 *
 * @throws TandemError ERR_DATASET_INVALID for a time in a number column without a unit.
 */
export function fieldExpression(
  table: TableName,
  field: string,
  kind: FieldKind,
  reference: ColumnReference,
  scan: Scan,
): string {
  const type = scan.columns.get(reference.column)!;
  const path = literal(`$."${reference.column.replaceAll('"', '\\"')}"`);
  const raw = scan.json ? `json_extract_string(json, ${path})` : identifier(reference.column);
  const isFloat = type === 'DOUBLE' || type === 'FLOAT';
  const text = `nullif(trim(${isFloat ? integralText(raw) : `${raw}::VARCHAR`}), '')`;
  const name = identifier(field);
  const nameText = identifier(`${field}_text`);
  if (kind === 'text') return `${text} AS ${name}`;
  if (kind === 'number') return `try_cast(${text} AS DOUBLE) AS ${name}, ${text} AS ${nameText}`;
  if (kind === 'list') {
    const delimiter = literal(reference.delimiter ?? DEFAULT_LIST_DELIMITER);
    const split = `list_transform(string_split(${text}, ${delimiter}), lambda x: trim(x))`;
    if (scan.json)
      return `CASE json_type(json, ${path})
        WHEN 'ARRAY' THEN from_json(json_extract(json, ${path}), '["VARCHAR"]')
        ELSE ${split} END AS ${name}`;
    if (type.endsWith(']')) return `${raw}::VARCHAR[] AS ${name}`;
    return `${split} AS ${name}`;
  }
  const time = timeExpression({ table, field }, raw, text, type, reference);
  return `${time} AS ${name}, ${text} AS ${nameText}`;
}

/**
 * A float as text, without ".0" for whole numbers: spreadsheets and data frames turn a column of
 * integer ids with gaps into floats, and the identifier in 17850.0 is 17850.
 */
function integralText(raw: string): string {
  const isIntegral = `${raw} = trunc(${raw}) AND abs(${raw}) < 9e15`;
  return `CASE WHEN ${isIntegral} THEN (${raw}::BIGINT)::VARCHAR ELSE ${raw}::VARCHAR END`;
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
