// Items and advertisers of the synthetic world. Typed arrays hold the few numbers that sessions
// need, 29 bytes per item; titles and categories are recomputed from (seed, item) on demand.

import * as law from './law.ts';
import { DOMAIN, RandomStream } from './random.ts';
import { COUNTRIES, LEAVES, LEAVES_PER_ROOT, ROOTS, TITLE_FILLERS } from './taxonomy.ts';

/** An item as the raw file of items has it. */
export interface ItemDescription {
  readonly id: string;
  readonly title: string;
  /** Leaf names by descending confidence. */
  readonly categories: readonly string[];
  /** Confidence of each category, in (0, 1), with two decimals. */
  readonly confidences: readonly number[];
  readonly advertiser: string;
  readonly price: number;
  readonly bid: number;
  readonly dailyBudget: number;
  /** Empty means everywhere. */
  readonly countries: readonly string[];
}

/**
 * Items are numbered leaf by leaf, by descending popularity within a leaf. Their ids are a
 * permutation, so that they do not show this order.
 */
export class Catalogue {
  readonly seed: number;
  readonly count: number;
  /** [leaves + 1]: leaf l has the items [leafOffsets[l], leafOffsets[l + 1]). */
  readonly leafOffsets: Int32Array;
  /** [leaves] rank of each leaf; 0 = largest size and highest demand. */
  readonly leafRanks: Int32Array;
  /** [N, TASTE_WIDTH], each value about N(0, 1). */
  readonly tastes: Float32Array;
  readonly prices: Float32Array;
  /** [N] largest amount that the advertiser pays for a conversion. */
  readonly bids: Float32Array;
  readonly advertisers: Int32Array;
  /** [N] bit c: offered in COUNTRIES[c]; 0 = everywhere. */
  readonly targeting: Uint8Array;
  /** [advertisers] share of its auctions that an advertiser's daily budget lasts for. */
  readonly budgetRatios: Float32Array;
  readonly #multiplier: number;
  readonly #inverse: number;
  readonly #shift: number;

  constructor(seed: number, count: number) {
    this.seed = seed;
    this.count = count;
    this.leafRanks = shuffledRanks(seed);
    this.leafOffsets = leafOffsets(this.leafRanks, count);
    this.tastes = new Float32Array(count * law.TASTE_WIDTH);
    this.prices = new Float32Array(count);
    this.bids = new Float32Array(count);
    this.advertisers = new Int32Array(count);
    this.targeting = new Uint8Array(count);
    const brands = new Brands(
      seed,
      Math.max(ROOTS.length * 3, Math.round(count / law.ITEMS_PER_ADVERTISER)),
    );
    this.budgetRatios = brands.budgetRatios;
    this.#multiplier = coprimeNear(Math.floor(count * 0.6180339887), count);
    this.#inverse = modularInverse(this.#multiplier, count);
    this.#shift = new RandomStream(seed, DOMAIN.world, 1).below(count);
    this.#fill(brands);
  }

