// Adds the boosts of items in the user's history to their scores. The index ranks by dot products
// alone, so boosted items are scored one by one and merged into its hits. A boost never lowers a
// score: the best k of all items are among the best k of the index and the boosted items.

import type { HistoryBoosts } from '../../features/item-frequency.ts';
import type { Engine } from '../engine/engine.ts';
import type { LiveFilter } from '../engine/live-items.ts';
import type { RankedHits } from './hits.ts';
import { scoreItems } from './score-items.ts';

/**
 * The best `maxHits` items by score plus boost, best first, ties by lower row.
 *
 * @param hits - the best items by score alone: `maxHits` of them, or all that pass the filter.
 * @param historyBoosts - of the user, by rows of the bundle.
 * @param filter - the filter that `hits` were found under.
 */
export function withHistoryBoosts(
  engine: Engine,
  filter: LiveFilter | undefined,
  query: Float32Array,
  hits: RankedHits,
  historyBoosts: HistoryBoosts,
  maxHits: number,
): RankedHits {
  const { items } = engine;
  const boosted = scoreBoosted(engine, filter, query, historyBoosts);
  const rows = new Int32Array(Math.min(maxHits, hits.rows.length + boosted.rows.length));
  const scores = new Float32Array(rows.length);
  let count = 0;
  for (let h = 0, b = 0; count < rows.length;) {
    // A hit with a boost is also in `boosted`, because it passed the same filter.
    while (h < hits.rows.length && indexOf(historyBoosts, items.baseRow(hits.rows[h]!)) >= 0) h++;
    const noMoreHits = h === hits.rows.length;
    if (noMoreHits && b === boosted.rows.length) break;
    const isBoosted = noMoreHits || (b < boosted.rows.length && isBefore(boosted, b, hits, h));
    const from = isBoosted ? boosted : hits;
    const i = isBoosted ? b++ : h++;
    rows[count] = from.rows[i]!;
    scores[count++] = from.scores[i]!;
  }
  return { rows: rows.subarray(0, count), scores: scores.subarray(0, count) };
}

/**
 * Boost of an item; 0 if it is not in the user's history.
 *
 * @param baseRow - row of the bundle, -1 for an item that the bundle does not know.
 */
export function boostOf(historyBoosts: HistoryBoosts, baseRow: number): number {
  const index = indexOf(historyBoosts, baseRow);
  return index < 0 ? 0 : historyBoosts.boosts[index]!;
}

/** Index of a row of the bundle among the boosted items, which ascend; -1 if it is not one. */
function indexOf({ items }: HistoryBoosts, baseRow: number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle]! < baseRow) low = middle + 1;
    else high = middle;
  }
  return items[low] === baseRow ? low : -1;
}

/** The boosted items that exist and pass the filter, best first, ties by lower row. */
function scoreBoosted(
  engine: Engine,
  filter: LiveFilter | undefined,
  query: Float32Array,
  historyBoosts: HistoryBoosts,
): RankedHits {
  const { items } = engine;
  const rows = new Int32Array(historyBoosts.items.length);
  const boosts = new Float32Array(rows.length);
  let count = 0;
  for (let i = 0; i < rows.length; i++) {
    const row = items.liveRow(historyBoosts.items[i]!);
    if (row < 0 || (filter !== undefined && !passes(filter, row, items.base.count))) continue;
    rows[count] = row;
    boosts[count++] = historyBoosts.boosts[i]!;
  }
  const passing = rows.subarray(0, count);
  const scores = scoreItems(engine, query, passing);
  for (let i = 0; i < count; i++) scores[i]! += boosts[i]!;
  const order = new Int32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  order.sort((a, b) => scores[b]! - scores[a]! || passing[a]! - passing[b]!);
  return {
    rows: order.map((i) => passing[i]!),
    scores: Float32Array.from(order, (i) => scores[i]!),
  };
}

function passes({ allow, fresh }: LiveFilter, row: number, baseCount: number): boolean {
  return row < baseCount ? allow.has(row) : (fresh?.has(row - baseCount) ?? true);
}

function isBefore(a: RankedHits, i: number, b: RankedHits, j: number): boolean {
  const difference = a.scores[i]! - b.scores[j]!;
  return difference > 0 || (difference === 0 && a.rows[i]! < b.rows[j]!);
}
