// A column of strings, stored as bytes with offsets. A column with a million strings loads at once,
// and a row becomes a JavaScript string only when it is read. These strings are not cached: the
// garbage collector would copy them while requests wait, and a cache would save less than a
// microsecond a read. The bytes of a column can be transferred to another thread.

const LINE_FEED = 10;
const HASH_START = 0x811c_9dc5;

/** All strings in UTF-8, one after the other, and the offset of each. */
export interface TextBytes {
  readonly blob: Uint8Array;
  /** [N + 1], ascending from 0 to blob.length. */
  readonly offsets: Int32Array;
}

export class TextColumn {
  readonly length: number;
  readonly bytes: TextBytes;
  readonly #buffer: Buffer;

  /** @param bytes - well-formed UTF-8. Code that reads a column from a file must check this. */
  constructor(bytes: TextBytes) {
    const { blob, offsets } = bytes;
    this.length = offsets.length - 1;
    this.bytes = bytes;
    this.#buffer = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength);
  }

  /**
   * Makes a column of JavaScript strings.
   *
   * @throws RangeError for a string with a lone surrogate, which UTF-8 cannot encode.
   */
  static of(values: readonly string[]): TextColumn {
    const joined = values.join('');
    const blob = Buffer.from(joined);
    const offsets = new Int32Array(values.length + 1);
    for (let i = 0; i < values.length; i++)
      offsets[i + 1] = offsets[i]! + Buffer.byteLength(values[i]!);
    // Two halves of a surrogate pair, at the end of one string and the start of the next, would
    // join into one character.
    if (offsets[values.length] !== blob.length || blob.toString('utf8') !== joined)
      throw new RangeError(
        'Expected well-formed Unicode in every string, received a lone surrogate.',
      );
    return new TextColumn({ blob: new Uint8Array(blob), offsets });
  }

  /** The string in a row. */
  at(row: number): string {
    const { offsets } = this.bytes;
    return this.#buffer.toString('utf8', offsets[row], offsets[row + 1]);
  }

  /** The strings of all rows, in order. */
  all(): string[] {
    return Array.from({ length: this.length }, (_, row) => this.at(row));
  }

  /** All strings in UTF-8, separated by line feeds. Creates no JavaScript strings. */
  lines(): Uint8Array {
    const { blob, offsets } = this.bytes;
    const lines = new Uint8Array(blob.length + Math.max(0, this.length - 1)).fill(LINE_FEED);
    for (let row = 0; row < this.length; row++)
      for (let i = offsets[row]!; i < offsets[row + 1]!; i++) lines[i + row] = blob[i]!;
    return lines;
  }

  /** Whether a row holds this string. Decodes nothing when either of the two is ASCII. */
  holds(row: number, text: string): boolean {
    const { blob, offsets } = this.bytes;
    const begin = offsets[row]!;
    const byteLength = offsets[row + 1]! - begin;
    // UTF-8 has as many bytes as UTF-16 has units only for ASCII. Other text has more bytes.
    if (byteLength !== text.length) return byteLength > text.length && this.at(row) === text;
    for (let i = 0; i < byteLength; i++) {
      const unit = text.charCodeAt(i);
      if (unit >= 0x80 || unit !== blob[begin + i]) return false;
    }
    return true;
  }

  /** Whether two rows hold the same string. */
  areSame(row: number, other: number): boolean {
    const { blob, offsets } = this.bytes;
    const [begin, otherBegin] = [offsets[row]!, offsets[other]!];
    const length = offsets[row + 1]! - begin;
    if (offsets[other + 1]! - otherBegin !== length) return false;
    for (let i = 0; i < length; i++) if (blob[begin + i] !== blob[otherBegin + i]) return false;
    return true;
  }

  /**
   * The value of hash() for the string in a row. Creates no JavaScript string for ASCII, whose
   * bytes are its UTF-16 units.
   */
  hashAt(row: number): number {
    const { blob, offsets } = this.bytes;
    const end = offsets[row + 1]!;
    let h = HASH_START;
    for (let i = offsets[row]!; i < end; i++) {
      const unit = blob[i]!;
      if (unit >= 0x80) return hash(this.at(row));
      h = hashed(h, unit);
    }
    return mixed(h);
  }
}

/**
 * Finds the row of a string. The strings must be distinct. An open hash table, at most half full.
 */
export class TextIndex {
  /** Row or -1; the length is a power of two. */
  readonly table: Int32Array;
  readonly #column: TextColumn;

  /** @param table - the table that of() made for the same column. */
  constructor(column: TextColumn, table: Int32Array) {
    this.#column = column;
    this.table = table;
  }

  /**
   * Builds the table of a column.
   *
   * @param what - plural name of the strings, for the error message.
   * @throws RangeError when a string occurs twice.
   */
  static of(column: TextColumn, what: string): TextIndex {
    const { length } = column;
    const table = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(2, 2 * length)))).fill(-1);
    const mask = table.length - 1;
    for (let row = 0; row < length; row++) {
      let bucket = column.hashAt(row) & mask;
      for (; table[bucket] !== -1; bucket = (bucket + 1) & mask)
        if (column.areSame(table[bucket]!, row))
          throw new RangeError(
            `Expected ${length} distinct ${what}, received "${column.at(row).slice(0, 64)}" twice.`,
          );
      table[bucket] = row;
    }
    return new TextIndex(column, table);
  }

  /** The row of a string; -1 when the column does not have it. */
  row(text: string): number {
    const mask = this.table.length - 1;
    let bucket = hash(text) & mask;
    for (;;) {
      const row = this.table[bucket]!;
      if (row === -1 || this.#column.holds(row, text)) return row;
      bucket = (bucket + 1) & mask;
    }
  }
}

/** FNV-1a over UTF-16 units, followed by mixed(). */
function hash(text: string): number {
  let h = HASH_START;
  for (let i = 0; i < text.length; i++) h = hashed(h, text.charCodeAt(i));
  return mixed(h);
}

function hashed(h: number, unit: number): number {
  return Math.imul(h ^ unit, 0x0100_0193);
}

/** Mixes the bits, because similar ids would otherwise fill neighbouring buckets. */
function mixed(h: number): number {
  let bits = h ^ (h >>> 15);
  bits = Math.imul(bits, 0x85eb_ca6b);
  return bits ^ (bits >>> 13);
}
