// Attention of the context over the states of a history (fusion `attention`). The formula is in
// docs/explanation/model.md. In training, several examples can share a history; each of them sees
// it up to its own event.

import { MASKED } from '../../backend/fused.ts';
import { gatherOrZero, padRows } from '../../backend/ragged.ts';
import { tf } from '../../backend/tf.ts';
import { dense } from './layers.ts';

/**
 * Hidden states of U histories, one history after the other, and the history and newest state of
 * each of E examples.
 */
export interface HistoryStates {
  /** [R, D] hidden states, one row per event. */
  readonly hidden: tf.Tensor2D;
  /** [U + 1], ascending from 0 to R: history u has the rows [offsets[u], offsets[u + 1]). */
  readonly offsets: Int32Array;
  /** [E] the history of each example. */
  readonly histories: Int32Array;
  /** [E] the row of `hidden` with the newest state that the example sees; -1 for a cold start. */
  readonly newest: Int32Array;
}

/**
 * The number of heads, and the tensors of the attention. D is the width of a hidden state, F the
 * width of the context vector.
 */
export interface ContextAttentionWeights {
  readonly heads: number;
  /** [D, F]. */
  readonly query: tf.Tensor;
  /** [D, D]. */
  readonly key: tf.Tensor;
  /** [D, D]. */
  readonly value: tf.Tensor;
  /** [D, D]. */
  readonly output: tf.Tensor;
  /** [1, D] cold-start vector: the only row that an example without a state attends to. */
  readonly coldStart: tf.Tensor;
}

/**
 * Multi-head attention with P heads, for each example. The query is the context vector c; keys and
 * values are the hidden states h_t of the history. The result is a = Wo' [z_1 ; .. ; z_P] with
 * z_p = sum_t softmax_t((Wk_p h_t) . (Wq_p c) / sqrt(D / P)) Wv_p h_t for head p.
 *
 * @param context - [E, F] the context vectors c.
 * @param known - [E, 1] f32: 1 where the example has a state, 0 for a cold start.
 * @returns [E, D] the attended vectors a.
 */
export function attendContext(
  states: HistoryStates,
  context: tf.Tensor2D,
  known: tf.Tensor2D,
  weights: ContextAttentionWeights,
): tf.Tensor2D {
  const { hidden, offsets, histories } = states;
  const { heads, query, key, value, output, coldStart } = weights;
  const width = hidden.shape[1];
  const headWidth = width / heads;
  const count = offsets.length - 1;
  const { length, rows } = padRows(offsets);
  const { cells, most } = cellsOf(histories, count);
  const exampleAt = new Int32Array(count * most).fill(-1);
  for (const [e, cell] of cells.entries()) exampleAt[cell] = e;
  const split = (x: tf.Tensor, perHistory: number): tf.Tensor =>
    tf.transpose(tf.reshape(x, [count, perHistory, heads, headWidth]), [0, 2, 1, 3]);
  const padded = gatherOrZero(hidden, rows);

  const queries = gatherOrZero(dense(context, query, undefined), exampleAt);
  const scores = tf.mul(
    tf.matMul(split(queries, most), split(dense(padded, key, undefined), length), false, true),
    1 / Math.sqrt(headWidth),
  );
  const shares = tf.softmax(tf.add(scores, seenMask(states, cells, most, length)));
  const mixed = tf.matMul(shares, split(dense(padded, value, undefined), length));
  const seen = tf.gather(
    tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [count * most, width]),
    tf.tensor1d(cells, 'int32'),
  );
  // A softmax over one row is 1, so a cold start attends to the value of the cold-start vector.
  const cold = dense(coldStart as tf.Tensor2D, value, undefined);
  const attended = tf.add(tf.mul(seen, known), tf.mul(tf.sub(1, known), cold));
  return dense(attended as tf.Tensor2D, output, undefined);
}

/**
 * Lays the examples out as a table [U, most], one row per history. `most` is the largest number of
 * examples that share a history, at least 1.
 *
 * @returns `cells`: [E] the cell of each example in the flattened table.
 */
function cellsOf(histories: Int32Array, count: number): { cells: Int32Array; most: number } {
  const used = new Int32Array(count);
  const order = histories.map((history) => used[history]!++);
  const most = used.reduce((largest, examples) => Math.max(largest, examples), 1);
  return { cells: order.map((column, e) => histories[e]! * most + column), most };
}

/**
 * The mask that is added to the attention scores: 0 for events that an example sees, MASKED for
 * later events and padding.
 *
 * @param length - L, the length of the longest history.
 * @returns [U, 1, most, L].
 */
function seenMask(
  { offsets, histories, newest }: HistoryStates,
  cells: Int32Array,
  most: number,
  length: number,
): tf.Tensor {
  const count = offsets.length - 1;
  const mask = new Float32Array(count * most * length).fill(MASKED);
  for (const [e, cell] of cells.entries()) {
    const last = newest[e]! - offsets[histories[e]!]!;
    if (last >= 0) mask.fill(0, cell * length, cell * length + last + 1);
  }
  return tf.tensor(mask, [count, 1, most, length]);
}
