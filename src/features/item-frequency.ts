// Personalised item frequency: the decayed number of a user's events with each item, and the
// history boost that it adds to the item's score. A user state of fixed width cannot tell hundreds
// of items apart; one boost per item of the history can. @see Hu et al., Modeling Personalized Item
// Frequency Information for Next-basket Recommendation, SIGIR 2020.

import { DAY_SECONDS } from '../time.ts';
import type { EventColumns } from './sequence.ts';

/**
 * An event's count halves with every 90 days before the newest event of its history. The baseline
 * of repeat purchases uses the same half-life.
 */
const HALF_LIFE_SECONDS = 90 * DAY_SECONDS;

/**
 * The distinct items of a history, in the order of their first occurrence, with their decayed
 * counts: n_i is the sum of 2^(-age / half-life) over the events with item i.
 */
export interface ItemFrequencies {
  readonly items: Int32Array;
  readonly counts: Float64Array;
}

/** The history boosts of a user, which are added to the cosine scores of the user's items. */
export interface HistoryBoosts {
  /** Rows of the encoder's catalogue, ascending. */
  readonly items: Int32Array;
  /** The boost of each, >= 0. */
  readonly boosts: Float32Array;
}

/** The learned numbers of the boost, as logarithms, so that both stay above 0. */
export interface FrequencyWeights {
  /** ln w. */
  readonly logWeight: number;
  /** ln g. */
  readonly logGain: number;
}

/**
 * Counts the items of the last T events of [begin, end), which are the events that the history
 * encoder reads.
 *
 * The age of an event counts back from the newest event, not from the request. So the counts are
 * part of the state and change only when the state changes.
 *
 * @param maxHistory - T.
 */
export function itemFrequencies(
  { items, times }: Pick<EventColumns, 'items' | 'times'>,
  begin: number,
  end: number,
  maxHistory: number,
): ItemFrequencies {
  const counts = new Map<number, number>();
  const newest = times[end - 1]!;
  for (let event = Math.max(begin, end - maxHistory); event < end; event++) {
    const item = items[event]!;
    const count = 2 ** ((times[event]! - newest) / HALF_LIFE_SECONDS);
    counts.set(item, (counts.get(item) ?? 0) + count);
  }
  return { items: Int32Array.from(counts.keys()), counts: Float64Array.from(counts.values()) };
}

/**
 * The history boosts that follow from a user's events [begin, end).
 *
 * @param maxHistory - T.
 */
export function historyBoosts(
  events: Pick<EventColumns, 'items' | 'times'>,
  begin: number,
  end: number,
  maxHistory: number,
  weights: FrequencyWeights,
): HistoryBoosts {
  return itemBoosts(itemFrequencies(events, begin, end, maxHistory), weights);
}

/** The boost b_i = w ln(1 + g n_i) of every item of a history. The boost of any other item is 0. */
export function itemBoosts(
  { items, counts }: ItemFrequencies,
  { logWeight, logGain }: FrequencyWeights,
): HistoryBoosts {
  const [weight, gain] = [Math.exp(logWeight), Math.exp(logGain)];
  const order = Array.from(items.keys()).sort((a, b) => items[a]! - items[b]!);
  return {
    items: Int32Array.from(order, (i) => items[i]!),
    boosts: Float32Array.from(order, (i) => weight * Math.log1p(gain * counts[i]!)),
  };
}
