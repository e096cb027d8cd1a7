// Splits UTF-8 bytes into rows of cells. Header and rows of CSV files go through this one parser;
// NDJSON is the case without delimiter and quote, in which a row is a line of one cell.

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const NO_BYTE = -1;

/** `split` needs bytes after the end of `data` to know where the row ends. */
export const INCOMPLETE = -1;
/** A quoted cell does not end. */
const OPEN = -2;

/**
 * A splitter for one delimiter and quote.
 *
 * - A line ends with LF, CR LF or CR; one file may mix them.
 * - A quote counts where a cell begins. A quoted cell may hold delimiters, line breaks of any kind,
 *   and quotes that are doubled. Spaces around a quoted cell are dropped.
 * - A quote elsewhere is text.
 */
export class RowSplitter {
  /** Cells of the last row: cell c is [starts[c], ends[c]) of the data, without its quotes. */
  cells = 0;
  starts: Int32Array = new Int32Array(64);
  ends: Int32Array = new Int32Array(64);
  /** 1 where the cell has doubled quotes. */
  doubled: Uint8Array = new Uint8Array(64);
  /** Line ends in the last row, its own included. */
  lineEnds = 0;
  /** Why the last row has no cells that make sense; its end then is not meant. */
  problem: 'open quote' | 'text after a closing quote' | undefined;
  /** Byte of the quote; NO_BYTE for none. */
  readonly quote: number;
  readonly #delimiter: Uint8Array;
  readonly #first: number;
  /** 1 for bytes at which an unquoted cell may end. */
  readonly #stops = new Uint8Array(256);

  /**
   * @param delimiter - text between cells; empty when a line is one cell.
   * @param quote - one ASCII character, or empty.
   */
  constructor(delimiter: string, quote: string) {
    this.#delimiter = Buffer.from(delimiter, 'utf8');
    this.#first = this.#delimiter[0] ?? NO_BYTE;
    this.quote = quote === '' ? NO_BYTE : quote.charCodeAt(0);
    for (const byte of [LINE_FEED, CARRIAGE_RETURN, this.#first])
      if (byte !== NO_BYTE) this.#stops[byte] = 1;
  }

  /**
   * Splits the row that starts at `start`.
   *
   * @param final - whether nothing comes after `data`.
   * @returns the offset after the row, or INCOMPLETE.
   */
  split(data: Uint8Array, start: number, final: boolean): number {
    this.cells = 0;
    this.lineEnds = 0;
    this.problem = undefined;
    const { length } = data;
    let at = start;
    for (;;) {
      const quoteAt = this.#openingQuote(data, at);
      if (quoteAt !== NO_BYTE) {
        at = this.#quotedCell(data, quoteAt + 1, final);
        if (at === INCOMPLETE) return INCOMPLETE;
        if (at === OPEN) {
          this.problem = 'open quote';
          return length;
        }
        if (this.#first !== SPACE) while (data[at] === SPACE) at++;
        if (at >= length) return final ? length : INCOMPLETE;
      } else {
        const begin = at;
        for (;;) {
          while (at < length && this.#stops[data[at]!] === 0) at++;
          if (at >= length || data[at] !== this.#first) break;
          if (at + this.#delimiter.length > length && !final) return INCOMPLETE;
          if (this.#isDelimiter(data, at)) break;
          at++;
        }
        if (at >= length && !final) return INCOMPLETE;
        this.#add(begin, at, 0);
        if (at >= length) return length;
      }
      const byte = data[at]!;
      if (byte === LINE_FEED || byte === CARRIAGE_RETURN) {
        const end = afterLineEnd(data, at, final);
        this.lineEnds++;
        return end;
      }
      if (at + this.#delimiter.length > length && !final) return INCOMPLETE;
      if (!this.#isDelimiter(data, at)) {
        this.problem = 'text after a closing quote';
        return at;
      }
      at += this.#delimiter.length;
    }
  }

  /** Offset of the quote that opens the cell at `at`, after spaces; NO_BYTE without one. */
  #openingQuote(data: Uint8Array, at: number): number {
    if (this.quote === NO_BYTE) return NO_BYTE;
    let quoteAt = at;
    if (this.#first !== SPACE) while (data[quoteAt] === SPACE) quoteAt++;
    return data[quoteAt] === this.quote ? quoteAt : NO_BYTE;
  }

  /** Adds the cell after an opening quote; returns the offset after its closing quote, or OPEN. */
  #quotedCell(data: Uint8Array, begin: number, final: boolean): number {
    const { length } = data;
    let doubled = 0;
    for (let at = begin; at < length; at++) {
      const byte = data[at]!;
      if (byte === this.quote) {
        if (at + 1 >= length && !final) return INCOMPLETE;
        if (data[at + 1] !== this.quote) {
          this.#add(begin, at, doubled);
          return at + 1;
        }
        doubled = 1;
        at++;
      } else if (byte === LINE_FEED) this.lineEnds++;
      else if (byte === CARRIAGE_RETURN && data[at + 1] !== LINE_FEED) this.lineEnds++;
    }
    return final ? OPEN : INCOMPLETE;
  }

  #isDelimiter(data: Uint8Array, at: number): boolean {
    for (let i = 0; i < this.#delimiter.length; i++)
      if (data[at + i] !== this.#delimiter[i]) return false;
    return this.#delimiter.length > 0;
  }

  #add(start: number, end: number, doubled: number): void {
    if (this.cells === this.starts.length) {
      this.starts = grown(this.starts, new Int32Array(2 * this.cells));
      this.ends = grown(this.ends, new Int32Array(2 * this.cells));
      this.doubled = grown(this.doubled, new Uint8Array(2 * this.cells));
    }
    this.starts[this.cells] = start;
    this.ends[this.cells] = end;
    this.doubled[this.cells] = doubled;
    this.cells++;
  }
}

/**
 * Offset after the line that `from` is in.
 *
 * @returns INCOMPLETE when the line does not end in `data`, or when its CR may be that of a CR LF.
 */
export function nextLine(data: Buffer, from: number, final: boolean): number {
  const feed = data.indexOf(LINE_FEED, from);
  const end = feed === -1 ? data.length : feed;
  const carriageReturn = data.subarray(from, end).indexOf(CARRIAGE_RETURN);
  if (carriageReturn !== -1) return afterLineEnd(data, from + carriageReturn, final);
  return feed === -1 ? INCOMPLETE : feed + 1;
}

function afterLineEnd(data: Uint8Array, at: number, final: boolean): number {
  if (data[at] === LINE_FEED) return at + 1;
  if (at + 1 >= data.length && !final) return INCOMPLETE;
  return data[at + 1] === LINE_FEED ? at + 2 : at + 1;
}

function grown<T extends Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
