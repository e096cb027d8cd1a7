// The items of a user's list: scored one by one, with their boosts, and merged into what the index found. An index ranks by
// dot products alone; a boost only ever lifts an item, so the best k of all are among its best k and the list.

import type { HistoryBoosts } from '../../features/item-frequency.ts';
import type { Engine } from '../engine/engine.ts';
import type { LiveFilter } from '../engine/live-items.ts';
import { scoreItems } from './score-items.ts';
import type { RankedHits } from './hits.ts';

/**
 * The best `most` of all items with boosts, best first, ties by lower row.
 *
 * @param hits - the best without boosts: `most` of them, or all that pass.
 * @param list - of the user; rows of the bundle.
 * @param filter - that `hits` were found under.
 */
export function withHistoryBoosts(
  engine: Engine,
  filter: LiveFilter | undefined,
  query: Float32Array,
  hits: RankedHits,
  list: HistoryBoosts,
  most: number,
): RankedHits {
  const listed = scoreBoosted(engine, filter, query, list);
  const rows = new Int32Array(Math.min(most, hits.rows.length + listed.rows.length));
  const scores = new Float32Array(rows.length);
  let count = 0;
  for (let h = 0, l = 0; count < rows.length;) {
    // It is among the listed ones: it passed the filter, as they did.
    while (h < hits.rows.length && placeOf(list, engine.items.baseRow(hits.rows[h]!)) >= 0) h++;
    const ended = h === hits.rows.length;
    if (ended && l === listed.rows.length) break;
    const fromList = ended || (l < listed.rows.length && isBefore(listed, l, hits, h));
    const from = fromList ? listed : hits;
    const at = fromList ? l++ : h++;
    rows[count] = from.rows[at]!;
    scores[count++] = from.scores[at]!;
  }
  return { rows: rows.subarray(0, count), scores: scores.subarray(0, count) };
}

/** Boost of an item, 0 for what is not on the list. @param row - of the bundle, -1 for an item that it does not know. */
export function boostOf(list: HistoryBoosts, row: number): number {
  const place = placeOf(list, row);
  return place < 0 ? 0 : list.boosts[place]!;
}

/** Place of a row of the bundle on the list, -1 where it is not. */
function placeOf({ items }: HistoryBoosts, row: number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle]! < row) low = middle + 1;
    else high = middle;
  }
  return items[low] === row ? low : -1;
}

/** The items of a list that are there and pass, best first, ties by lower row. */
function scoreBoosted(
  engine: Engine,
  filter: LiveFilter | undefined,
  query: Float32Array,
  list: HistoryBoosts,
): RankedHits {
  const { items } = engine;
  const rows = new Int32Array(list.items.length);
  const boosts = new Float32Array(rows.length);
  let count = 0;
  for (let i = 0; i < rows.length; i++) {
    const row = items.liveRow(list.items[i]!);
    if (row < 0 || (filter !== undefined && !passes(filter, row, items.base.count))) continue;
    rows[count] = row;
    boosts[count++] = list.boosts[i]!;
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
