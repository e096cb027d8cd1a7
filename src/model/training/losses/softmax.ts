// Softmax cross-entropy over the catalogue, or over sampled candidates with logQ correction. The
// order is: divide by tau (the caller does this), correct, mask. Each loss is one call of
// logSumExpScores, the only operation over all [E, C] scores, and arithmetic on vectors [E].

import { logSumExpScores, rowProducts } from '../../../backend/fused.ts';
import { tf } from '../../../backend/tf.ts';
import type { LogQ } from '../../train-config.ts';
import type { SampledCandidates } from './candidates.ts';
import {
  candidateBoosts,
  notNegatives,
  type ExampleBoosts,
  type LossExamples,
} from './examples.ts';

/**
 * Softmax cross-entropy over the catalogue without the items that `examples` leaves out. Examples
 * of one user with the same query act as one example whose target is spread over their positives.
 *
 * @param queries - [E, D] query embeddings: unit rows divided by tau.
 * @param items - [N, D] item vectors of the catalogue, unit rows.
 * @param boosts - history boosts, also divided by tau.
 * @returns the weighted mean over the examples, in nats; ln N when all items have the same score.
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
 * Sampled softmax with logQ correction: ln(1 + exp(ln Z_e - s_e)). s_e is the logit of the
 * positive, Z_e = sum_j exp(q_e . c_j / tau - ln n_j) runs over the candidates that are negatives
 * of e, and n_j is the expected count of candidate j.
 *
 * @param queries - [E, D] query embeddings: unit rows divided by tau.
 * @param positives - [E, D] item vectors of the examples' positives, unit rows.
 * @param vectors - [C, D] item vectors of `candidates`, unit rows.
 * @param boosts - history boosts, also divided by tau.
 * @returns the weighted mean over the examples, in nats; an example without a negative adds 0.
 * @see Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019.
 * @see Khrylchenko et al., Correcting the LogQ Correction, RecSys 2025. Their loss leaves the
 *   positive out of Z and weights the example by 1 - P; it has the gradient of `negativesOnly`.
 */
export function sampledSoftmaxLoss(
  queries: tf.Tensor2D,
  positives: tf.Tensor2D,
  vectors: tf.Tensor2D,
  candidates: SampledCandidates,
  examples: LossExamples,
  logQ: LogQ,
  boosts?: ExampleBoosts,
): tf.Scalar {
  const bias = candidates.logExpectedCount(candidates.rows).map((value) => -value);
  const others = logSumExpScores(
    queries,
    vectors,
    logQ === 'none' ? undefined : bias,
    notNegatives(examples, candidates.rows),
    boosts && candidateBoosts(boosts.pairs, candidates.rows),
  );
  const products = positiveLogits(queries, positives, boosts);
  const own =
    logQ === 'yi2019'
      ? tf.sub(products, tf.tensor1d(candidates.logExpectedCount(examples.positives)))
      : products;
  return weightedMean(tf.softplus(tf.sub(others, own)), examples.weights);
}

/**
 * Logits of the examples' positives, with their history boosts.
 *
 * @param queries - [E, D] query embeddings: unit rows divided by tau.
 * @param positives - [E, D] item vectors of the positives, unit rows.
 * @returns [E].
 */
export function positiveLogits(
  queries: tf.Tensor2D,
  positives: tf.Tensor2D,
  boosts: ExampleBoosts | undefined,
): tf.Tensor1D {
  const products = rowProducts(queries, positives);
  return boosts === undefined ? products : tf.add(products, boosts.ofPositives);
}

/** The weighted mean of values [E]: the sum of values times weights [E], which sum to 1. */
export function weightedMean(values: tf.Tensor, weights: Float32Array): tf.Scalar {
  return tf.sum(tf.mul(values, tf.tensor1d(weights)));
}
