// Personalised item frequency: how often a user has had each item lately, and what that adds to the item's score. A vector of
// fixed width cannot hold some hundred items apart; a list can.
// @see Hu et al., Modeling Personalized Item Frequency Information for Next-basket Recommendation, SIGIR 2020.

import type { EventColumns } from './sequence.ts';

/** What an event counts halves with so many days before the newest of its history, as in the floor of repeat purchases. */
const HALF_LIFE_SECONDS = 90 * 86_400;

/** Distinct items of a history, by first occurrence, with n_i = sum over its events of 2^(-age / half-life). */
export interface ItemFrequencies {
  readonly items: Int32Array;
  readonly counts: Float64Array;
}

/** What items of a history have added to their scores, in units of the cosine. */
export interface ItemBoosts {
  /** Rows of the catalogue, ascending. */
  readonly items: Int32Array;
  /** As many, >= 0. */
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
 * Counts the items of the last T events of [begin, end), those that the history encoder reads.
 *
 * Ages are counted from the newest event and not from the request, so the counts are part of the state, and change when it does.
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

/** What the events [begin, end) of a user add to scores. @param maxHistory - T. */
export function historyBoosts(
  events: Pick<EventColumns, 'items' | 'times'>,
  begin: number,
  end: number,
  maxHistory: number,
  weights: FrequencyWeights,
): ItemBoosts {
  return itemBoosts(itemFrequencies(events, begin, end, maxHistory), weights);
}

/** b_i = w ln(1 + g n_i) of every item of a history; that of any other item is 0. */
export function itemBoosts(
  { items, counts }: ItemFrequencies,
  { logWeight, logGain }: FrequencyWeights,
): ItemBoosts {
  const [weight, gain] = [Math.exp(logWeight), Math.exp(logGain)];
  const order = Array.from(items.keys()).sort((a, b) => items[a]! - items[b]!);
  return {
    items: Int32Array.from(order, (i) => items[i]!),
    boosts: Float32Array.from(order, (i) => weight * Math.log1p(gain * counts[i]!)),
  };
}
