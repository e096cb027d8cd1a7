// Searches the items that requests see: the index of the bundle and an exact scan of the fresh
// items, merged by score, then history boosts.

import type { AllowList } from '../../retrieval/allow-list.ts';
import type { PlannedIndex } from '../../retrieval/planned-index.ts';
import { newSearchOutput, type SearchMode, type SearchPlan } from '../../retrieval/search-plan.ts';
import type { Engine } from '../engine/engine.ts';
import type { LiveFilter } from '../engine/live-items.ts';
import { withHistoryBoosts } from './history-boost.ts';
import type { Hits, RankedHits } from './hits.ts';
import { rowOf } from './row-of.ts';
import type { HistoryBoosts } from '../../features/item-frequency.ts';

/**
 * Finds at most `candidateCount` hits for each of B queries, best first, ties by lower row. Do not
 * change the arrays until the promise resolves.
 *
 * @param queries - [B, D] query embeddings.
 * @param historyBoosts - [B], of the user of each query.
 */
export async function searchItems(
  engine: Engine,
  filter: LiveFilter | undefined,
  queries: Float32Array,
  historyBoosts: readonly HistoryBoosts[],
  candidateCount: number,
  mode: SearchMode,
): Promise<Hits[]> {
  const { index, items, width } = engine;
  const { length: count } = historyBoosts;
  const allow = filter?.allow ?? null;
  const found = await searchIndex(index, allow, queries, count, candidateCount, mode);
  const { plan, reason: planReason } = found.plan;
  const { freshIndex } = items;
  const fresh =
    freshIndex &&
    (await searchIndex(freshIndex, filter?.fresh ?? null, queries, count, candidateCount, mode));
  return found.hits.map((baseHits, i) => {
    const merged =
      fresh === undefined
        ? baseHits
        : mergeHits(baseHits, fresh.hits[i]!, items.base.count, candidateCount);
    const boosts = historyBoosts[i]!;
    const { rows, scores } =
      boosts.items.length === 0
        ? merged
        : withHistoryBoosts(
            engine,
            filter,
            rowOf(queries, i, width),
            merged,
            boosts,
            candidateCount,
          );
    return { plan, planReason, rows, scores };
  });
}

async function searchIndex(
  index: PlannedIndex,
  allow: AllowList | null,
  queries: Float32Array,
  count: number,
  candidateCount: number,
  mode: SearchMode,
): Promise<{ readonly plan: SearchPlan; readonly hits: RankedHits[] }> {
  const out = newSearchOutput(count, candidateCount);
  const plan = await index.search(queries, count, candidateCount, allow, out, mode);
  const hits = Array.from(out.counts, (found, i) => ({
    rows: out.rows.subarray(i * candidateCount, i * candidateCount + found),
    scores: out.scores.subarray(i * candidateCount, i * candidateCount + found),
  }));
  return { plan, hits };
}

/**
 * Merges hits of the bundle and of the fresh items by score.
 *
 * @param freshStart - row of the first fresh item; rows of `fresh` count from there.
 */
function mergeHits(
  base: RankedHits,
  fresh: RankedHits,
  freshStart: number,
  maxHits: number,
): RankedHits {
  const length = Math.min(maxHits, base.rows.length + fresh.rows.length);
  const rows = new Int32Array(length);
  const scores = new Float32Array(length);
  for (let i = 0, b = 0, f = 0; i < length; i++) {
    const isBase =
      f === fresh.rows.length || (b < base.rows.length && base.scores[b]! >= fresh.scores[f]!);
    rows[i] = isBase ? base.rows[b]! : freshStart + fresh.rows[f]!;
    scores[i] = isBase ? base.scores[b++]! : fresh.scores[f++]!;
  }
  return { rows, scores };
}
