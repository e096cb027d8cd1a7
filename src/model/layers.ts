// Layers as pure functions of tensors: what each computes is here, where its weights come from is two-tower.ts.

import { tf } from '../backend/tf.ts';
import type { Random } from '../random.ts';

/** Added to a variance before its root. */
const NORM_EPSILON = 1e-5;
/** Added to a squared norm before its root: keeps the gradient finite at zero, below f32's resolution elsewhere. */
const UNIT_EPSILON = 1e-12;
/** Stands for -infinity in masks: a fully masked row still gives a finite softmax. */
export const MASKED = -1e9;

/** y = x Wᵀ + b, then relu if asked. x [n, in], weight [out, in], bias [out]; returns [n, out]. */
export function dense(
  x: tf.Tensor2D,
  weight: tf.Tensor,
  bias: tf.Tensor | undefined,
  activation: 'linear' | 'relu' = 'linear',
): tf.Tensor2D {
  const operands = { a: x, b: weight as tf.Tensor2D, transposeB: true, activation };
  return tf.fused.matMul(bias === undefined ? operands : { ...operands, bias }) as tf.Tensor2D;
}

/** Normalises the rows of x [n, D] to mean 0 and variance 1, then scales and shifts. */
export function layerNorm(x: tf.Tensor2D, scale: tf.Tensor, offset: tf.Tensor): tf.Tensor2D {
  const centred = tf.sub(x, tf.mean(x, 1, true));
  const variance = tf.mean(tf.square(centred), 1, true);
  const unit = tf.mul(centred, tf.rsqrt(tf.add(variance, NORM_EPSILON)));
  return tf.add(tf.mul(unit, scale), offset);
}

/** Rows of x [n, D] divided by their L2 norm. */
export function unitRows(x: tf.Tensor2D): tf.Tensor2D {
  return tf.mul(x, tf.rsqrt(tf.add(tf.sum(tf.square(x), 1, true), UNIT_EPSILON)));
}

/** Ragged bags of table rows: bag b holds entries [offsets[b], offsets[b + 1]). */
export interface Bags {
  /** [B + 1], ascending, [0] = 0. */
  readonly offsets: Int32Array;
  readonly rows: Int32Array;
  readonly weights: Float32Array;
}

/**
 * Weighted sum of table rows per bag: out[b] = sum over its entries of weight * table[row]; an empty bag gives 0.
 *
 * Its own gradient, towards the table alone: bags stay ragged both ways, and tfjs's gradient of a segment sum would mask
 * every element for negative ids that never come.
 *
 * @param table - [R, width]. @returns [B, width].
 */
export function weightedBag(table: tf.Tensor, bags: Bags): tf.Tensor2D {
  const { offsets, rows, weights } = bags;
  const count = offsets.length - 1;
  const segments = new Int32Array(rows.length);
  for (let b = 0; b < count; b++) segments.fill(b, offsets[b], offsets[b + 1]);
  // Made anew for each pass: tfjs disposes what the forward pass made and did not save.
  const rowIds = (): tf.Tensor1D => tf.tensor1d(rows, 'int32');
  const bagIds = (): tf.Tensor1D => tf.tensor1d(segments, 'int32');
  const scale = (): tf.Tensor2D => tf.tensor2d(weights, [weights.length, 1]);
  const sum = tf.customGrad((given) => {
    const values = given as tf.Tensor;
    const tableRows = values.shape[0];
    return {
      value: tf.unsortedSegmentSum(tf.mul(tf.gather(values, rowIds()), scale()), bagIds(), count),
      gradFunc: (dy: tf.Tensor) =>
        tf.unsortedSegmentSum(tf.mul(tf.gather(dy, bagIds()), scale()), rowIds(), tableRows),
    };
  });
  return sum(table) as tf.Tensor2D;
}

/** Zeroes a share `rate` of x's elements and scales the rest by 1 / (1 - rate); x itself without a random stream. */
export function dropout<T extends tf.Tensor>(x: T, rate: number, random: Random | undefined): T {
  if (random === undefined || rate === 0) return x;
  const mask = new Float32Array(x.size);
  const kept = 1 / (1 - rate);
  const threshold = rate * 0x1_0000_0000;
  for (let i = 0; i < mask.length; i++) mask[i] = random.nextUint32() < threshold ? 0 : kept;
  return tf.mul(x, tf.tensor(mask, x.shape));
}

/**
 * Multi-head self-attention in which a row sees itself and the valid rows before it.
 *
 * @param queries, keys, values - [B * T, D] each.
 * @param mask - [B, 1, T, T] f32 added to the scores: 0 or MASKED.
 * @returns [B * T, D].
 */
export function attention(
  queries: tf.Tensor2D,
  keys: tf.Tensor2D,
  values: tf.Tensor2D,
  mask: tf.Tensor,
  batch: number,
  length: number,
  heads: number,
): tf.Tensor2D {
  const width = queries.shape[1];
  const headWidth = width / heads;
  const split = (x: tf.Tensor2D): tf.Tensor =>
    tf.transpose(tf.reshape(x, [batch, length, heads, headWidth]), [0, 2, 1, 3]);
  const scores = tf.mul(
    tf.matMul(split(queries), split(keys), false, true),
    1 / Math.sqrt(headWidth),
  );
  const weights = tf.softmax(tf.add(scores, mask));
  const mixed = tf.matMul(weights, split(values));
  return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [batch * length, width]);
}

/** Additive mask of a left-padded batch: row t sees s when s <= t and s is not padding. [B, 1, T, T]. */
export function causalMask(lengths: Int32Array, length: number): tf.Tensor {
  const mask = new Float32Array(lengths.length * length * length).fill(MASKED);
  for (let b = 0; b < lengths.length; b++) {
    const first = length - lengths[b]!;
    for (let t = first; t < length; t++) {
      const row = (b * length + t) * length;
      mask.fill(0, row + first, row + t + 1);
    }
  }
  return tf.tensor(mask, [lengths.length, 1, length, length]);
}
