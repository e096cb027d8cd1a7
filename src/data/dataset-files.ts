// The Parquet files of an imported dataset: opens and verifies them, and runs queries over one file
// at a time. Readers of the single tables build on it.

import { join, resolve } from 'node:path';
import { TandemError } from '../errors.ts';
import {
  readDatasetFile,
  verifyDataFiles,
  type DATA_FILES,
  type DatasetCounts,
  type DatasetFile,
} from './dataset-file.ts';
import { Database, fileLiteral, type ColumnSink } from './duckdb.ts';

type DataFile = (typeof DATA_FILES)[number];

const ROWS_OF: Readonly<Record<DataFile, keyof DatasetCounts>> = {
  'items.parquet': 'items',
  'categories.parquet': 'categories',
  'item-categories.parquet': 'itemCategories',
  'users.parquet': 'users',
  'events.parquet': 'events',
  'requests.parquet': 'requests',
};

/**
 * A range of consecutive users, one of several parts of a dataset.
 *
 * Events are sorted by user, so the events of a part are consecutive rows, and DuckDB skips all
 * other row groups. Requests are sorted by time, so a part's requests cost a scan of the user
 * column.
 */
export interface UserPart {
  /** Rows [begin, end) of the users' table. */
  readonly begin: number;
  readonly end: number;
  /** Position among the parts. */
  readonly index: number;
  /** Number of parts: requests without a user are divided among them. */
  readonly count: number;
}

export class DatasetFiles {
  readonly directory: string;
  readonly file: DatasetFile;
  readonly #database: Database;

  private constructor(directory: string, file: DatasetFile, database: Database) {
    this.directory = directory;
    this.file = file;
    this.#database = database;
  }

  /**
   * Opens and verifies the dataset in `directory`, at about one gigabyte per second. The caller
   * closes it.
   *
   * @throws TandemError ERR_DATASET_NOT_FOUND when nothing was imported there; ERR_DATASET_INVALID
   *   when a file is missing, changed or of another version.
   */
  static async open(directory: string): Promise<DatasetFiles> {
    const file = readDatasetFile(directory);
    await verifyDataFiles(directory, file);
    const files = new DatasetFiles(resolve(directory), file, await Database.open());
    try {
      await files.#verifyCounts();
    } catch (error) {
      files.close();
      throw error;
    }
    return files;
  }

  /** All users as one part. */
  get whole(): UserPart {
    return { begin: 0, end: this.file.counts.users, index: 0, count: 1 };
  }

  /**
   * Queries one file, as Database.columns does.
   *
   * @param select - the columns, between SELECT and FROM.
   * @param rest - the clauses after FROM, e.g. WHERE.
   */
  columns(
    select: string,
    name: DataFile,
    rest: string,
    open: (rows: number) => readonly ColumnSink[],
  ): Promise<void> {
    return this.#database.columns(`SELECT ${select} FROM ${this.#from(name)} ${rest}`, open);
  }

  close(): void {
    this.#database.close();
  }

  /** A relation of the file's rows in order, with their numbers as file_row_number. */
  #from(name: DataFile): string {
    return `read_parquet(${fileLiteral(join(this.directory, name))}, file_row_number = true,
      hive_partitioning = false)`;
  }

  async #verifyCounts(): Promise<void> {
    for (const [name, counted] of Object.entries(ROWS_OF) as [DataFile, keyof DatasetCounts][]) {
      const count = this.file.counts[counted];
      const found = await this.#database.number(`SELECT count(*) FROM ${this.#from(name)}`);
      if (found !== count)
        throw new TandemError(
          'ERR_DATASET_INVALID',
          `Expected ${count} rows in ${name} of ${this.directory}, found ${found}. ` +
            'Import it again with "tandem import --force".',
          { details: { name, count, found } },
        );
    }
  }
}
