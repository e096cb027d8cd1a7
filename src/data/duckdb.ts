// The only file that imports DuckDB: opens databases, quotes text for SQL, and copies result
// columns into typed arrays.

import { DuckDBInstance, type DuckDBConnection } from 'tandem-offline/duckdb';
import { TandemError } from '../errors.ts';

export type Row = Readonly<Record<string, string | number | boolean | null>>;

/** One DuckDB with one connection; close() releases its memory and its file. */
export class Database {
  /** Folder for temporary files, when the database was opened with one. */
  readonly folder: string | undefined;
  readonly #instance: DuckDBInstance;
  readonly #connection: DuckDBConnection;

  private constructor(
    instance: DuckDBInstance,
    connection: DuckDBConnection,
    folder: string | undefined,
  ) {
    this.folder = folder;
    this.#instance = instance;
    this.#connection = connection;
  }

  /**
   * Opens an empty database in memory; a database on disk spends most of an import on its log.
   *
   * @param spillFolder - directory for tables beyond the memory limit, which is 80 % of the
   *   machine.
   */
  static async open(spillFolder?: string): Promise<Database> {
    const instance = await DuckDBInstance.create(':memory:');
    const database = new Database(instance, await instance.connect(), spillFolder);
    if (spillFolder !== undefined)
      await database.run(`SET temp_directory = ${literal(spillFolder)}`);
    await database.run("SET TimeZone = 'UTC'");
    return database;
  }

  /** Runs statements and drops their rows. */
  async run(sql: string): Promise<void> {
    await this.#connection.run(sql);
  }

  /** All rows of a small result. BIGINT comes as a number: cast values that may exceed 2^53. */
  async rows(sql: string): Promise<readonly Row[]> {
    const reader = await this.#connection.runAndReadAll(sql);
    return reader
      .getRowObjects()
      .map((row) =>
        Object.fromEntries(
          Object.entries(row).map(([name, value]): [string, string | number | boolean | null] => [
            name,
            typeof value === 'bigint'
              ? Number(value)
              : typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
                ? value
                : value === null
                  ? null
                  : JSON.stringify(value),
          ]),
        ),
      );
  }

  /** The single number that `sql` returns. */
  async number(sql: string): Promise<number> {
    const row = (await this.rows(sql))[0] ?? {};
    return Number(Object.values(row)[0]);
  }

  /**
   * Passes a result to sinks column by column, without building row objects.
   *
   * DuckDB computes the whole result on its own threads before the first value is passed. So this
   * thread is blocked only once, while the values are copied.
   *
   * @param open - called once with the number of rows; returns one sink per column. A sink is
   *   called with the value, null for NULL, and its row in the result.
   */
  async columns(sql: string, open: (rows: number) => readonly ColumnSink[]): Promise<void> {
    const result = await this.#connection.run(sql);
    const sinks = open(result.rowCount);
    let start = 0;
    for (let part = 0; part < result.chunkCount; part++) {
      const chunk = result.getChunk(part);
      const rows = chunk.rowCount;
      for (let column = 0; column < sinks.length; column++) {
        const vector = chunk.getColumnVector(column);
        const sink = sinks[column]!;
        for (let row = 0; row < rows; row++)
          sink(vector.getItem(row) as string | number | null, start + row);
      }
      start += rows;
    }
  }

  close(): void {
    this.#connection.closeSync();
    this.#instance.closeSync();
  }
}

export type ColumnSink = (value: string | number | null, row: number) => void;

/** A sink that stores numbers; NULL becomes `missing`. */
export function numberSink(out: Int32Array | Float32Array | Float64Array, missing = 0): ColumnSink {
  return (value, row) => {
    out[row] = value === null ? missing : (value as number);
  };
}

/** A sink that stores text; NULL becomes ''. */
export function textSink(out: string[]): ColumnSink {
  return (value, row) => {
    out[row] = value === null ? '' : (value as string);
  };
}

/** A sink that stores list lengths as offsets: `out[row + 1]` is the end of the list of `row`. */
export function offsetSink(out: Int32Array): ColumnSink {
  return (value, row) => {
    out[row + 1] = out[row]! + (value === null ? 0 : (value as number));
  };
}

/** SQL string literal. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** SQL string literal of a file to read: its name is a name, also where it looks like a pattern. */
export function fileLiteral(path: string): string {
  return literal(pathPattern(path));
}

/** SQL list of files to read, as fileLiteral. */
export function fileLiterals(paths: readonly string[]): string {
  return `[${paths.map(fileLiteral).join(', ')}]`;
}

/** The pattern that only this path matches. */
export function pathPattern(path: string): string {
  return path.replace(/[*?[]/g, '[$&]');
}

/** Columns of a relation, with their SQL types. */
export async function describe(database: Database, relation: string): Promise<Map<string, string>> {
  const rows = await database.rows(`DESCRIBE SELECT * FROM ${relation}`);
  return new Map(rows.map((row) => [String(row['column_name']), String(row['column_type'])]));
}

/** SQL identifier. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** SQL list of string literals. */
export function literalList(texts: readonly string[]): string {
  return `[${texts.map(literal).join(', ')}]`;
}

/**
 * The error for what DuckDB or the file system refused while a source was read.
 *
 * @param source - the files, and the table that they are for.
 * @returns TandemError ERR_DATASET_INVALID; `error` itself when it is a TandemError.
 */
export function databaseError(error: unknown, source: string): TandemError {
  if (error instanceof TandemError) return error;
  const { code = '', message } = error as NodeJS.ErrnoException;
  const reason = message.split('\n')[0]!.replace(/^(?:[A-Z]\w* )+Error: /, '');
  const text = /ENOSPC|No space left/.test(`${code} ${message}`)
    ? `Expected free disk space beside the output for rows of ${source}, found none. ` +
      'Free some, or choose another --out.'
    : /^Out of Memory/i.test(message)
      ? `Expected enough memory to import ${source}, but DuckDB ran out of it (${reason}).`
      : code === 'EACCES' || code === 'EPERM'
        ? `Expected permission to read ${source}, which the system refused (${message}).`
        : `Expected readable rows in ${source}, but reading failed: ${reason}`;
  return new TandemError('ERR_DATASET_INVALID', text, { details: { source }, cause: error });
}
