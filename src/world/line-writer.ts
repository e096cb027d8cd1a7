// Writes lines to a file through one buffer.

import { open, type FileHandle } from 'node:fs/promises';

const BUFFER_CHARACTERS = 1 << 20;

/** A buffer of about a megabyte, which the caller flushes when it is full. */
export class LineWriter {
  readonly #file: FileHandle;
  #lines: string[] = [];
  #characters = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Creates a file, or empties the file that is there; close() it. */
  static async open(path: string): Promise<LineWriter> {
    return new LineWriter(await open(path, 'w'));
  }

  get full(): boolean {
    return this.#characters >= BUFFER_CHARACTERS;
  }

  add(line: string): void {
    this.#lines.push(line);
    this.#characters += line.length + 1;
  }

  /** Writes the buffered lines; rejects when the disk is full. */
  async flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    const text = `${this.#lines.join('\n')}\n`;
    this.#lines = [];
    this.#characters = 0;
    // writeFile() on a handle continues at its position and completes short writes; write() does
    // not.
    await this.#file.writeFile(text);
  }

  /** Writes the buffered lines and closes the file. */
  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.#file.close();
    }
  }
}
