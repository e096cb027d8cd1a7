// Binary cross-entropy over shared negatives, and its generalised form gBCE, which corrects the
// overconfidence that negative sampling causes.

import { MASKED, scatterBoosts, type ScorePairs } from '../../../backend/fused.ts';
import { tf } from '../../../backend/tf.ts';
import type { SampledCandidates } from './candidates.ts';
import {
  candidateBoosts,
  notNegatives,
  type ExampleBoosts,
  type LossExamples,
} from './examples.ts';
import { positiveLogits, weightedMean } from './softmax.ts';

/**
 * The power beta to which gBCE raises the probability of the positive: beta = a (t (1 - 1/a) +
 * 1/a), with the sampling rate a = negatives / (N - 1). It is 1 for plain BCE.
 *
 * @param negatives - number of negatives drawn for a step.
 * @param itemCount - N, number of items of the catalogue.
 * @param calibration - t in [0, 1]: 0 is plain BCE, 1 fully corrects for the sampling rate.
 * @see Petrov and Macdonald, gSASRec: Reducing Overconfidence, RecSys 2023, equation 12.
 */
export function positivePower(negatives: number, itemCount: number, calibration: number): number {
  // Draws are with replacement, so there can be more of them than items.
  const rate = Math.min(1, negatives / Math.max(1, itemCount - 1));
  return rate * (calibration * (1 - 1 / rate) + 1 / rate);
}

/**
 * The gBCE loss: -(beta ln sigmoid(s) + sum_j ln(1 - sigmoid(s_j))) / (C + 1). Here s is the logit
 * of the positive, and j runs over the candidates that are negatives of the example.
 *
 * @param queries - [E, D] query embeddings: unit rows divided by tau.
 * @param positives - [E, D] item vectors of the examples' positives, unit rows.
 * @param vectors - [C, D] item vectors of `candidates`, unit rows.
 * @param power - beta, from positivePower.
 * @param boosts - history boosts, also divided by tau.
 * @returns the weighted mean over the examples, in nats.
 */
export function binaryLoss(
  queries: tf.Tensor2D,
  positives: tf.Tensor2D,
  vectors: tf.Tensor2D,
  candidates: SampledCandidates,
  examples: LossExamples,
  power: number,
  boosts?: ExampleBoosts,
): tf.Scalar {
  const products: tf.Tensor2D = tf.matMul(queries, vectors, false, true);
  const scored =
    boosts === undefined
      ? products
      : tf.add<tf.Tensor2D>(
          products,
          scatterBoosts(candidateBoosts(boosts.pairs, candidates.rows), products.shape),
        );
  const logits = masked(scored, notNegatives(examples, candidates.rows));
  const own = positiveLogits(queries, positives, boosts);
  const positive = tf.mul(tf.softplus(tf.neg(own)), power);
  const negative = tf.sum(tf.softplus(logits), 1);
  return weightedMean(
    tf.div(tf.add(positive, negative), candidates.rows.length + 1),
    examples.weights,
  );
}

/**
 * Adds MASKED to the logits [E, C] of some pairs. They stay finite, and their softplus is 0.
 */
function masked(logits: tf.Tensor2D, { rows, columns }: ScorePairs): tf.Tensor2D {
  const [height, width] = logits.shape;
  const mask = new Float32Array(height * width);
  for (const [i, row] of rows.entries()) mask[row * width + columns[i]!] = MASKED;
  return tf.add(logits, tf.tensor2d(mask, [height, width]));
}
