// Proposals: distributions over the catalogue that negatives are drawn from. Each knows the
// probability of every item, for the logQ correction.

import type { ItemTable } from '../../../data/dataset.ts';
import type { Random } from '../../../random.ts';

/** A distribution over the N items of the catalogue. */
export interface Proposal {
  /** Probability that one draw is the item in this catalogue row; sums to 1 over the catalogue. */
  probability(row: number): number;
  /** Draws a catalogue row. */
  draw(random: Random): number;
}

/** Q = share * unigram + (1 - share) * uniform: share 0 is uniform, share 1 follows popularity. */
export class FrequencyProposal implements Proposal {
  readonly #unigram: Categorical;
  readonly #count: number;
  readonly #share: number;

  /**
   * @param counts - [N] training events of each item; at least one is positive.
   * @param unigramShare - in [0, 1].
   */
  constructor(counts: Float64Array, unigramShare: number) {
    this.#unigram = new Categorical(counts);
    this.#count = counts.length;
    this.#share = unigramShare;
  }

  probability(row: number): number {
    return this.#share * this.#unigram.probability(row) + (1 - this.#share) / this.#count;
  }

  draw(random: Random): number {
    return random.uniform() < this.#share
      ? this.#unigram.draw(random)
      : random.integer(this.#count);
  }
}

/**
 * Hard negatives: draws a category in proportion to how often positives have it, weighted by
 * confidence, then any of its items.
 *
 * Negatives of a category are therefore as frequent as positives of that category. The context
 * alone cannot tell the positive from negatives of its own category. For positives without a
 * category, the draw is uniform over the whole catalogue.
 */
export class CategoryProposal implements Proposal {
  readonly #items: ItemTable;
  /** Over the categories; the last entry stands for items without a category. */
  readonly #categories: Categorical;
  /** Items of category c: members[offsets[c]] to members[offsets[c + 1] - 1]. */
  readonly #offsets: Int32Array;
  readonly #members: Int32Array;

  /**
   * @param items - the catalogue, with categories.
   * @param positives - [N] how often each item is a positive; the sum is above 0.
   */
  constructor(items: ItemTable, positives: Float64Array) {
    this.#items = items;
    const { categoryOffsets, categoryValues, categoryConfidences } = items;
    const count = items.categoryNames.length;
    const demand = new Float64Array(count + 1);
    const offsets = new Int32Array(count + 1);
    for (const category of categoryValues) offsets[category + 1]!++;
    for (let category = 0; category < count; category++)
      offsets[category + 1]! += offsets[category]!;
    const next = offsets.slice();
    const members = new Int32Array(categoryValues.length);
    for (let row = 0; row < items.count; row++) {
      const begin = categoryOffsets[row]!;
      const end = categoryOffsets[row + 1]!;
      let total = 0;
      for (let i = begin; i < end; i++) total += categoryConfidences[i]!;
      if (begin === end) demand[count]! += positives[row]!;
      for (let i = begin; i < end; i++) {
        const category = categoryValues[i]!;
        demand[category]! += (positives[row]! * categoryConfidences[i]!) / total;
        members[next[category]!++] = row;
      }
    }
    this.#categories = new Categorical(demand);
    this.#offsets = offsets;
    this.#members = members;
  }

  probability(row: number): number {
    const { categoryOffsets, categoryValues, categoryNames, count } = this.#items;
    let sum = this.#categories.probability(categoryNames.length) / count;
    for (let i = categoryOffsets[row]!; i < categoryOffsets[row + 1]!; i++) {
      const category = categoryValues[i]!;
      sum += this.#categories.probability(category) / this.#size(category);
    }
    return sum;
  }

  draw(random: Random): number {
    const category = this.#categories.draw(random);
    return category === this.#items.categoryNames.length
      ? random.integer(this.#items.count)
      : this.#members[this.#offsets[category]! + random.integer(this.#size(category))]!;
  }

  #size(category: number): number {
    return this.#offsets[category + 1]! - this.#offsets[category]!;
  }
}

/** A distribution over 0 .. n - 1 in proportion to weights. A draw is a binary search. */
class Categorical {
  readonly #cumulative: Float64Array;
  readonly #weights: Float64Array;
  readonly #total: number;

  /** @param weights - [n] finite, at least 0, not all 0. */
  constructor(weights: Float64Array) {
    this.#weights = weights;
    this.#cumulative = new Float64Array(weights.length);
    let sum = 0;
    for (let i = 0; i < weights.length; i++) this.#cumulative[i] = sum += weights[i]!;
    this.#total = sum;
  }

  probability(index: number): number {
    return this.#weights[index]! / this.#total;
  }

  /** Never an index of weight 0. */
  draw(random: Random): number {
    const target = random.uniform() * this.#total;
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
