// Reads the text files of a table once, row by row, and writes the mapped cells to one file for
// DuckDB. What is not a row is left out here, and counted in lines of the file.

import { isUtf8 } from 'node:buffer';
import { open, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { TandemError } from '../../errors.ts';
import type { RejectedRow } from '../dataset-file.ts';
import type { ColumnReference, TableName } from '../manifest.ts';
import { layoutOf, type RowLayout } from './header.ts';
import { INCOMPLETE, nextLine, RowSplitter } from './row-splitter.ts';
import { RowWriter } from './row-writer.ts';
import { readText, type TextEncoding } from './text-bytes.ts';

/** Longest row, in bytes of UTF-8. A longer one is left out. */
const MAX_ROW_BYTES = 2_097_152;

const MALFORMED = 'malformed line';
export const NOT_UTF8 = 'not UTF-8';
const TOO_LONG = 'row longer than 2 MiB';

const SAMPLES_PER_REASON = 3;
const SAMPLE_BYTES = 240;
const EMPTY = Buffer.alloc(0);

export interface TextFormat {
  /** Empty for NDJSON. */
  readonly delimiter: string;
  readonly quote: string;
  readonly encoding: TextEncoding;
  /** Whether the first row of each file names the columns. */
  readonly header: boolean;
  /** Column names without a header; undefined: column0, column1, ... for the first row's cells. */
  readonly columns?: readonly string[] | undefined;
  /** Called with the first 64 bytes of a file, after empty lines. It may throw. */
  readonly checkStart?: (path: string, text: string) => void;
}

/** Lines that are left out for one reason. */
export interface RejectedLines {
  readonly reason: string;
  count: number;
  readonly samples: RejectedRow[];
}

export interface TextFile {
  readonly path: string;
  /** Number of its first line; lines are numbered through all files of a table. */
  readonly firstLine: number;
  /** Line of the file at which its last row starts. */
  readonly lastLine: number;
  /** Its last row, when no line end follows it. */
  readonly unended: string | undefined;
}

export interface TextTable {
  readonly writer: RowWriter;
  readonly files: readonly TextFile[];
  readonly rejected: readonly RejectedLines[];
}

/**
 * Reads the text files of a table into the file `target`.
 *
 * A line that is not part of a good row is left out alone: reading resumes at the line after it, so
 * a quote that nobody closes costs one line.
 *
 * @param references - mapped columns by field, in the order in which they are written.
 * @throws TandemError ERR_DATASET_INVALID for an empty file, a bad header and a file that was cut
 *   short.
 */
export async function readTextTable(
  table: TableName,
  paths: readonly string[],
  format: TextFormat,
  references: Readonly<Record<string, ColumnReference>>,
  target: string,
): Promise<TextTable> {
  const output = await open(target, 'w');
  const common: Common = {
    table,
    format,
    references,
    writer: new RowWriter(),
    rejected: new Map(),
  };
  const files: TextFile[] = [];
  try {
    let firstLine = 1;
    for (const path of paths) {
      const reader = new FileReader(common, path, firstLine);
      const unended = await reader.read(output);
      files.push({ path, firstLine, lastLine: reader.line - firstLine + 1, unended });
      firstLine = reader.line + 1;
    }
  } finally {
    await output.close();
  }
  return { writer: common.writer, files, rejected: [...common.rejected.values()] };
}

/** What the files of a table share. */
interface Common {
  readonly table: TableName;
  readonly format: TextFormat;
  readonly references: Readonly<Record<string, ColumnReference>>;
  readonly writer: RowWriter;
  readonly rejected: Map<string, RejectedLines>;
}

class FileReader {
  /** Number of the line at which the next row starts. */
  line: number;
  readonly #common: Common;
  readonly #path: string;
  readonly #firstLine: number;
  readonly #splitter: RowSplitter;
  #layout: RowLayout | undefined;
  #isEmpty = true;
  /** Inside the rest of a line that was too long. */
  #isSkipping = false;
  /** The last row, when it is not a good row that a line end follows. */
  #last: LastRow | undefined;

  constructor(common: Common, path: string, firstLine: number) {
    this.#common = common;
    this.#path = path;
    this.line = firstLine;
    this.#firstLine = firstLine;
    const { delimiter, quote, header, columns } = common.format;
    this.#splitter = new RowSplitter(delimiter, quote);
    if (!header && columns !== undefined) this.#layout = this.#layoutOf(columns);
  }

  /** Reads the file and writes its rows; returns the last row when no line end follows it. */
  async read(output: FileHandle): Promise<string | undefined> {
    const { format, writer } = this.#common;
    let rest: Buffer = EMPTY;
    for await (const block of readText(this.#path, format.encoding)) {
      const data = rest.length === 0 ? block : Buffer.concat([rest, block]);
      rest = data.subarray(this.#rows(data, false));
      await output.writeFile(writer.take());
    }
    this.#rows(rest, true);
    await output.writeFile(writer.take());
    return this.#finish();
  }

  /** Reads the rows in `data`; returns the offset of what is left for the next block. */
  #rows(data: Buffer, final: boolean): number {
    const splitter = this.#splitter;
    const isText = isUtf8(data.subarray(0, final ? data.length : lastCharacter(data)));
    let at = 0;
    while (at < data.length) {
      if (this.#isSkipping) {
        const next = nextLine(data, at, final);
        // A CR at the end of the block may be the first half of a line end.
        if (next === INCOMPLETE && !final) return data.length - (data.at(-1) === 0x0d ? 1 : 0);
        this.#isSkipping = false;
        this.line++;
        at = next === INCOMPLETE ? data.length : next;
        continue;
      }
      const end = splitter.split(data, at, final);
      if (end === INCOMPLETE && data.length - at <= MAX_ROW_BYTES) return at;
      if (this.#isEmpty && !isBlank(data, at, end === INCOMPLETE ? data.length : end)) {
        this.#isEmpty = false;
        this.#common.format.checkStart?.(this.#path, data.toString('utf8', at, at + 64));
      }
      let next: number;
      if (end === INCOMPLETE || end - at > MAX_ROW_BYTES) next = this.#tooLong(data, at, final);
      else if (splitter.problem !== undefined)
        next = this.#malformed(data, at, final, splitter.problem);
      else if (splitter.cells === 1 && isBlank(data, at, end)) next = this.#advance(end);
      else if (!isText && !isUtf8(data.subarray(at, end))) next = this.#notUtf8(data, at, end);
      else next = this.#row(data, at, end, final);
      if (next === INCOMPLETE) return at;
      at = next;
    }
    return at;
  }

  /** Takes a split row: as the header, as a row to write, or as one with too many or few cells. */
  #row(data: Buffer, at: number, end: number, final: boolean): number {
    const { format, writer } = this.#common;
    const { cells } = this.#splitter;
    if (this.#layout === undefined && format.header) {
      this.#layout = this.#layoutOf(this.#texts(data));
      return this.#advance(end);
    }
    this.#layout ??= this.#layoutOf(Array.from({ length: cells }, (_, i) => `column${i}`));
    const { positions, minCells, maxCells } = this.#layout;
    if (cells < minCells || (cells > maxCells && this.#hasText(maxCells)))
      return this.#malformed(data, at, final, `${cells} cells instead of ${minCells}`);
    writer.add(this.line, data, this.#splitter, positions);
    this.#last = isLineEnd(data, end)
      ? undefined
      : { line: this.line, text: data.toString('utf8', at, end), isEnded: false };
    return this.#advance(end);
  }

  #advance(end: number): number {
    this.line += this.#splitter.lineEnds;
    return end;
  }

  /**
   * Leaves out the line at `at`, which is no row or the begin of none.
   *
   * @returns the offset of the line after it; INCOMPLETE when `data` does not have its end.
   */
  #malformed(data: Buffer, at: number, final: boolean, problem: string): number {
    const next = nextLine(data, at, final);
    if (next === INCOMPLETE && !final)
      return data.length - at > MAX_ROW_BYTES ? this.#tooLong(data, at, final) : INCOMPLETE;
    const end = next === INCOMPLETE ? data.length : next;
    this.#refuse(MALFORMED, data, at, end, 1, problem);
    // A quote that is open at the end of the file stays the reason until a good row follows.
    if (this.#last?.problem !== 'open quote')
      this.#last = { line: this.line, text: '', problem, isEnded: isLineEnd(data, end) };
    this.line++;
    return end;
  }

  /** Leaves out a line that is too long, or the first line of a row that is. */
  #tooLong(data: Buffer, at: number, final: boolean): number {
    const next = nextLine(data, at, final);
    if (next !== INCOMPLETE && next - at <= MAX_ROW_BYTES)
      return this.#malformed(data, at, final, 'no end of a quoted cell within 2 MiB');
    this.#refuse(TOO_LONG, data, at, data.length, 1);
    this.#last = undefined;
    if (next === INCOMPLETE) {
      this.#isSkipping = true;
      return at + MAX_ROW_BYTES;
    }
    this.line++;
    return next;
  }

  #notUtf8(data: Buffer, at: number, end: number): number {
    this.#refuse(NOT_UTF8, data, at, end, this.#splitter.lineEnds);
    const isHalf = end === data.length && isUtf8(data.subarray(at, lastCharacter(data)));
    const problem = 'the last character is incomplete';
    this.#last = isHalf ? { line: this.line, text: '', problem, isEnded: false } : undefined;
    return this.#advance(end);
  }

  #refuse(
    reason: string,
    data: Buffer,
    start: number,
    end: number,
    lines: number,
    problem?: string,
  ): void {
    const text = data
      .toString('utf8', start, Math.min(end, start + SAMPLE_BYTES))
      .split(/[\r\n]/, 1)[0]!;
    const value = problem === undefined ? text : `${problem}: ${text}`;
    const line = this.line - this.#firstLine + 1;
    if (this.#layout === undefined && this.#common.format.header)
      throw this.#invalid(
        `Expected column names in line ${line} of ${basename(this.#path)}, received a ` +
          `${reason} (${value.slice(0, 80)}).${remedyOf(reason)}`,
      );
    const { rejected } = this.#common;
    const entry = rejected.get(reason) ?? { reason, count: 0, samples: [] };
    rejected.set(reason, entry);
    entry.count += Math.max(1, lines);
    if (entry.samples.length < SAMPLES_PER_REASON)
      entry.samples.push({ file: this.#path, line, value });
  }

  /** Refuses a file that is empty, or whose last row is not whole. */
  #finish(): string | undefined {
    if (this.#isEmpty)
      throw this.#invalid(
        `Expected ${this.#common.format.header ? 'a header and rows' : 'rows'} in ` +
          `${basename(this.#path)}, found an empty file. Write it again, or leave it out.`,
      );
    if (this.#last === undefined) return undefined;
    const { line, text, problem, isEnded } = this.#last;
    if (problem === undefined) return text;
    if (isEnded && problem !== 'open quote') return undefined;
    throw cutShort(this.#path, line - this.#firstLine + 1, problem);
  }

  #layoutOf(names: readonly string[]): RowLayout {
    const { table, references } = this.#common;
    return layoutOf(table, this.#path, names, references);
  }

  #texts(data: Buffer): string[] {
    const { cells, starts, ends, doubled, quote } = this.#splitter;
    const character = String.fromCharCode(quote);
    return Array.from({ length: cells }, (_, cell) => {
      const text = data.toString('utf8', starts[cell], ends[cell]);
      return doubled[cell] === 1 ? text.replaceAll(character + character, character) : text;
    });
  }

  /** Whether a cell from position `from` on is not empty. */
  #hasText(from: number): boolean {
    const { cells, starts, ends } = this.#splitter;
    for (let cell = from; cell < cells; cell++) if (ends[cell]! > starts[cell]!) return true;
    return false;
  }

  #invalid(message: string): TandemError {
    const { table } = this.#common;
    return new TandemError('ERR_DATASET_INVALID', message, {
      details: { table, file: this.#path },
    });
  }
}

interface LastRow {
  readonly line: number;
  readonly text: string;
  /** Why it is not a good row; undefined when it is one. */
  readonly problem?: string;
  readonly isEnded: boolean;
}

/** The error for a text file whose last row is not whole. */
export function cutShort(path: string, line: number, problem: string): TandemError {
  return new TandemError(
    'ERR_DATASET_INVALID',
    `Expected ${basename(path)} to end with a complete row, but its last line, ${line}, ends in ` +
      `the middle of one (${problem}): the file was probably cut short. Copy it again. ` +
      'If it is complete, correct or delete that line.',
    { details: { file: path, line } },
  );
}

/** What to do about lines that are left out for `reason`, after a space; empty for nothing. */
export function remedyOf(reason: string): string {
  if (reason === NOT_UTF8) return ' If the file is in Latin-1, set csv.encoding to "latin-1".';
  if (reason === MALFORMED)
    return ' Check delimiter and quotes; NDJSON has one JSON object in each line.';
  return '';
}

/** Offset of the last character when it may be incomplete, else the length. */
function lastCharacter(data: Buffer): number {
  for (let back = 1; back <= Math.min(3, data.length); back++) {
    const byte = data[data.length - back]!;
    if (byte >= 0xc0) return data.length - back;
    if (byte < 0x80) break;
  }
  return data.length;
}

function isBlank(data: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (data[at]! > 0x20) return false;
  return true;
}

function isLineEnd(data: Buffer, end: number): boolean {
  const byte = end === 0 ? 0 : data[end - 1]!;
  return byte === 0x0a || byte === 0x0d;
}
