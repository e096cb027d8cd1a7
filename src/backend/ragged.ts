// Ragged rows as a padded table and back, for operations that a backend has on tables alone.

import { tf } from './tf.ts';

/** Where the rows of B lists, one after the other, lie in a table of B * length places. */
export interface PaddedPlaces {
  /** Places of a list: rows of the longest one, at least 1. */
  readonly length: number;
  /** [B * length] row of each place, a list's first row first; -1 behind its last. */
  readonly rows: Int32Array;
  /** [R] place of each row. */
  readonly places: Int32Array;
}

/** @param offsets - [B + 1], ascending from 0: list b has the rows [offsets[b], offsets[b + 1]). */
export function paddedPlaces(offsets: Int32Array): PaddedPlaces {
  const count = offsets.length - 1;
  let length = 1;
  for (let b = 0; b < count; b++) length = Math.max(length, offsets[b + 1]! - offsets[b]!);
  const rows = new Int32Array(count * length).fill(-1);
  const places = new Int32Array(offsets[count]!);
  for (let b = 0; b < count; b++)
    for (let row = offsets[b]!; row < offsets[b + 1]!; row++) {
      const place = b * length + row - offsets[b]!;
      rows[place] = row;
      places[row] = place;
    }
  return { length, rows, places };
}

/** Rows of x [R, D] by index, zeros for -1: [rows, D]. */
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
