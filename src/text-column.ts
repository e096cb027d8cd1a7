// A column of strings as bytes with offsets: a million of them are there at once, and become JavaScript strings one by one, whenever
// somebody asks. None is kept: garbage collections would copy what is answered for the first time, while requests wait, to save
// a fraction of a microsecond each. What a column is made of may be handed to another thread as it is.

const LINE_FEED = 10;
const HASH_START = 0x811c_9dc5;

/** UTF-8 of all strings one after the other, and where each begins. */
export interface TextBytes {
  readonly blob: Uint8Array;
  /** [N + 1], ascending from 0 to blob.length. */
  readonly offsets: Int32Array;
}

export class TextColumn {
  readonly length: number;
  readonly bytes: TextBytes;
  readonly #buffer: Buffer;

  /** @param bytes - well-formed UTF-8; whoever reads it from a file checks that. */
  constructor(bytes: TextBytes) {
    const { blob, offsets } = bytes;
    this.length = offsets.length - 1;
    this.bytes = bytes;
    this.#buffer = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength);
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

  /** The string of a row. */
  at(row: number): string {
    const { offsets } = this.bytes;
    return this.#buffer.toString('utf8', offsets[row], offsets[row + 1]);
  }

  all(): string[] {
    return Array.from({ length: this.length }, (_, row) => this.at(row));
  }

  /** UTF-8 of all strings, a line feed between two; makes no string of any. */
  lines(): Uint8Array {
    const { blob, offsets } = this.bytes;
    const lines = new Uint8Array(blob.length + Math.max(0, this.length - 1)).fill(LINE_FEED);
    for (let row = 0; row < this.length; row++)
      for (let i = offsets[row]!; i < offsets[row + 1]!; i++) lines[i + row] = blob[i]!;
    return lines;
  }

  /** Whether a row holds a string; decodes nothing where either is ASCII. */
  holds(row: number, text: string): boolean {
    const { blob, offsets } = this.bytes;
    const begin = offsets[row]!;
    const byteLength = offsets[row + 1]! - begin;
    // UTF-8 is as long as UTF-16 units are many in ASCII alone, else longer.
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

  /** What hash() gives of the string; makes none of one in ASCII, whose bytes are its UTF-16 units. */
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
    const mask = table.length - 1;
    for (let row = 0; row < length; row++) {
      let place = column.hashAt(row) & mask;
      for (; table[place] !== -1; place = (place + 1) & mask)
        if (column.areSame(table[place]!, row))
          throw new RangeError(
            `Expected ${length} distinct ${what}, received "${column.at(row).slice(0, 64)}" twice.`,
          );
      table[place] = row;
    }
    return new TextIndex(column, table);
  }

  /** Row of a string, or -1. */
  row(text: string): number {
    const mask = this.table.length - 1;
    let place = hash(text) & mask;
    for (;;) {
      const row = this.table[place]!;
      if (row === -1 || this.#column.holds(row, text)) return row;
      place = (place + 1) & mask;
    }
  }
}

/** FNV-1a over UTF-16 units. */
function hash(text: string): number {
  let h = HASH_START;
  for (let i = 0; i < text.length; i++) h = hashed(h, text.charCodeAt(i));
  return mixed(h);
}

function hashed(h: number, unit: number): number {
  return Math.imul(h ^ unit, 0x0100_0193);
}

/** Neighbouring ids would fill neighbouring places otherwise. */
function mixed(h: number): number {
  let bits = h ^ (h >>> 15);
  bits = Math.imul(bits, 0x85eb_ca6b);
  return bits ^ (bits >>> 13);
}
