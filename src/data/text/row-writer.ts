// Writes the mapped cells of rows in the one form in which DuckDB reads text: fields between unit
// separators, without quotes, one row a line. What has a meaning in that form is escaped.

import { literal } from '../duckdb.ts';
import type { RowSplitter } from './row-splitter.ts';

/** ASCII's own control characters for the purpose; either may occur in a cell, escaped. */
const FIELD_SEPARATOR = 0x1f;
const ESCAPE = 0x1e;

/** Letter that follows the escape, by the byte that they stand for. */
const ESCAPES: readonly (readonly [byte: number, letter: string])[] = [
  [0x00, '0'],
  [0x0a, 'n'],
  [0x0d, 'r'],
  [FIELD_SEPARATOR, 'u'],
  // Last: the escape of the escape must be read back after all others.
  [ESCAPE, 'e'],
];

const LETTERS = new Uint8Array(256);
for (const [byte, letter] of ESCAPES) LETTERS[byte] = letter.charCodeAt(0);

/** DuckDB's limit of a row in bytes unless it is told another one. */
const DUCKDB_ROW_BYTES = 2_000_000;

export class RowWriter {
  /** Rows written so far. */
  rows = 0;
  #buffer = Buffer.allocUnsafe(2 ** 20);
  #used = 0;
  #longestBytes = 0;
  #escaped = false;

  /**
   * Adds a row.
   *
   * @param number - its number, which becomes the first field.
   * @param splitter - has split the row, which is in `data`.
   * @param columns - positions of the cells to write.
   */
  add(number: number, data: Uint8Array, splitter: RowSplitter, columns: readonly number[]): void {
    const { starts, ends, doubled, quote } = splitter;
    let bytes = 24;
    for (const column of columns) bytes += 2 * (ends[column]! - starts[column]!) + 1;
    this.#reserve(bytes);
    const begin = this.#used;
    let used = begin + this.#buffer.write(String(number), begin, 'latin1');
    const buffer = this.#buffer;
    for (const column of columns) {
      buffer[used++] = FIELD_SEPARATOR;
      const end = ends[column]!;
      const hasDoubled = doubled[column] === 1;
      for (let at = starts[column]!; at < end; at++) {
        const byte = data[at]!;
        const letter = LETTERS[byte]!;
        if (letter === 0) buffer[used++] = byte;
        else {
          this.#escaped = true;
          buffer[used++] = ESCAPE;
          buffer[used++] = letter;
        }
        if (hasDoubled && byte === quote) at++;
      }
    }
    buffer[used++] = 0x0a;
    this.#longestBytes = Math.max(this.#longestBytes, used - begin);
    this.#used = used;
    this.rows++;
  }

  /** The bytes since the last call; they are overwritten by the next `add`. */
  take(): Buffer {
    const bytes = this.#buffer.subarray(0, this.#used);
    this.#used = 0;
    return bytes;
  }

  /**
   * SELECT that reads a file of written rows back: source_row BIGINT, then c0, c1, ... VARCHAR,
   * which are NULL where the cell is empty.
   */
  select(path: string, columns: number): string {
    const names = Array.from({ length: columns }, (_, column) => `c${column}`);
    const types = ["'source_row': 'BIGINT'", ...names.map((name) => `'${name}': 'VARCHAR'`)];
    const cells = names.map((name) => (this.#escaped ? `${unescaped(name)} AS ${name}` : name));
    const limit =
      this.#longestBytes >= DUCKDB_ROW_BYTES ? `, max_line_size = ${this.#longestBytes + 1}` : '';
    return `SELECT ${['source_row', ...cells].join(', ')}
      FROM read_csv(${path}, auto_detect = false, columns = {${types.join(', ')}},
        delim = ${literal(String.fromCharCode(FIELD_SEPARATOR))}, quote = '', escape = '',
        header = false, new_line = '\\n',
        hive_partitioning = false${limit})`;
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(2 * this.#buffer.length + bytes);
    larger.set(this.#buffer.subarray(0, this.#used));
    this.#buffer = larger;
  }
}

function unescaped(column: string): string {
  return ESCAPES.reduce(
    (sql, [byte, letter]) =>
      `replace(${sql}, ${literal(String.fromCharCode(ESCAPE) + letter)}, chr(${byte}))`,
    column,
  );
}
