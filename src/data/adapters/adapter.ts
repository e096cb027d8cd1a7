// The interface of adapters for public data sets, and the search for their files.

import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { TandemError } from '../../errors.ts';
import type { Database } from '../duckdb.ts';
import type { SourcePlan } from '../sources.ts';

export interface Adapter {
  readonly name: string;
  /** One line for --help: the data set and the files that are needed. */
  readonly description: string;
  /** Makes relations from the published files in `database`, and returns how their columns map. */
  readonly prepare: (database: Database, files: AdapterFiles) => Promise<SourcePlan>;
}

/** The files of a data set: one file, or the folder that holds them. */
export class AdapterFiles {
  readonly path: string;
  readonly #adapter: string;

  constructor(adapter: string, path: string) {
    this.#adapter = adapter;
    this.path = resolve(path);
    if (!existsSync(this.path))
      throw new TandemError(
        'ERR_DATASET_NOT_FOUND',
        `Expected the files of ${adapter} at ${this.path}, found nothing there. ` +
          'Download the data set (see docs/reference/data-format.md) and pass its file or folder ' +
          'as --source.',
        { details: { adapter, path: this.path } },
      );
  }

  get isFolder(): boolean {
    return statSync(this.path).isDirectory();
  }

  /** Whether the folder has this file. */
  has(name: string): boolean {
    return this.isFolder && existsSync(join(this.path, name));
  }

  /** Path of a file in the folder; throws missing() when it is not there. */
  file(name: string): string {
    if (!this.has(name)) throw this.missing(name);
    return join(this.path, name);
  }

  /**
   * Path of the source when it is a file, else of the only file of the folder that matches.
   *
   * @param wanted - the expected file in words, for the error.
   */
  only(pattern: RegExp, wanted: string): string {
    if (!this.isFolder) {
      if (pattern.test(basename(this.path))) return this.path;
      throw this.missing(wanted);
    }
    const found = readdirSync(this.path).filter((name) => pattern.test(name));
    if (found.length !== 1) throw this.missing(wanted);
    return join(this.path, found[0]!);
  }

  /** The error for an expected file that is not there: ERR_DATASET_NOT_FOUND. */
  missing(wanted: string): TandemError {
    const found = this.isFolder ? readdirSync(this.path).sort().join(', ') : basename(this.path);
    return new TandemError(
      'ERR_DATASET_NOT_FOUND',
      `Expected ${wanted} for the adapter ${this.#adapter} in ${this.path}, ` +
        `found ${found === '' ? 'nothing' : found}.`,
      { details: { adapter: this.#adapter, path: this.path } },
    );
  }
}
