// Losses: softmax over the catalogue, or over a sample with logQ correction. Order: divide by tau,
// correct, then mask.

import { softmaxCrossEntropy, type MaskedPairs } from '../backend/fused.ts';
import type { tf } from '../backend/tf.ts';
import type { Random } from '../random.ts';

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
  return softmaxCrossEntropy(queries, items, {
    targets: examples.positives,
    weights: examples.weights,
    inverseTemperature: 1 / temperature,
  });
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
  return softmaxCrossEntropy(queries, candidates, {
    targets: Int32Array.from(examples.positives, (_, e) => e),
    weights: examples.weights,
    inverseTemperature: 1 / temperature,
    bias: columns.logProbabilities.map((value) => -value),
    masked: accidentalHits(columns.slots, examples),
  });
}

/** Pairs of an example and a column with one of its user's positives, but for its own column. */
function accidentalHits(slots: Int32Array, examples: LossExamples): MaskedPairs {
  const columnsOf = new Map<number, number[]>();
  for (const [column, slot] of slots.entries()) {
    const columns = columnsOf.get(slot);
    if (columns === undefined) columnsOf.set(slot, [column]);
    else columns.push(column);
  }
  const positivesOf = groupByUser(examples);
  const rows: number[] = [];
  const columns: number[] = [];
  for (const [e, user] of examples.users.entries())
    for (const slot of positivesOf.get(user)!)
      for (const column of columnsOf.get(slot)!)
        if (column !== e) {
          rows.push(e);
          columns.push(column);
        }
  return { rows: Int32Array.from(rows), columns: Int32Array.from(columns) };
}

function groupByUser(examples: LossExamples): Map<number, Set<number>> {
  const groups = new Map<number, Set<number>>();
  for (const [e, user] of examples.users.entries()) {
    let group = groups.get(user);
    if (group === undefined) groups.set(user, (group = new Set()));
    group.add(examples.positives[e]!);
  }
  return groups;
}
