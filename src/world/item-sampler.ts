// Draws items for a user: by popularity and taste, or by popularity alone.

import type { Catalogue } from './catalogue.ts';
import * as law from './law.ts';
import type { Profile } from './profile.ts';
import type { RandomStream } from './random.ts';
import { LEAVES } from './taxonomy.ts';

const NOTHING: ReadonlySet<number> = new Set();

/**
 * Draws items of one catalogue. It reuses its scratch memory, so its draws must not overlap; they
 * are synchronous and cannot.
 */
export class ItemSampler {
  readonly #catalogue: Catalogue;
  readonly #items = new Int32Array(Math.max(law.EXACT_LEAF_ITEMS, law.PROPOSALS));
  readonly #weights = new Float64Array(Math.max(law.EXACT_LEAF_ITEMS, law.PROPOSALS));
  readonly #cached = new Float64Array(LEAVES.length * law.EXACT_LEAF_ITEMS);
  readonly #cachedFor: (Profile | undefined)[] = LEAVES.map(() => undefined);

  constructor(catalogue: Catalogue) {
    this.#catalogue = catalogue;
  }

  /**
   * Draws distinct items of a leaf, without replacement, by popularity x tasteWeight(). The draw is
   * exact in leaves of at most EXACT_LEAF_ITEMS; larger leaves use importance resampling of popular
   * items.
   *
   * @param count - at most MIN_LEAF_ITEMS, which is the number of items that every leaf offers in
   *   every country at least.
   * @param converted - items that the user converted before; their weight is multiplied by
   *   REPEAT_FACTOR.
   */
  drawItems(
    stream: RandomStream,
    profile: Profile,
    leaf: number,
    count: number,
    converted: ReadonlySet<number>,
  ): number[] {
    const size = this.#catalogue.leafSize(leaf);
    return size <= law.EXACT_LEAF_ITEMS
      ? this.#drawExact(stream, profile, leaf, count, converted)
      : this.#drawResampled(stream, profile, leaf, count, converted);
  }

  #drawExact(
    stream: RandomStream,
    profile: Profile,
    leaf: number,
    count: number,
    converted: ReadonlySet<number>,
  ): number[] {
    const offset = this.#catalogue.leafOffsets[leaf]!;
    const size = this.#catalogue.leafSize(leaf);
    const weights = this.#weights;
    weights.set(this.#leafWeights(profile, leaf, offset, size));
    for (const item of converted)
      if (item >= offset && item < offset + size) weights[item - offset]! *= law.REPEAT_FACTOR;
    let total = 0;
    for (let i = 0; i < size; i++) total += weights[i]!;
    const drawn: number[] = [];
    while (drawn.length < count) {
      const row = scan(weights, size, stream.uniform() * total);
      drawn.push(offset + row);
      total -= weights[row]!;
      weights[row] = 0;
    }
    return drawn;
  }

  #drawResampled(
    stream: RandomStream,
    profile: Profile,
    leaf: number,
    count: number,
    converted: ReadonlySet<number>,
  ): number[] {
    const offset = this.#catalogue.leafOffsets[leaf]!;
    const size = this.#catalogue.leafSize(leaf);
    const span = zipfSpan(size);
    const items = this.#items;
    const weights = this.#weights;
    const drawn: number[] = [];
    while (drawn.length < count) {
      let total = 0;
      for (let i = 0; i < law.PROPOSALS; i++) {
        const item = offset + zipfRank(stream.uniform(), size, span);
        items[i] = item;
        weights[i] = drawn.includes(item) ? 0 : this.tasteWeight(profile, item, converted);
        total += weights[i]!;
      }
      // One set of proposals serves all draws. When none of it has weight any more, another is
      // drawn.
      while (drawn.length < count && total > 0) {
        const item = items[scan(weights, law.PROPOSALS, stream.uniform() * total)]!;
        drawn.push(item);
        total = 0;
        for (let i = 0; i < law.PROPOSALS; i++) {
          if (items[i] === item) weights[i] = 0;
          total += weights[i]!;
        }
      }
    }
    return drawn;
  }

  /**
   * A leaf's weights for a user, cached for the current user: most draws of a life are from few
   * leaves.
   */
  #leafWeights(profile: Profile, leaf: number, offset: number, size: number): Float64Array {
    const start = leaf * law.EXACT_LEAF_ITEMS;
    const weights = this.#cached.subarray(start, start + size);
    if (this.#cachedFor[leaf] === profile) return weights;
    this.#cachedFor[leaf] = profile;
    for (let i = 0; i < size; i++)
      weights[i] = ZIPF_WEIGHTS[i]! * this.tasteWeight(profile, offset + i, NOTHING);
    return weights;
  }

  /** Draws an item of a leaf by popularity alone, in O(1). */
  drawPopular(stream: RandomStream, leaf: number): number {
    return (
      this.#catalogue.leafOffsets[leaf]! +
      zipfRank(stream.uniform(), this.#catalogue.leafSize(leaf))
    );
  }

  /** Weight of an item for a user, popularity not included; 0 where the item is not offered. */
  tasteWeight(profile: Profile, item: number, converted: ReadonlySet<number>): number {
    if (!this.#catalogue.offeredIn(item, profile.country)) return 0;
    const weight = Math.exp(law.TASTE_STRENGTH * this.#affinity(profile, item));
    return converted.has(item) ? weight * law.REPEAT_FACTOR : weight;
  }

  /** taste_u . taste_i */
  #affinity(profile: Profile, item: number): number {
    const { tastes } = this.#catalogue;
    const { taste } = profile;
    const width = law.TASTE_WIDTH;
    let sum = 0;
    for (let d = 0; d < width; d++) sum += taste[d]! * tastes[item * width + d]!;
    return sum;
  }
}

const ZIPF_WEIGHTS = Float64Array.from({ length: law.EXACT_LEAF_ITEMS }, (_, index) =>
  Math.pow(index + 1, -law.ITEM_ZIPF_EXPONENT),
);

/**
 * The first row whose running sum exceeds `target`. When rounding leaves none, the last row that
 * has weight.
 */
function scan(weights: Float64Array, length: number, target: number): number {
  let last = 0;
  for (let i = 0; i < length; i++) {
    if (weights[i]! <= 0) continue;
    last = i;
    target -= weights[i]!;
    if (target < 0) break;
  }
  return last;
}

const ZIPF_POWER = 1 - law.ITEM_ZIPF_EXPONENT;
const ZIPF_LOW = Math.pow(0.5, ZIPF_POWER);

/**
 * Draws a rank in [0, size) by the continuous Zipf law with the exponent of items, in O(1): inverts
 * the integral of x^-s.
 *
 * @param uniform - in (0, 1).
 */
function zipfRank(uniform: number, size: number, span: number = zipfSpan(size)): number {
  return Math.min(size - 1, Math.floor(Math.pow(ZIPF_LOW + uniform * span, 1 / ZIPF_POWER) - 0.5));
}

/** The integral over all ranks of a leaf, for callers that draw many ranks. */
function zipfSpan(size: number): number {
  return Math.pow(size + 0.5, ZIPF_POWER) - ZIPF_LOW;
}