  #fill(brands: Brands): void {
    const stream = new RandomStream(this.seed, DOMAIN.item, 0);
    const ownScale = Math.sqrt(1 - law.BRAND_SHARE);
    const brandScale = Math.sqrt(law.BRAND_SHARE);
    const leafStream = new RandomStream(this.seed, DOMAIN.world, 2);
    for (let leaf = 0; leaf < LEAVES.length; leaf++) {
      const leafPrice = 3 + 0.7 * leafStream.normal();
      for (let item = this.leafOffsets[leaf]!; item < this.leafOffsets[leaf + 1]!; item++) {
        stream.restart(this.seed, DOMAIN.item, item);
        const advertiser = brands.pick(LEAVES[leaf]!.root, stream);
        this.advertisers[item] = advertiser;
        for (let d = 0; d < law.TASTE_WIDTH; d++)
          this.tastes[item * law.TASTE_WIDTH + d] =
            brandScale * brands.tastes[advertiser * law.TASTE_WIDTH + d]! +
            ownScale * stream.normal();
        const level = this.tastes[item * law.TASTE_WIDTH]!;
        this.prices[item] = Math.exp(leafPrice + 0.6 * level + 0.2 * stream.normal());
        this.bids[item] = this.prices[item]! * 0.15 * Math.exp(0.4 * stream.normal());
        const rank = item - this.leafOffsets[leaf]!;
        if (rank >= law.MIN_LEAF_ITEMS && stream.chance(law.RESTRICTED_ITEM_SHARE))
          this.targeting[item] = randomCountries(stream);
      }
    }
  }

  leafOf(item: number): number {
    let low = 0;
    let high = LEAVES.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.leafOffsets[middle]! <= item) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  leafSize(leaf: number): number {
    return this.leafOffsets[leaf + 1]! - this.leafOffsets[leaf]!;
  }

  /** Weight of an item within its leaf by popularity alone. */
  popularity(leaf: number, item: number): number {
    return Math.pow(item - this.leafOffsets[leaf]! + 1, -law.ITEM_ZIPF_EXPONENT);
  }

  offeredIn(item: number, country: number): boolean {
    const mask = this.targeting[item]!;
    return mask === 0 || ((mask >>> country) & 1) === 1;
  }

  idOf(item: number): string {
    const number = (this.#multiplier * item + this.#shift) % this.count;
    return `item-${String(number).padStart(8, '0')}`;
  }

  /** The item of an id, or -1 when the id is not of this catalogue. */
  itemOf(id: string): number {
    const match = /^item-(\d{8})$/.exec(id);
    const number = match === null ? this.count : Number(match[1]);
    if (number >= this.count) return -1;
    return (((number - this.#shift + this.count) % this.count) * this.#inverse) % this.count;
  }

  describe(item: number): ItemDescription {
    const leaf = this.leafOf(item);
    const stream = new RandomStream(this.seed, DOMAIN.item, item, 1);
    const { words } = LEAVES[leaf]!;
    const first = stream.below(words.length);
    const second = (first + 1 + stream.below(words.length - 1)) % words.length;
    const filler = TITLE_FILLERS[stream.below(TITLE_FILLERS.length)]!;
    const advertiser = this.advertisers[item]!;
    const classes = this.#classify(leaf, stream);
    return {
      id: this.idOf(item),
      title: `${filler} ${words[first]!} ${words[second]!}`,
      categories: classes.map((entry) => LEAVES[entry.leaf]!.name),
      confidences: classes.map((entry) => entry.confidence),
      advertiser: `advertiser-${String(advertiser).padStart(6, '0')}`,
      price: Math.round(this.prices[item]! * 100) / 100,
      bid: Math.round(this.bids[item]! * 10_000) / 10_000,
      dailyBudget: Math.round(this.budgetRatios[advertiser]! * 1000),
      countries:
        this.targeting[item] === 0
          ? []
          : COUNTRIES.filter((_, country) => this.offeredIn(item, country)),
    };
  }

  /**
   * The classes that a classifier gives an item: its leaf, often a sibling, sometimes a wrong leaf.
   */
  #classify(leaf: number, stream: RandomStream): { leaf: number; confidence: number }[] {
    let own = 0.55 + 0.4 * stream.uniform();
    const root = LEAVES[leaf]!.root * LEAVES_PER_ROOT;
    const sibling =
      root + ((leaf - root + 1 + stream.below(LEAVES_PER_ROOT - 1)) % LEAVES_PER_ROOT);
    let other = 0.1 + 0.3 * stream.uniform();
    const swapped = stream.chance(law.SWAPPED_LEAF_RATE);
    if (swapped) [own, other] = [other, own];
    const classes = [{ leaf, confidence: own }];
    if (stream.chance(law.SIBLING_RATE) || swapped)
      classes.push({ leaf: sibling, confidence: other });
    if (stream.chance(law.WRONG_LEAF_RATE)) {
      const wrong = stream.below(LEAVES.length);
      const confidence = 0.05 + 0.25 * stream.uniform();
      if (classes.every((entry) => entry.leaf !== wrong)) classes.push({ leaf: wrong, confidence });
    }
    return classes
      .map((entry) => ({ leaf: entry.leaf, confidence: Math.round(entry.confidence * 100) / 100 }))
      .sort((a, b) => b.confidence - a.confidence || a.leaf - b.leaf);
  }
}

/**
 * Advertisers: each sells in one to three roots; sizes are heavy-tailed; its items share a taste.
 */
class Brands {
  readonly tastes: Float32Array;
  readonly budgetRatios: Float32Array;
  /** The advertisers of each root and their cumulative weights. */
  readonly #ofRoot: { ids: number[]; cumulative: number[] }[] = ROOTS.map(() => ({
    ids: [],
    cumulative: [],
  }));

  constructor(seed: number, count: number) {
    this.tastes = new Float32Array(count * law.TASTE_WIDTH);
    this.budgetRatios = new Float32Array(count);
    const stream = new RandomStream(seed, DOMAIN.advertiser, 0);
    for (let advertiser = 0; advertiser < count; advertiser++) {
      stream.restart(seed, DOMAIN.advertiser, advertiser);
      for (let d = 0; d < law.TASTE_WIDTH; d++)
        this.tastes[advertiser * law.TASTE_WIDTH + d] = stream.normal();
      this.budgetRatios[advertiser] = Math.min(1, Math.max(0.1, Math.exp(0.6 * stream.normal())));
      // Pareto with exponent 1.2: a few advertisers own a large part of the catalogue.
      const weight = Math.min(1_000, Math.pow(stream.uniform(), -1 / 1.2));
      const home = advertiser % ROOTS.length;
      const roots = new Set([home]);
      const extra = stream.below(3);
      for (let i = 0; i < extra; i++) roots.add(stream.below(ROOTS.length));
      for (const root of roots) {
        const { ids, cumulative } = this.#ofRoot[root]!;
        ids.push(advertiser);
        cumulative.push((cumulative.at(-1) ?? 0) + (root === home ? weight : 0.2 * weight));
      }
    }
  }

  pick(root: number, stream: RandomStream): number {
    const { ids, cumulative } = this.#ofRoot[root]!;
    return ids[stream.pick(cumulative)]!;
  }
}

