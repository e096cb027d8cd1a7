// What an example of a step is, as far as its loss goes, and which pairs of example and column are no negatives or have a boost.

import type { Boosts, ScorePairs } from '../../../backend/fused.ts';
import { tf } from '../../../backend/tf.ts';

/** E examples; those of one user are answers to each other's queries. */
export interface LossExamples {
  /** [E] catalogue rows. */
  readonly positives: Int32Array;
  /** [E] user of each example, by row in the step. */
  readonly users: Int32Array;
  /** [E] weights, summing to 1. */
  readonly weights: Float32Array;
  /** Pairs of example and catalogue row that are neither positive nor negative; absent where all others are negatives. */
  readonly leftOut?: ScorePairs;
}

/** What is added to logits for what the examples' users have had before. */
export interface ExampleBoosts {
  /** By example and catalogue row; no pair twice. */
  readonly pairs: Boosts;
  /** [E] those of the examples' positives. */
  readonly ofPositives: tf.Tensor1D;
}

/** Boosts by example and item as those of columns. @param itemRows - [C] item of each column. */
export function columnBoosts({ rows, columns, values }: Boosts, itemRows: Int32Array): Boosts {
  const columnsOf = indicesOf(itemRows);
  const found: { row: number; column: number; pair: number }[] = [];
  for (const [pair, row] of rows.entries())
    for (const column of columnsOf.get(columns[pair]!) ?? []) found.push({ row, column, pair });
  return {
    rows: Int32Array.from(found, ({ row }) => row),
    columns: Int32Array.from(found, ({ column }) => column),
    values: tf.gather(
      values,
      tf.tensor1d(
        Int32Array.from(found, ({ pair }) => pair),
        'int32',
      ),
    ),
  };
}

/**
 * Columns that are no negatives of an example: accidental hits, which hold its own positive or another positive of its user in
 * this step, and items that are left out for it.
 *
 * @param itemRows - [C] item of each column.
 * @returns pairs by ascending example, each once.
 */
export function noNegatives(examples: LossExamples, itemRows: Int32Array): ScorePairs {
  const columnsOf = indicesOf(itemRows);
  const hitsOf = new Map<number, number[]>();
  for (const [user, own] of indicesOf(examples.users)) {
    const positives = new Set(own.map((e) => examples.positives[e]!));
    hitsOf.set(
      user,
      [...positives].flatMap((itemRow) => columnsOf.get(itemRow) ?? []),
    );
  }
  const rows: number[] = [];
  const columns: number[] = [];
  let pair = 0;
  for (const [e, user] of examples.users.entries()) {
    const found = new Set(hitsOf.get(user));
    for (
      ;
      pair < (examples.leftOut?.rows.length ?? 0) && examples.leftOut!.rows[pair] === e;
      pair++
    )
      for (const column of columnsOf.get(examples.leftOut!.columns[pair]!) ?? []) found.add(column);
    for (const column of found) {
      rows.push(e);
      columns.push(column);
    }
  }
  return { rows: Int32Array.from(rows), columns: Int32Array.from(columns) };
}

/** Indices of each value. */
function indicesOf(values: Int32Array): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  for (const [i, value] of values.entries()) {
    const group = groups.get(value);
    if (group === undefined) groups.set(value, [i]);
    else group.push(i);
  }
  return groups;
}
