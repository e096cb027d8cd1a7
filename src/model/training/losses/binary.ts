// Binary cross-entropy over shared negatives, and its generalised form that undoes the overconfidence which sampling brings.

import { MASKED, scatterBoosts, type ScorePairs } from '../../../backend/fused.ts';
import { tf } from '../../../backend/tf.ts';
import type { Columns } from './columns.ts';
import { columnBoosts, noNegatives, type ExampleBoosts, type LossExamples } from './examples.ts';
import { positiveLogits, weightedMean } from './softmax.ts';

/**
 * gBCE's power of the positive's probability, 1 for plain BCE: beta = a (t (1 - 1/a) + 1/a), a = negatives / (N - 1).
 *
 * @param calibration - t in [0, 1]: 0 is plain BCE, 1 recovers the probabilities of the full softmax's ranking.
 * @see Petrov and Macdonald, gSASRec: Reducing Overconfidence, RecSys 2023, equation 12.
 */
export function positivePower(negatives: number, itemCount: number, calibration: number): number {
  // Draws are with replacement, so there may be more of them than items.
  const rate = Math.min(1, negatives / Math.max(1, itemCount - 1));
  return rate * (calibration * (1 - 1 / rate) + 1 / rate);
}

/**
 * gBCE: -(beta ln sigmoid(s) + sum_j ln(1 - sigmoid(s_j))) / (C + 1), j over the columns that are negatives.
 *
 * @param queries - [E, D] unit rows divided by tau; @param positives - [E, D], unit rows of the examples' positives.
 * @param candidates - [C, D], unit rows of `columns.rows`; @param power - beta, from positivePower.
 * @param boosts - divided by tau, too.
 * @returns weighted mean nats.
 */
export function binaryLoss(
  queries: tf.Tensor2D,
  positives: tf.Tensor2D,
  candidates: tf.Tensor2D,
  columns: Columns,
  examples: LossExamples,
  power: number,
  boosts?: ExampleBoosts,
): tf.Scalar {
  const products: tf.Tensor2D = tf.matMul(queries, candidates, false, true);
  const scored =
    boosts === undefined
      ? products
      : tf.add<tf.Tensor2D>(
          products,
          scatterBoosts(columnBoosts(boosts.pairs, columns.rows), products.shape),
        );
  const logits = masked(scored, noNegatives(examples, columns.rows));
  const own = positiveLogits(queries, positives, boosts);
  const positive = tf.mul(tf.softplus(tf.neg(own)), power);
  const negative = tf.sum(tf.softplus(logits), 1);
  return weightedMean(
    tf.div(tf.add(positive, negative), columns.rows.length + 1),
    examples.weights,
  );
}

/** Logits [E, C] with MASKED added at some pairs: finite, and nothing after exp. */
function masked(logits: tf.Tensor2D, { rows, columns }: ScorePairs): tf.Tensor2D {
  const [height, width] = logits.shape;
  const mask = new Float32Array(height * width);
  for (const [i, row] of rows.entries()) mask[row * width + columns[i]!] = MASKED;
  return tf.add(logits, tf.tensor2d(mask, [height, width]));
}
