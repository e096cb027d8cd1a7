// Writes UTF-8 text into one buffer that is used again. An answer names a hundred items, whose ids
// the catalogue has as bytes, so the bytes are copied and no strings are made, joined, encoded and
// collected. bench/serve/answer-bodies.ts measures an answer.

import type { TextColumn } from '../../text-column.ts';

const FIRST_BYTES = 16_384;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTED = 0x20;
const FIRST_BEYOND_ASCII = 0x80;
const ZERO = 0x30;
/** Most UTF-8 bytes of a UTF-16 unit. */
const BYTES_OF_UNIT = 3;

export class TextWriter {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;
  #isAscii = true;

  /** Number of bytes written so far. */
  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
    this.#isAscii = true;
  }

  /** Writes a short string of ASCII characters. */
  ascii(text: string): void {
    this.#reserve(text.length);
    const bytes = this.#bytes;
    let at = this.#length;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.#length = at;
  }

  /** Writes any string. */
  text(text: string): void {
    this.#reserve(BYTES_OF_UNIT * text.length);
    const written = this.#bytes.write(text, this.#length, 'utf8');
    this.#isAscii &&= written === text.length;
    this.#length += written;
  }

  /**
   * Writes the string of a row.
   *
   * @returns whether JSON would write these bytes unchanged.
   */
  copy({ bytes: { blob, offsets } }: TextColumn, row: number): boolean {
    const begin = offsets[row]!;
    const end = offsets[row + 1]!;
    this.#reserve(end - begin);
    const bytes = this.#bytes;
    let at = this.#length;
    let isPlain = true;
    let union = 0;
    for (let i = begin; i < end; i++) {
      const byte = blob[i]!;
      bytes[at++] = byte;
      union |= byte;
      if (byte < FIRST_PRINTED || byte === QUOTE || byte === BACKSLASH) isPlain = false;
    }
    this.#isAscii &&= union < FIRST_BEYOND_ASCII;
    this.#length = at;
    return isPlain;
  }

  /** Writes the string of a row as JSON. */
  quote(column: TextColumn, row: number): void {
    const start = this.#length;
    this.ascii('"');
    if (this.copy(column, row)) {
      this.ascii('"');
      return;
    }
    this.#length = start;
    this.text(JSON.stringify(column.at(row)));
  }

  /** Writes a whole number from 0 to 2^31 - 1 with `places` digits and leading zeros. */
  digits(value: number, places: number): void {
    this.#reserve(places);
    const bytes = this.#bytes;
    let rest = value;
    for (let at = this.#length + places - 1; at >= this.#length; at--) {
      const tenth = (rest / 10) | 0;
      bytes[at] = ZERO + rest - 10 * tenth;
      rest = tenth;
    }
    this.#length += places;
  }

  toString(): string {
    return this.#bytes.toString(this.#isAscii ? 'latin1' : 'utf8', 0, this.#length);
  }

  /**
   * Copies all bytes.
   *
   * @param target - must have room for `length` bytes from `offset` on.
   */
  copyTo(target: Uint8Array, offset: number): void {
    this.#bytes.copy(target, offset, 0, this.#length);
  }

  #reserve(extraBytes: number): void {
    const wanted = this.#length + extraBytes;
    if (wanted <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(2 ** Math.ceil(Math.log2(wanted)));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
