// Baskets: sets of items that one user converted in one visit or, when most visits hold single
// items, at any time. Baselines count them, and training can start from their co-occurrences.

import type { EventTable } from './dataset.ts';

/** A longer pause between two events of a user begins another visit. */
export const BASKET_PAUSE_SECONDS = 60;
/** When visits hold fewer items on average, a user's whole past is one basket instead. */
export const MIN_MEAN_BASKET = 2;
/** Largest number of newest events that count for a basket; bounds the quadratic cost of a user. */
const MAX_BASKET = 512;

export interface Baskets {
  readonly unit: 'visit' | 'user';
  /** B. */
  readonly count: number;
  /** [B + 1] into items. */
  readonly offsets: Int32Array;
  /** Distinct item rows of each basket. */
  readonly items: Int32Array;
  /** [B] Unix seconds of each basket's last event. */
  readonly times: Float64Array;
}

/**
 * Groups training events into baskets.
 *
 * @param trainEnd - [users]: the events [userOffsets[u], trainEnd[u]) of user u count.
 * @param unit - a visit, or a user's whole past; `auto` takes visits when they hold two items or
 *   more on average.
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
