// The examples of a step in the form that losses read. This file also finds the candidates that are
// not negatives of an example, and the candidates that have a history boost.

import type { Boosts, ScorePairs } from '../../../backend/fused.ts';
import { tf } from '../../../backend/tf.ts';

/**
 * E examples. In sampled losses, a positive of a user is never a negative of another example of
 * that user. In the full softmax it stays in the sum over the catalogue.
 */
export interface LossExamples {
  /** [E] catalogue rows of the positives. */
  readonly positives: Int32Array;
  /** [E] the user of each example, as an index into the users of the step. */
  readonly users: Int32Array;
  /** [E] weights, summing to 1. */
  readonly weights: Float32Array;
  /**
   * Pairs of example and catalogue row that are neither positive nor negative, by ascending
   * example. Absent when all other items are negatives.
   */
  readonly leftOut?: ScorePairs;
}

/**
 * The history boosts of a step: numbers that are added to the logits of items in the histories of
 * the examples' users.
 */
export interface ExampleBoosts {
  /** By example and catalogue row; each pair at most once. */
  readonly pairs: Boosts;
  /** [E] the boosts of the examples' positives; 0 for an item that is not in the history. */
  readonly ofPositives: tf.Tensor1D;
}

/**
 * Turns boosts of items into boosts of candidates. An item that is several candidates gets its
 * boost at each of them.
 *
 * @param boosts - by example and catalogue row.
 * @param candidateRows - [C] catalogue row of each candidate.
 * @returns boosts by example and candidate.
 */
export function candidateBoosts(
  { rows, columns, values }: Boosts,
  candidateRows: Int32Array,
): Boosts {
  const columnsOf = indicesOf(candidateRows);
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
 * Finds the candidates that are not negatives of an example. They are accidental hits (candidates
 * that are a positive of the same user in this step) and the items that are left out for the
 * example.
 *
 * @param candidateRows - [C] catalogue row of each candidate.
 * @returns pairs of example and candidate by ascending example, each once.
 */
export function notNegatives(examples: LossExamples, candidateRows: Int32Array): ScorePairs {
  const columnsOf = indicesOf(candidateRows);
  const hitsOf = new Map<number, number[]>();
  for (const [user, own] of indicesOf(examples.users)) {
    const positives = new Set(own.map((e) => examples.positives[e]!));
    hitsOf.set(
      user,
      [...positives].flatMap((row) => columnsOf.get(row) ?? []),
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

/** The indices at which each value occurs. */
function indicesOf(values: Int32Array): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  for (const [i, value] of values.entries()) {
    const group = groups.get(value);
    if (group === undefined) groups.set(value, [i]);
    else group.push(i);
  }
  return groups;
}
