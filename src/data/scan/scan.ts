// A scan: the rows of source files, or of a table that an adapter made, as a SQL relation. It says
// which columns there are and where a row comes from; what a column means is decided in sources.ts.

import type { RejectedRow } from '../dataset-file.ts';
import { describe, type Database } from '../duckdb.ts';

/** A file and a line of it, or a row of a Parquet file, counted from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

export interface Scan {
  /** FROM clause. */
  readonly from: string;
  /** SQL type of each column of the relation. */
  readonly columns: ReadonlyMap<string, string>;
  /** The relation's name for a mapped column of the files. */
  readonly columnOf: (name: string) => string;
  /** Whether each row is one JSON object in the column `json`. */
  readonly json: boolean;
  /** SQL expression of a row's number: distinct, and in the order of the files and rows. */
  readonly row: string;
  readonly place: (row: number) => Place;
  /** SQL condition of rows that are not in the format. */
  readonly malformed: string;
  /** Lines of the files that are not in the relation, because they are no rows. */
  readonly rejected: readonly {
    readonly reason: string;
    readonly count: number;
    readonly samples: readonly RejectedRow[];
  }[];
  /** File of the import's own that the relation reads; it may go when the rows are staged. */
  readonly temporary?: string;
}

/**
 * Scans a table that an adapter made.
 *
 * @param label - what the report calls it.
 */
export async function scanRelation(
  database: Database,
  relation: string,
  label: string,
): Promise<Scan> {
  const columns = await describe(database, relation);
  return {
    from: relation,
    columns,
    columnOf: (name) => name,
    json: false,
    row: columns.has('source_row') ? 'source_row' : 'row_number() OVER ()',
    place: (row) => ({ file: label, line: row }),
    malformed: 'false',
    rejected: [],
  };
}
