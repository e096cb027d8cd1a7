// Losses: softmax over the catalogue, or over a sample with logQ correction. Order: divide by tau,
// correct, then mask.

import { tf } from '../backend/tf.ts';
import type { Random } from '../random.ts';
import { MASKED } from './layers.ts';

/** What an example of a step is, as far as its loss goes. */
export interface LossExamples {
  /** [E] item slots. */
  readonly positives: Int32Array;
  /** [E] user of each example, by row in the step. */
  readonly users: Int32Array;
  /** [E] weights, summing to 1. */
  readonly weights: Float32Array;
}

/**
 * Softmax cross-entropy over the whole catalogue; a user's positives of the step share the target evenly.
 *
 * @param queries - [E, D] unit rows; @param items - [N, D] unit rows. @returns mean nats; ln N when untrained.
 */
export function fullSoftmaxLoss(
  queries: tf.Tensor2D,
  items: tf.Tensor2D,
  examples: LossExamples,
  temperature: number,
): tf.Scalar {
  const scaled = tf.mul(queries, 1 / temperature);
  const chosen = tf.gather(items, tf.tensor1d(examples.positives, 'int32'));
  return crossEntropy(
    tf.sum(tf.mul(scaled, chosen), 1),
    tf.matMul(scaled, items, false, true),
    examples.weights,
  );
}

/** Negatives of a step and the columns of its logits. */
export interface SampledColumns {
  /** [E + S] item slots: the positives of all examples, then the sampled negatives. */
  readonly slots: Int32Array;
  /** [E + S] natural log of the probability with which a column's item is proposed. */
  readonly logProbabilities: Float32Array;
}

/** Draws negatives from the mixture Q = share * unigram + (1 - share) * uniform over the catalogue. */
export class NegativeSampler {
  readonly #unigram: Float64Array;
  readonly #cumulative: Float64Array;
  readonly #share: number;

  /** @param counts - [N] training events of each item; at least one is positive. */
  constructor(counts: ArrayLike<number>, unigramShare: number) {
    let total = 0;
    for (let i = 0; i < counts.length; i++) total += counts[i]!;
    this.#unigram = Float64Array.from(counts, (count) => count / total);
    this.#cumulative = new Float64Array(counts.length);
    let sum = 0;
    for (let i = 0; i < counts.length; i++) this.#cumulative[i] = sum += this.#unigram[i]!;
    this.#share = unigramShare;
  }

  /** Probability that one draw of the mixture is this item. */
  probability(slot: number): number {
    return this.#share * this.#unigram[slot]! + (1 - this.#share) / this.#unigram.length;
  }

  columns(positives: Int32Array, negatives: number, random: Random): SampledColumns {
    const slots = new Int32Array(positives.length + negatives);
    slots.set(positives);
    for (let s = positives.length; s < slots.length; s++)
      slots[s] =
        random.uniform() < this.#share
          ? this.#drawUnigram(random)
          : random.integer(this.#unigram.length);
    const logProbabilities = Float32Array.from(slots, (slot, column) =>
      // A positive's column is there because users converted on it: it was proposed by the unigram alone.
      Math.log(column < positives.length ? this.#unigram[slot]! : this.probability(slot)),
    );
    return { slots, logProbabilities };
  }

  #drawUnigram(random: Random): number {
    const target = random.uniform() * this.#cumulative.at(-1)!;
    let low = 0;
    let high = this.#cumulative.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#cumulative[middle]! > target) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/**
 * Sampled softmax with logQ correction: logit[i, j] = (q_i . c_j) / tau - ln p_j, accidental hits masked.
 *
 * An accidental hit is a column with the example's own positive again, or with another positive of its user.
 *
 * @param queries - [E, D]; @param candidates - [E + S, D] vectors of `columns.slots`, column e the positive of e.
 * @see Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019.
 */
export function sampledSoftmaxLoss(
  queries: tf.Tensor2D,
  candidates: tf.Tensor2D,
  columns: SampledColumns,
  examples: LossExamples,
  temperature: number,
): tf.Scalar {
  const count = examples.positives.length;
  const width = columns.slots.length;
  const mask = new Float32Array(count * width);
  const positivesOf = groupByUser(examples);
  for (let e = 0; e < count; e++) {
    const own = positivesOf.get(examples.users[e]!)!;
    for (let column = 0; column < width; column++)
      if (column !== e && own.has(columns.slots[column]!)) mask[e * width + column] = MASKED;
  }
  const scaled = tf.mul(queries, 1 / temperature);
  const logProbabilities = tf.tensor1d(columns.logProbabilities);
  const logits = tf.add(
    tf.sub(tf.matMul(scaled, candidates, false, true), logProbabilities),
    tf.tensor2d(mask, [count, width]),
  );
  const positiveLogits = tf.sub(
    tf.sum(tf.mul(scaled, tf.slice(candidates, 0, count)), 1),
    tf.slice(logProbabilities, 0, count),
  );
  return crossEntropy(positiveLogits, logits, examples.weights);
}

/** Weighted mean of logSumExp(logits[e]) - positiveLogits[e]. */
function crossEntropy(
  positiveLogits: tf.Tensor,
  logits: tf.Tensor,
  weights: Float32Array,
): tf.Scalar {
  return tf.sum(tf.mul(tf.sub(logSumExp(logits), positiveLogits), tf.tensor1d(weights)));
}

/**
 * ln sum_j exp(x[e, j]) of every row, [E, N] to [E], with its own gradient: the exponentials of the forward pass are kept,
 * so that the backward pass is one product. tfjs's composite takes twice the passes over [E, N], the step's largest tensor.
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

function groupByUser(examples: LossExamples): Map<number, Set<number>> {
  const groups = new Map<number, Set<number>>();
  for (const [e, user] of examples.users.entries()) {
    let group = groups.get(user);
    if (group === undefined) groups.set(user, (group = new Set()));
    group.add(examples.positives[e]!);
  }
  return groups;
}
