// Counts for the baselines: the popularity of items, and which items share baskets in training.

import type { Baskets } from '../../data/baskets.ts';

/**
 * Number of baskets that hold each item.
 *
 * @param sinceSeconds - only baskets that end at or after this time count; all when absent.
 * @returns [N].
 */
export function basketCounts(
  baskets: Baskets,
  itemCount: number,
  sinceSeconds: number = -Infinity,
): Float64Array {
  const counts = new Float64Array(itemCount);
  for (let basket = 0; basket < baskets.count; basket++)
    if (baskets.times[basket]! >= sinceSeconds)
      for (let i = baskets.offsets[basket]!; i < baskets.offsets[basket + 1]!; i++)
        counts[baskets.items[i]!]!++;
  return counts;
}

/** The items that share baskets with one item, and the number of these baskets. */
export interface Neighbours {
  readonly items: Int32Array;
  readonly counts: Float32Array;
}

/**
 * Shared baskets of item pairs. The pairs of an item are counted on first use, so a large catalogue
 * costs only what is used.
 */
export class CoOccurrence {
  /** [N] number of baskets of each item. */
  readonly counts: Float64Array;
  readonly #baskets: Baskets;
  /** [N + 1] offsets into #members, which lists the baskets of each item. */
  readonly #offsets: Int32Array;
  readonly #members: Int32Array;
  readonly #scratch: Float32Array;
  readonly #rows = new Map<number, Neighbours>();

  constructor(baskets: Baskets, itemCount: number) {
    this.#baskets = baskets;
    this.counts = basketCounts(baskets, itemCount);
    this.#offsets = new Int32Array(itemCount + 1);
    for (let item = 0; item < itemCount; item++)
      this.#offsets[item + 1] = this.#offsets[item]! + this.counts[item]!;
    this.#members = new Int32Array(baskets.items.length);
    const next = this.#offsets.slice(0, itemCount);
    for (let basket = 0; basket < baskets.count; basket++)
      for (let i = baskets.offsets[basket]!; i < baskets.offsets[basket + 1]!; i++)
        this.#members[next[baskets.items[i]!]!++] = basket;
    this.#scratch = new Float32Array(itemCount);
  }

  /** The neighbours of an item, without the item itself. */
  neighbours(item: number): Neighbours {
    const known = this.#rows.get(item);
    if (known !== undefined) return known;
    const { offsets, items } = this.#baskets;
    const found: number[] = [];
    for (let m = this.#offsets[item]!; m < this.#offsets[item + 1]!; m++) {
      const basket = this.#members[m]!;
      for (let i = offsets[basket]!; i < offsets[basket + 1]!; i++) {
        const other = items[i]!;
        if (this.#scratch[other]!++ === 0) found.push(other);
      }
    }
    const others = Int32Array.from(found.filter((other) => other !== item));
    const row = {
      items: others,
      counts: Float32Array.from(others, (other) => this.#scratch[other]!),
    };
    for (const other of found) this.#scratch[other] = 0;
    this.#rows.set(item, row);
    return row;
  }
}
