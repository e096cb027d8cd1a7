// Layers as pure functions of tensors. Attention is in backend/fused.ts; two-tower.ts connects the
// layers and passes their weights.

import * as fused from '../../backend/fused.ts';
import { tf } from '../../backend/tf.ts';
import type { Random } from '../../random.ts';
import type { Bags } from './bags.ts';

/** Looks up a tensor of the model by its name in weights.ts. */
export type WeightOf = (name: string) => tf.Variable;

/** The dropout rates of a training step, and the random stream that draws its masks. */
export interface TrainingNoise {
  readonly random: Random;
  /** Rate inside the history encoder, and rate of events left out of the mean of a history. */
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
 * A dense layer: y = x Wᵀ + b, followed by relu when `activation` is `relu`.
 *
 * @param x - [n, in].
 * @param weight - [out, in].
 * @param bias - [out]; undefined for none.
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

/** Divides each row of x [n, D] by its L2 norm. Returns [n, D]. */
export function unitRows(x: tf.Tensor2D): tf.Tensor2D {
  return fused.unitRows(x, UNIT_EPSILON);
}

/**
 * Weighted sum of table rows per bag: out[b] is the sum of weight * table[row] over the entries of
 * bag b. An empty bag gives zeros.
 *
 * Only the table gets a gradient. This function defines that gradient itself, because the gradient
 * of a segment sum in tfjs masks every element against negative ids, which do not occur here.
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
  // Each pass creates its own index tensors, because tfjs disposes tensors that the forward pass
  // creates and does not save.
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
 * Dropout: sets each element to 0 with probability `rate` and divides the others by 1 - rate.
 *
 * @param rate - in [0, 1).
 * @param random - draws the seed of the mask; undefined at inference.
 * @returns a tensor of the shape of x; x itself without `random` or at rate 0.
 */
export function dropout<T extends tf.Tensor>(x: T, rate: number, random: Random | undefined): T {
  if (random === undefined || rate === 0) return x;
  return fused.dropout(x, rate, random.nextUint32());
}
