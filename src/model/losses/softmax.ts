// Softmax cross-entropy: over the catalogue, or over columns with logQ correction. Order: divide by tau (the caller has),
// correct, then mask. Each is one logSumExp over scores, the only place that sees [E, C], and arithmetic over [E].

import { tf } from '../../backend/tf.ts';
import { MASKED } from '../layers.ts';
import type { LogQ } from '../train-config.ts';
import type { Columns } from './columns.ts';
import { accidentalHits, type LossExamples, type MaskedPairs } from './examples.ts';

/**
 * Softmax cross-entropy over the whole catalogue; a user's positives of the step share the target evenly.
 *
 * @param queries - [E, D] unit rows divided by tau; @param items - [N, D] unit rows.
 * @returns weighted mean nats; ln N when every item looks the same.
 */
export function fullSoftmaxLoss(
  queries: tf.Tensor2D,
  items: tf.Tensor2D,
  examples: LossExamples,
): tf.Scalar {
  const positives = tf.gather(items, tf.tensor1d(examples.positives, 'int32'));
  const total = logSumExp(tf.matMul(queries, items, false, true));
  return weightedMean(tf.sub(total, rowProducts(queries, positives)), examples.weights);
}

/**
 * Sampled softmax with logQ correction: ln(1 + exp(ln Z_e - s_e)), s the positive's logit and Z_e = sum_j exp(q_e . c_j / tau - ln n_j)
 * over the columns that are no accidental hit of e, n_j the expected count of column j.
 *
 * @param queries - [E, D] unit rows divided by tau; @param positives - [E, D], unit rows of the examples' positives.
 * @param candidates - [C, D], unit rows of `columns.slots`.
 * @returns weighted mean nats; 0 for an example whose columns are all hits.
 * @see Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019. Khrylchenko et al., Correcting the LogQ Correction,
 *   RecSys 2025: their loss, the positive left out of Z and the example weighted by 1 - P, has the gradient of `negativesOnly`.
 */
export function sampledSoftmaxLoss(
  queries: tf.Tensor2D,
  positives: tf.Tensor2D,
  candidates: tf.Tensor2D,
  columns: Columns,
  examples: LossExamples,
  logQ: LogQ,
): tf.Scalar {
  const correction = (slots: Int32Array, corrected: boolean): tf.Tensor1D =>
    tf.tensor1d(corrected ? columns.logExpectedCount(slots) : new Float32Array(slots.length));
  const logits = tf.sub<tf.Tensor2D>(
    tf.matMul(queries, candidates, false, true),
    correction(columns.slots, logQ !== 'none'),
  );
  const others = logSumExp(masked(logits, accidentalHits(examples, columns.slots)));
  const own = tf.sub(
    rowProducts(queries, positives),
    correction(examples.positives, logQ === 'yi2019'),
  );
  return weightedMean(tf.softplus(tf.sub(others, own)), examples.weights);
}

/** q_e . v_e of every row, [E, D] twice to [E]. */
export function rowProducts(queries: tf.Tensor2D, vectors: tf.Tensor2D): tf.Tensor1D {
  return tf.sum(tf.mul(queries, vectors), 1);
}

/** Logits [E, C] with MASKED added at some pairs: finite, and nothing after exp. */
export function masked(logits: tf.Tensor2D, { rows, columns }: MaskedPairs): tf.Tensor2D {
  const [height, width] = logits.shape;
  const mask = new Float32Array(height * width);
  for (const [i, row] of rows.entries()) mask[row * width + columns[i]!] = MASKED;
  return tf.add(logits, tf.tensor2d(mask, [height, width]));
}

/** Sum of values [E] times weights [E]. */
export function weightedMean(values: tf.Tensor, weights: Float32Array): tf.Scalar {
  return tf.sum(tf.mul(values, tf.tensor1d(weights)));
}

/**
 * ln sum_j exp(x[e, j]) of every row, [E, C] to [E], with its own gradient: the exponentials of the forward pass are kept,
 * so that the backward pass is one product. tfjs's composite takes twice the passes over [E, C], the step's largest tensor.
 */
const logSumExp: (x: tf.Tensor) => tf.Tensor = tf.customGrad((x, save) => {
  const logits = x as tf.Tensor;
  const largest = tf.max(logits, 1, true);
  const powers = tf.exp(tf.sub(logits, largest));
  const sums = tf.sum(powers, 1, true);
  (save as tf.GradSaveFunc)([powers, sums]);
  return {
    value: tf.squeeze(tf.add(tf.log(sums), largest), [1]),
    gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) =>
      tf.mul(saved[0]!, tf.div(tf.expandDims(dy, 1), saved[1]!)),
  };
});
