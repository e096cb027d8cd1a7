// A column of strings as bytes with offsets: a million of them are there at once, and become JavaScript strings one by one,
// when somebody asks. What such a column is made of may be handed to another thread as it is.

import { RowCache } from './row-cache.ts';

/** UTF-8 of all strings one after the other, and where each begins. */
export interface TextBytes {
  readonly blob: Uint8Array;
  /** [N + 1], ascending from 0 to blob.length. */
  readonly offsets: Int32Array;
}

export class TextColumn {
  readonly length: number;
  readonly bytes: TextBytes;
  readonly #strings: RowCache<string>;

  /** @param bytes - well-formed UTF-8; whoever reads it from a file checks that. */
  constructor(bytes: TextBytes) {
    const { blob, offsets } = bytes;
    this.length = offsets.length - 1;
    this.bytes = bytes;
    const buffer = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength);
    this.#strings = new RowCache((row) => buffer.toString('utf8', offsets[row], offsets[row + 1]));
  }

  /** @throws RangeError for a string with a lone surrogate, which UTF-8 cannot hold. */
  static of(values: readonly string[]): TextColumn {
    const joined = values.join('');
    const blob = Buffer.from(joined);
    const offsets = new Int32Array(values.length + 1);
    for (let i = 0; i < values.length; i++)
      offsets[i + 1] = offsets[i]! + Buffer.byteLength(values[i]!);
    // Half of a surrogate pair at the end of one string and half at the start of the next would join into one character.
    if (offsets[values.length] !== blob.length || blob.toString('utf8') !== joined)
      throw new RangeError(
        'Expected well-formed Unicode in every string, received a lone surrogate.',
      );
    return new TextColumn({ blob: new Uint8Array(blob), offsets });
  }

  /** The string of a row; kept, so that it is decoded once. */
  at(row: number): string {
    return this.#strings.at(row);
  }

  all(): string[] {
    return Array.from({ length: this.length }, (_, row) => this.at(row));
  }
}

/** Rows by string, for distinct strings: an open hash table, at most half full. */
export class TextIndex {
  /** [power of two], row or -1. */
  readonly table: Int32Array;
  readonly #column: TextColumn;

  /** @param table - as of() made it for the same column. */
  constructor(column: TextColumn, table: Int32Array) {
    this.#column = column;
    this.table = table;
  }

  /**
   * @param what - that the strings are, for the error.
   * @throws RangeError when one occurs twice.
   */
  static of(column: TextColumn, what: string): TextIndex {
    const { length } = column;
    const table = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(2, 2 * length)))).fill(-1);
    const index = new TextIndex(column, table);
    for (let row = 0; row < length; row++) {
      const place = index.#find(column.at(row));
      if (table[place] !== -1)
        throw new RangeError(
          `Expected ${length} distinct ${what}, received "${column.at(row).slice(0, 64)}" twice.`,
        );
      table[place] = row;
    }
    return index;
  }

  /** Row of a string, or -1. */
  row(text: string): number {
    return this.table[this.#find(text)]!;
  }

  /** The place of a string, or the free one that it would take. */
  #find(text: string): number {
    const mask = this.table.length - 1;
    let place = hash(text) & mask;
    for (;;) {
      const row = this.table[place]!;
      if (row === -1 || this.#column.at(row) === text) return place;
      place = (place + 1) & mask;
    }
  }
}

/** FNV-1a over UTF-16 units, its bits mixed at the end: neighbouring ids would fill neighbouring places otherwise. */
function hash(text: string): number {
  let h = 0x811c_9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x0100_0193);
  h ^= h >>> 15;
  h = Math.imul(h, 0x85eb_ca6b);
  return h ^ (h >>> 13);
}
