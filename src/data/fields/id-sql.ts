// The rule of ids.ts in SQL: how a cell of any type becomes an id, a name or a text, and what came
// where none can be read. id-sql.test.ts holds both to the same verdicts.

import {
  ID_PATTERNS,
  MAX_EXACT_DOUBLE,
  MAX_EXACT_FLOAT,
  MAX_ID_BYTES,
  MAX_TEXT_BYTES,
  NAN_TEXTS,
  RECEIVED,
  WHITE_SPACE,
} from '../../ids.ts';
import { literal } from '../duckdb.ts';

/** Two SQL expressions over a cell. At most one of them is not NULL; both are for no value. */
export interface ReadCell {
  /** The id, name or text, VARCHAR; for a list of them VARCHAR[]. */
  readonly value: string;
  /** What came instead, in the words of RECEIVED. */
  readonly received: string;
}

type CellKind = 'id' | 'text';

const nanTexts = NAN_TEXTS.map(literal).join(', ');
const plain = literal(ID_PATTERNS.plain);
/** The JSON of most ids. */
const plainJson = literal(`"${ID_PATTERNS.plain}"|[1-9][0-9]*`);
const nanJson = NAN_TEXTS.map((text) => literal(JSON.stringify(text))).join(', ');
const control = literal(ID_PATTERNS.control);
const exponent = literal(ID_PATTERNS.exponent);
const wholeFloat = literal(ID_PATTERNS.wholeFloat);

/**
 * Reads a cell as an id or a name, or as a text.
 *
 * @param cell - SQL expression of the cell; evaluated several times.
 * @param type - SQL type of the cell.
 * @returns undefined for a type that holds no text and no numbers.
 */
export function readCell(kind: CellKind, cell: string, type: string): ReadCell | undefined {
  if (type === 'JSON') return readJson(kind, cell);
  if (type === 'VARCHAR') return readText(kind, cell);
  if (type === 'UUID' || type.startsWith('ENUM')) return readText(kind, `${cell}::VARCHAR`);
  if (type === 'BLOB') return readBytes(kind, cell);
  if (/^U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|^BIGNUM$/.test(type))
    return { value: `${cell}::VARCHAR`, received: 'NULL' };
  if (type === 'DOUBLE') return readFloat(cell, MAX_EXACT_DOUBLE);
  if (type === 'FLOAT') return readFloat(`${cell}::DOUBLE`, MAX_EXACT_FLOAT);
  if (type.startsWith('DECIMAL')) return readDecimal(cell);
  return undefined;
}

/**
 * Reads a cell as a list of ids or names: a list, or one text that is split at the delimiter. The
 * list keeps entries without a value as NULL.
 */
export function readListCell(cell: string, type: string, delimiter: string): ReadCell | undefined {
  if (type === 'JSON') {
    const elements = readElements(`from_json(${cell}, '["JSON"]')`, 'JSON')!;
    const parts = readElements(split(`(${cell} ->> '$')`, delimiter), 'VARCHAR')!;
    const one = readJson('id', cell);
    const choose = (list: string, texts: string, single: string): string =>
      `CASE json_type(${cell}) WHEN 'ARRAY' THEN ${list} WHEN 'VARCHAR' THEN ${texts}
        ELSE ${single} END`;
    return {
      value: choose(elements.value, parts.value, listOf(one.value)),
      received: choose(elements.received, parts.received, one.received),
    };
  }
  const element = /^(.*)\[\d*\]$/s.exec(type)?.[1];
  if (element !== undefined) return readElements(`${cell}::${element}[]`, element);
  if (type === 'VARCHAR') return readElements(split(cell, delimiter), 'VARCHAR');
  const one = readCell('id', cell, type);
  return one && { value: listOf(one.value), received: one.received };
}

function split(text: string, delimiter: string): string {
  return `string_split(${text}, ${literal(delimiter)})`;
}

function listOf(value: string): string {
  return `CASE WHEN ${value} IS NOT NULL THEN [${value}] END`;
}

function readElements(list: string, type: string): ReadCell | undefined {
  const element = readCell('id', 'element', type);
  if (element === undefined) return undefined;
  const received = `list_transform(${list}, lambda element: ${element.received})`;
  return {
    value: `list_transform(${list}, lambda element: ${element.value})`,
    received: `list_filter(${received}, lambda reason: reason IS NOT NULL)[1]`,
  };
}

