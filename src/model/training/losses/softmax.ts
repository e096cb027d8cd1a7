// Softmax cross-entropy: over the catalogue, or over columns with logQ correction. Order: divide by tau (the caller has),
// correct, then mask. Each is one logSumExp over scores, the only place that sees [E, C], and arithmetic over [E].

import { logSumExpScores, rowProducts } from '../../../backend/fused.ts';
import { tf } from '../../../backend/tf.ts';
import type { LogQ } from '../../train-config.ts';
import type { Columns } from './columns.ts';
import { columnBoosts, noNegatives, type ExampleBoosts, type LossExamples } from './examples.ts';

/**
 * Softmax cross-entropy over the catalogue, but for what is left out; a user's positives of the step share the target evenly.
 *
 * @param queries - [E, D] unit rows divided by tau; @param items - [N, D] unit rows; @param boosts - divided by tau, too.
 * @returns weighted mean nats; ln N when every item looks the same.
 */
export function fullSoftmaxLoss(
  queries: tf.Tensor2D,
  items: tf.Tensor2D,
  examples: LossExamples,
  boosts?: ExampleBoosts,
): tf.Scalar {
  const positives = tf.gather(items, tf.tensor1d(examples.positives, 'int32'));
  const total = logSumExpScores(queries, items, undefined, examples.leftOut, boosts?.pairs);
  const own = positiveLogits(queries, positives, boosts);
  return weightedMean(tf.sub(total, own), examples.weights);
}

/**
 * Sampled softmax with logQ correction: ln(1 + exp(ln Z_e - s_e)), s the positive's logit and Z_e = sum_j exp(q_e . c_j / tau - ln n_j)
 * over the columns that are negatives of e, n_j the expected count of column j.
 *
 * @param queries - [E, D] unit rows divided by tau; @param positives - [E, D], unit rows of the examples' positives.
 * @param candidates - [C, D], unit rows of `columns.rows`; @param boosts - divided by tau, too.
 * @returns weighted mean nats; 0 for an example without a negative column.
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
  boosts?: ExampleBoosts,
): tf.Scalar {
  const bias = columns.logExpectedCount(columns.rows).map((value) => -value);
  const others = logSumExpScores(
    queries,
    candidates,
    logQ === 'none' ? undefined : bias,
    noNegatives(examples, columns.rows),
    boosts && columnBoosts(boosts.pairs, columns.rows),
  );
  const products = positiveLogits(queries, positives, boosts);
  const own =
    logQ === 'yi2019'
      ? tf.sub(products, tf.tensor1d(columns.logExpectedCount(examples.positives)))
      : products;
  return weightedMean(tf.softplus(tf.sub(others, own)), examples.weights);
}

/** Logits of the examples' positives, [E]. */
export function positiveLogits(
  queries: tf.Tensor2D,
  positives: tf.Tensor2D,
  boosts: ExampleBoosts | undefined,
): tf.Tensor1D {
  const products = rowProducts(queries, positives);
  return boosts === undefined ? products : tf.add(products, boosts.ofPositives);
}

/** Sum of values [E] times weights [E]. */
export function weightedMean(values: tf.Tensor, weights: Float32Array): tf.Scalar {
  return tf.sum(tf.mul(values, tf.tensor1d(weights)));
}
