// UTF-8 put together in one buffer that is used again: an answer names a hundred items, whose ids are there as bytes. As strings they
// would be made, joined, made bytes again and collected: bench/serve/answer-bodies.ts prints what an answer costs.

import type { TextColumn } from '../../text-column.ts';

const FIRST_BYTES = 16_384;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTED = 0x20;
const FIRST_BEYOND_ASCII = 0x80;
const ZERO = 0x30;
/** UTF-8 of a UTF-16 unit is that long at most. */
const BYTES_OF_UNIT = 3;

export class TextWriter {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;
  #isAscii = true;

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
    this.#isAscii = true;
  }

  /** @param text - short, and of ASCII alone. */
  ascii(text: string): void {
    this.#reserve(text.length);
    const bytes = this.#bytes;
    let at = this.#length;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.#length = at;
  }

  text(text: string): void {
    this.#reserve(BYTES_OF_UNIT * text.length);
    const written = this.#bytes.write(text, this.#length, 'utf8');
    this.#isAscii &&= written === text.length;
    this.#length += written;
  }

  /** The string of a row. @returns whether JSON would write these bytes as they are. */
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

  /** The string of a row as JSON. */
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

  /** A whole number from 0 to 2^31 - 1, in so many digits. */
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

  /** @param target - with room for `length` from `at` on. */
  copyTo(target: Uint8Array, at: number): void {
    this.#bytes.copy(target, at, 0, this.#length);
  }

  #reserve(more: number): void {
    const wanted = this.#length + more;
    if (wanted <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(2 ** Math.ceil(Math.log2(wanted)));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
