// Layers as pure functions of tensors. Attention is in backend/fused.ts; two-tower.ts connects the
// layers and passes their weights.

import * as fused from '../../backend/fused.ts';
import { tf } from '../../backend/tf.ts';
import type { Random } from '../../random.ts';
import type { Bags } from './bags.ts';

/** Looks up a tensor of the model by its name in weights.ts. */
export type WeightOf = (name: string) => tf.Variable;

/** Dropout rates of a training step. Absent at inference. */
export interface TrainingNoise {
  readonly random: Random;
  /** Rate inside the history encoder, and share of events left out of the mean of a history. */
  readonly encoderRate: number;
  /** Rate of the input of the head's hidden layer. */
  readonly headRate: number;
  /** Rate of the context vector. */
  readonly contextRate: number;
}

/** Added to a variance before its square root. */
const NORM_EPSILON = 1e-5;
/**
 * Added to a squared norm before its square root. It keeps the gradient finite at zero, and is
 * below the resolution of f32 elsewhere.
 */
const UNIT_EPSILON = 1e-12;

/**
 * A dense layer: y = x Wᵀ + b, followed by relu if `activation` says so.
 *
 * @param x - [n, in].
 * @param weight - [out, in].
 * @param bias - [out].
 * @returns [n, out].
 */
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

/**
 * Layer normalisation: each row gets mean 0 and variance 1, then is scaled and shifted.
 *
 * @param x - [n, D].
 * @param scale - [D].
 * @param offset - [D].
 * @returns [n, D].
 */
export function layerNorm(x: tf.Tensor2D, scale: tf.Tensor, offset: tf.Tensor): tf.Tensor2D {
  return fused.layerNorm(x, scale, offset, NORM_EPSILON);
}

/** The rows of x [n, D], each divided by its L2 norm. */
export function unitRows(x: tf.Tensor2D): tf.Tensor2D {
  return fused.unitRows(x, UNIT_EPSILON);
}

/**
 * Weighted sum of table rows per bag: out[b] = sum over its entries of weight * table[row]. An
 * empty bag gives zeros.
 *
 * The gradient goes to the table alone and is our own: bags stay ragged in both directions. The
 * gradient that tfjs has for a segment sum would mask every element against negative ids, which do
 * not occur here.
 *
 * @param table - [R, width].
 * @param bags - B bags of rows of `table`.
 * @returns [B, width].
 */
export function weightedBag(table: tf.Tensor, bags: Bags): tf.Tensor2D {
  const { offsets, rows, weights } = bags;
  const count = offsets.length - 1;
  const segments = new Int32Array(rows.length);
  for (let b = 0; b < count; b++) segments.fill(b, offsets[b], offsets[b + 1]);
  // Each pass makes its own: tfjs disposes tensors that the forward pass made and did not save.
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

/**
 * Dropout: sets a share `rate` of the elements to 0 and divides the rest by 1 - rate. Returns x
 * itself without a random stream.
 *
 * @param rate - in [0, 1).
 */
export function dropout<T extends tf.Tensor>(x: T, rate: number, random: Random | undefined): T {
  if (random === undefined || rate === 0) return x;
  return fused.dropout(x, rate, random.nextUint32());
}
