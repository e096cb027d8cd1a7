// Attention of the context over the states of a history: the formula of docs/explanation/model.md, each history with any number of
// examples that see it up to a row of their own.

import { MASKED } from '../../backend/fused.ts';
import { gatherOrZero, paddedPlaces } from '../../backend/ragged.ts';
import { tf } from '../../backend/tf.ts';
import { dense } from './layers.ts';

/** Where the states of examples lie among those of histories, one history after the other. */
export interface StateRows {
  /** [R, D] hidden states. */
  readonly hidden: tf.Tensor2D;
  /** [U + 1], ascending from 0 to R: history u has the rows [offsets[u], offsets[u + 1]). */
  readonly offsets: Int32Array;
  /** [E] history of each example. */
  readonly histories: Int32Array;
  /** [E] row of `hidden` that is the example's newest state; -1 for a cold start. */
  readonly newest: Int32Array;
}

export interface ContextAttentionWeights {
  readonly heads: number;
  /** [D, F]. */
  readonly query: tf.Tensor;
  /** [D, D] each. */
  readonly key: tf.Tensor;
  readonly value: tf.Tensor;
  readonly output: tf.Tensor;
  /** [1, D], the only row that an example without a state sees. */
  readonly coldStart: tf.Tensor;
}

/**
 * a = Wo' [.. ; sum_t softmax_t((Wk_p h_t) . (Wq_p c) / sqrt(D / P)) Wv_p h_t ; ..] for each example.
 *
 * @param context - [E, F]. @param known - [E, 1] f32: 1 where the example has a state, 0 for a cold start.
 * @returns [E, D].
 */
export function attendContext(
  rows: StateRows,
  context: tf.Tensor2D,
  known: tf.Tensor2D,
  weights: ContextAttentionWeights,
): tf.Tensor2D {
  const { hidden, offsets, histories } = rows;
  const { heads, query, key, value, output, coldStart } = weights;
  const width = hidden.shape[1];
  const headWidth = width / heads;
  const count = offsets.length - 1;
  const { length, rows: rowOf } = paddedPlaces(offsets);
  const { places, most } = placesOf(histories, count);
  const exampleAt = new Int32Array(count * most).fill(-1);
  for (const [e, place] of places.entries()) exampleAt[place] = e;
  const split = (x: tf.Tensor, perHistory: number): tf.Tensor =>
    tf.transpose(tf.reshape(x, [count, perHistory, heads, headWidth]), [0, 2, 1, 3]);
  const states = gatherOrZero(hidden, rowOf);

  const queries = gatherOrZero(dense(context, query, undefined), exampleAt);
  const scores = tf.mul(
    tf.matMul(split(queries, most), split(dense(states, key, undefined), length), false, true),
    1 / Math.sqrt(headWidth),
  );
  const shares = tf.softmax(tf.add(scores, seenMask(rows, places, most, length)));
  const mixed = tf.matMul(shares, split(dense(states, value, undefined), length));
  const seen = tf.gather(
    tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [count * most, width]),
    tf.tensor1d(places, 'int32'),
  );
  // A softmax over one row is 1: what is attended to is the value of the cold-start vector.
  const cold = dense(coldStart as tf.Tensor2D, value, undefined);
  const attended = tf.add(tf.mul(seen, known), tf.mul(tf.sub(1, known), cold));
  return dense(attended as tf.Tensor2D, output, undefined);
}

/** Examples by history: example e is number places[e] of a [U, most] table, those of one history in one row. */
function placesOf(histories: Int32Array, count: number): { places: Int32Array; most: number } {
  const used = new Int32Array(count);
  const order = histories.map((history) => used[history]!++);
  const most = used.reduce((largest, examples) => Math.max(largest, examples), 1);
  return { places: order.map((place, e) => histories[e]! * most + place), most };
}

/** [U, 1, most, T] added to the scores: 0 for what an example sees, MASKED for later events and padding. */
function seenMask(
  { offsets, histories, newest }: StateRows,
  places: Int32Array,
  most: number,
  length: number,
): tf.Tensor {
  const count = offsets.length - 1;
  const mask = new Float32Array(count * most * length).fill(MASKED);
  for (const [e, place] of places.entries()) {
    const last = newest[e]! - offsets[histories[e]!]!;
    if (last >= 0) mask.fill(0, place * length, place * length + last + 1);
  }
  return tf.tensor(mask, [count, 1, most, length]);
}
