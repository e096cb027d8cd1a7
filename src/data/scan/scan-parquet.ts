// Scans of Parquet files. Their ends and names are checked before DuckDB reads them.

import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { TandemError } from '../../errors.ts';
import { describe, fileLiterals, type Database } from '../duckdb.ts';
import type { TableName } from '../manifest.ts';
import type { Scan } from './scan.ts';

/** First and last bytes of a Parquet file. */
const MARK = 'PAR1';
/** The length of the footer, and the mark after it. */
const TAIL_BYTES = 8;

/**
 * Scans the Parquet files of a table. Columns are matched by name; a file may lack some.
 *
 * @param wanted - mapped columns.
 * @throws TandemError ERR_DATASET_INVALID for a file that is cut short or no Parquet, for names
 *   that differ in case alone, and for files without a row.
 */
export async function scanParquet(
  database: Database,
  table: TableName,
  paths: readonly string[],
  wanted: readonly string[],
): Promise<Scan> {
  for (const path of paths) await checkEnds(path);
  await checkNames(database, table, paths, wanted);
  const list = fileLiterals(paths);
  const from = `read_parquet(${list}, union_by_name = true, hive_partitioning = false)`;
  const counts = await database.rows(`SELECT num_rows FROM parquet_file_metadata(${list})`);
  const files = paths.map((path, i) => ({ path, rows: Number(counts[i]!['num_rows']) }));
  if (files.every(({ rows }) => rows === 0))
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected rows in ${basename(paths[0]!)} for ${table}, found none: the table is empty. ` +
        'Leave it out of the manifest, or write the file again.',
      { details: { table, files: paths } },
    );
  return {
    from,
    columns: await describe(database, from),
    columnOf: (name) => name,
    json: false,
    row: 'row_number() OVER ()',
    place(row) {
      let line = row;
      for (const { path, rows } of files) {
        if (line <= rows) return { file: path, line };
        line -= rows;
      }
      return { file: paths[0]!, line: row };
    },
    malformed: 'false',
    rejected: [],
  };
}

async function checkEnds(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const bytes = async (position: number, length: number): Promise<Buffer> =>
      (await handle.read(Buffer.alloc(length), 0, length, position)).buffer;
    const name = basename(path);
    if ((await bytes(0, MARK.length)).toString('latin1') !== MARK)
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected Parquet in ${name}, found a file that does not begin with ${MARK}` +
          `${size === 0 ? ': it is empty' : ''}. ` +
          'Write it again, or set the format in the manifest.',
        { details: { file: path } },
      );
    const tail = await bytes(Math.max(0, size - TAIL_BYTES), TAIL_BYTES);
    const isWhole =
      size >= MARK.length + TAIL_BYTES &&
      tail.toString('latin1', 4) === MARK &&
      tail.readUInt32LE(0) <= size - MARK.length - TAIL_BYTES;
    if (!isWhole)
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected a complete Parquet file, but ${name} was cut short: its end is missing. ` +
          'Copy or write it again.',
        { details: { file: path } },
      );
  } finally {
    await handle.close();
  }
}

/** SQL ignores case: of two columns whose names differ in case alone, it would read the first. */
async function checkNames(
  database: Database,
  table: TableName,
  paths: readonly string[],
  wanted: readonly string[],
): Promise<void> {
  const rows = await database.rows(
    `SELECT name, coalesce(num_children, 0) AS children
     FROM parquet_schema(${fileLiterals(paths)})`,
  );
  const names = new Set(
    topLevelNames(rows.map((row) => [String(row['name']), Number(row['children'])])),
  );
  for (const column of wanted) {
    const same = [...names].filter((name) => name.toLowerCase() === column.toLowerCase());
    if (same.length > 1)
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected column names that differ in more than case in the Parquet files of ${table}, ` +
          `received ${same.join(' and ')} for "${column}". Rename one of them.`,
        { details: { table, column, columns: same } },
      );
  }
}

/** Names of the columns in schemas in depth-first order, each with its root in front. */
function topLevelNames(nodes: readonly (readonly [name: string, children: number])[]): string[] {
  const names: string[] = [];
  let at = 0;
  const skip = (): void => {
    const [, children] = nodes[at++]!;
    for (let child = 0; child < children; child++) skip();
  };
  while (at < nodes.length) {
    const [, columns] = nodes[at++]!;
    for (let column = 0; column < columns; column++) {
      names.push(nodes[at]![0]);
      skip();
    }
  }
  return names;
}
