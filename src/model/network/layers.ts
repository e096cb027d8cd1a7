// Layers as pure functions of tensors: what each computes is here (attention is
// backend/fused.ts), where its weights come from is two-tower.ts.

import * as fused from '../../backend/fused.ts';
import { tf } from '../../backend/tf.ts';
import type { Random } from '../../random.ts';

/** Added to a variance before its root. */
const NORM_EPSILON = 1e-5;
/** Added to a squared norm before its root: keeps the gradient finite at zero, below f32's resolution elsewhere. */
const UNIT_EPSILON = 1e-12;

/** y = x Wᵀ + b, then relu if asked. x [n, in], weight [out, in], bias [out]; returns [n, out]. */
export function dense(
  x: tf.Tensor2D,
  weight: tf.Tensor,
  bias: tf.Tensor | undefined,
  activation: 'linear' | 'relu' = 'linear',
): tf.Tensor2D {
  if (activation === 'relu' && bias !== undefined)
    return fused.denseRelu(x, weight as tf.Tensor2D, bias);
  const operands = { a: x, b: weight as tf.Tensor2D, transposeB: true, activation };
  return tf.fused.matMul(bias === undefined ? operands : { ...operands, bias }) as tf.Tensor2D;
}

/** Normalises the rows of x [n, D] to mean 0 and variance 1, then scales and shifts; scale, offset [D]. */
export function layerNorm(x: tf.Tensor2D, scale: tf.Tensor, offset: tf.Tensor): tf.Tensor2D {
  return fused.layerNorm(x, scale, offset, NORM_EPSILON);
}

/** Rows of x [n, D] divided by their L2 norm. */
export function unitRows(x: tf.Tensor2D): tf.Tensor2D {
  return fused.unitRows(x, UNIT_EPSILON);
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
  return fused.dropout(x, rate, random.nextUint32());
}