function shuffledRanks(seed: number): Int32Array {
  const stream = new RandomStream(seed, DOMAIN.world, 0);
  const ranks = Int32Array.from(LEAVES, (_, index) => index);
  for (let i = ranks.length - 1; i > 0; i--) {
    const j = stream.below(i + 1);
    [ranks[i], ranks[j]] = [ranks[j]!, ranks[i]!];
  }
  return ranks;
}

function leafOffsets(ranks: Int32Array, count: number): Int32Array {
  const shares = Array.from(ranks, (rank) => Math.pow(rank + 1, -law.LEAF_SIZE_EXPONENT));
  const total = shares.reduce((sum, share) => sum + share, 0);
  const free = count - law.MIN_LEAF_ITEMS * ranks.length;
  const offsets = new Int32Array(ranks.length + 1);
  let cumulative = 0;
  // Rounding the cumulative share, not each share, makes the sizes add up to the count.
  for (let leaf = 0; leaf < ranks.length; leaf++) {
    cumulative += shares[leaf]!;
    offsets[leaf + 1] = law.MIN_LEAF_ITEMS * (leaf + 1) + Math.round((free * cumulative) / total);
  }
  return offsets;
}

function randomCountries(stream: RandomStream): number {
  let mask = 0;
  const count = 1 + stream.below(4);
  for (let i = 0; i < count; i++) mask |= 1 << stream.below(COUNTRIES.length);
  return mask;
}

function coprimeNear(start: number, modulus: number): number {
  let candidate = Math.max(1, start);
  while (greatestCommonDivisor(candidate, modulus) !== 1) candidate++;
  return candidate;
}

function greatestCommonDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

function modularInverse(value: number, modulus: number): number {
  let [previous, current] = [0, 1];
  let [dividend, divisor] = [modulus, value % modulus];
  while (divisor !== 0) {
    const quotient = Math.floor(dividend / divisor);
    [previous, current] = [current, previous - quotient * current];
    [dividend, divisor] = [divisor, dividend - quotient * divisor];
  }
  return ((previous % modulus) + modulus) % modulus;
}
