// Counts behind the floors: baskets of training events, item popularity, and which items share baskets.

import type { EventTable } from '../data/dataset.ts';

/** Events of one user with no longer pause between them are one basket. */
export const BASKET_PAUSE_SECONDS = 60;
/** Below this mean size, visits hold single items, and a user's whole past is the basket instead. */
const MIN_MEAN_BASKET = 2;
/** The latest events of a basket that counts read; bounds the quadratic cost of a heavy user. */
const MAX_BASKET = 512;

export interface Baskets {
  readonly unit: 'visit' | 'user';
  /** B. */
  readonly count: number;
  /** [B + 1] into items. */
  readonly offsets: Int32Array;
  /** Distinct item slots of each basket. */
  readonly items: Int32Array;
  /** [B] Unix seconds of its last event. */
  readonly times: Float64Array;
}

/**
 * Groups training events into baskets.
 *
 * @param trainEnd - [users]: events [userOffsets[u], trainEnd[u]) count.
 * @param unit - a visit, a user's whole past, or `auto`: visits where they hold two items or more on average.
 */
export function buildBaskets(
  events: EventTable,
  trainEnd: Int32Array,
  unit: 'visit' | 'user' | 'auto' = 'auto',
): Baskets {
  if (unit === 'auto') {
    const visits = buildBaskets(events, trainEnd, 'visit');
    return visits.items.length >= MIN_MEAN_BASKET * visits.count
      ? visits
      : buildBaskets(events, trainEnd, 'user');
  }
  const offsets = [0];
  const times: number[] = [];
  const items = new Int32Array(events.count);
  let used = 0;
  const close = (begin: number, end: number): void => {
    if (begin === end) return;
    const distinct = new Set<number>();
    for (let i = Math.max(begin, end - MAX_BASKET); i < end; i++) distinct.add(events.items[i]!);
    for (const item of distinct) items[used++] = item;
    offsets.push(used);
    times.push(events.times[end - 1]!);
  };
  for (let user = 0; user < trainEnd.length; user++) {
    let begin = events.userOffsets[user]!;
    const end = trainEnd[user]!;
    if (unit === 'visit')
      for (let i = begin + 1; i < end; i++)
        if (events.times[i]! - events.times[i - 1]! > BASKET_PAUSE_SECONDS) {
          close(begin, i);
          begin = i;
        }
    close(begin, end);
  }
  return {
    unit,
    count: times.length,
    offsets: Int32Array.from(offsets),
    items: items.slice(0, used),
    times: Float64Array.from(times),
  };
}

/** [N] baskets that hold the item and end at or after `sinceSeconds`. */
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

/** Items that share baskets with one item, and in how many. */
export interface Neighbours {
  readonly items: Int32Array;
  readonly counts: Float32Array;
}

/** Shared baskets of item pairs; rows are counted when they are first asked for, so a large catalogue costs what is used. */
export class CoOccurrence {
  /** [N] baskets of each item. */
  readonly counts: Float64Array;
  readonly #baskets: Baskets;
  /** Baskets of each item: [N + 1] into #members. */
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

  /** Without the item itself. */
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