function readText(kind: CellKind, cell: string): ReadCell {
  const text = `trim(${cell}, ${literal(WHITE_SPACE)})`;
  if (kind === 'text') {
    const isLong = `strlen(${text}) > ${MAX_TEXT_BYTES}`;
    return {
      value: `CASE WHEN NOT ${isLong} THEN nullif(${text}, '') END`,
      received: `CASE WHEN ${isLong} THEN ${literal(RECEIVED.longText)} END`,
    };
  }
  const isPlain = `regexp_full_match(${cell}, ${plain}) AND ${cell} NOT IN (${nanTexts})
    AND strlen(${cell}) <= ${MAX_ID_BYTES}`;
  // In the order of readId().
  const received = `CASE WHEN ${isPlain} OR ${text} IN ('', ${nanTexts}) THEN NULL
    WHEN regexp_matches(${text}, ${control}) THEN ${literal(RECEIVED.control)}
    WHEN strlen(${text}) > ${MAX_ID_BYTES} THEN ${literal(RECEIVED.longId)}
    WHEN regexp_matches(${text}, ${exponent}) THEN ${literal(RECEIVED.exponent)} END`;
  return {
    value: `CASE WHEN ${isPlain} THEN ${cell}
      WHEN ${text} NOT IN ('', ${nanTexts}) AND (${received}) IS NULL
      THEN regexp_replace(${text}, ${wholeFloat}, '\\1\\2') END`,
    received,
  };
}

/** Parquet files of some writers have text in columns of bytes. */
function readBytes(kind: CellKind, cell: string): ReadCell {
  const { value, received } = readText(kind, `try(decode(${cell}))`);
  const isText = `try(decode(${cell})) IS NOT NULL`;
  return {
    value,
    received: `CASE WHEN ${isText} THEN ${received}
      WHEN ${cell} IS NOT NULL THEN ${literal(RECEIVED.unicode)} END`,
  };
}

/** @param most - the integer up to which the type of the cell is exact. */
function readFloat(cell: string, most: number): ReadCell {
  const refused = `CASE WHEN NOT isfinite(${cell}) THEN NULL
    WHEN ${cell} <> trunc(${cell}) THEN ${literal(RECEIVED.fraction)}
    WHEN abs(${cell}) > ${most} THEN ${literal(RECEIVED.inexact)} END`;
  return {
    value: `CASE WHEN isfinite(${cell}) AND (${refused}) IS NULL
      THEN (${cell}::BIGINT)::VARCHAR END`,
    received: refused,
  };
}

function readDecimal(cell: string): ReadCell {
  const isWhole = `${cell} = trunc(${cell})`;
  return {
    value: `CASE WHEN ${isWhole} THEN regexp_replace(${cell}::VARCHAR, '\\.0+$', '') END`,
    received: `CASE WHEN NOT ${isWhole} THEN ${literal(RECEIVED.fraction)} END`,
  };
}

/** JSON has integers of any length; DuckDB calls those beyond 64 bits DOUBLE and keeps the text. */
function readJson(kind: CellKind, cell: string): ReadCell {
  const unquoted = `(${cell} ->> '$')`;
  const text = readText(kind, unquoted);
  const json = `${cell}::VARCHAR`;
  // Three times as fast as taking every cell apart.
  const isPlain = `regexp_full_match(${json}, ${plainJson}) AND ${json} NOT IN (${nanJson})
    AND strlen(${json}) <= ${MAX_ID_BYTES}`;
  const isDigits = `regexp_matches(${unquoted}, '^-?[0-9]+$')`;
  const isLong = `strlen(${unquoted}) > ${MAX_ID_BYTES}`;
  const float = readFloat(`try_cast(${unquoted} AS DOUBLE)`, MAX_EXACT_DOUBLE);
  return {
    value: `CASE WHEN ${isPlain} THEN replace(${json}, '"', '')
      ELSE CASE json_type(${cell}) WHEN 'VARCHAR' THEN ${text.value}
      WHEN 'BIGINT' THEN ${unquoted} WHEN 'UBIGINT' THEN ${unquoted}
      WHEN 'DOUBLE' THEN CASE WHEN NOT ${isDigits} THEN ${float.value}
        WHEN NOT ${isLong} THEN ${unquoted} END END END`,
    received: `CASE WHEN ${isPlain} THEN NULL
      ELSE CASE json_type(${cell}) WHEN 'VARCHAR' THEN ${text.received}
      WHEN 'DOUBLE' THEN CASE WHEN NOT ${isDigits} THEN ${float.received}
        WHEN ${isLong} THEN ${literal(RECEIVED.longId)} END
      WHEN 'BOOLEAN' THEN ${literal(RECEIVED.boolean)}
      WHEN 'OBJECT' THEN ${literal(RECEIVED.object)}
      WHEN 'ARRAY' THEN ${literal(RECEIVED.list)} END END`,
  };
}
