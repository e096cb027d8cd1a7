// Ragged lists of rows as a padded table and back, for operations that a backend has on tables
// only.

import { tf } from './tf.ts';

/** B lists of rows, one after the other, laid out as a table of B * length cells. */
interface PaddedRows {
  /** Cells of a list: the length of the longest list, at least 1. */
  readonly length: number;
  /**
   * [B * length] the row in each cell, first row first; -1 in the cells after a list's last row.
   */
  readonly rows: Int32Array;
  /** [R] the cell of each row. */
  readonly cells: Int32Array;
}

/**
 * Lays out lists of rows as a padded table.
 *
 * @param offsets - [B + 1], ascending from 0 to R: list b has the rows [offsets[b], offsets[b +
 *   1]).
 */
export function padRows(offsets: Int32Array): PaddedRows {
  const count = offsets.length - 1;
  let length = 1;
  for (let b = 0; b < count; b++) length = Math.max(length, offsets[b + 1]! - offsets[b]!);
  const rows = new Int32Array(count * length).fill(-1);
  const cells = new Int32Array(offsets[count]!);
  for (let b = 0; b < count; b++)
    for (let row = offsets[b]!; row < offsets[b + 1]!; row++) {
      const cell = b * length + row - offsets[b]!;
      rows[cell] = row;
      cells[row] = cell;
    }
  return { length, rows, cells };
}

/**
 * Gathers rows of x, with zeros for index -1.
 *
 * @param x - [R, D].
 * @param rows - [n] indices of rows, or -1.
 * @returns [n, D].
 */
export function gatherOrZero(x: tf.Tensor2D, rows: Int32Array): tf.Tensor2D {
  const behind = tf.concat<tf.Tensor2D>([tf.zeros([1, x.shape[1]]), x]);
  return tf.gather(
    behind,
    tf.tensor1d(
      rows.map((row) => row + 1),
      'int32',
    ),
  );
}
