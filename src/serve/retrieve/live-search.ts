// A search over the items that requests see: the bundle's index, an exact scan of the fresh items, and what the users' lists
// lift, merged by score.

import { newSearchOutput, type SearchMode, type SearchPlan } from '../../retrieval/search-plan.ts';
import type { PlannedIndex } from '../../retrieval/plan.ts';
import type { HistoryBoosts } from '../../features/item-frequency.ts';
import type { AllowList } from '../../retrieval/allow-list.ts';
import type { Engine } from '../engine/engine.ts';
import { withHistoryBoosts } from './history-boost.ts';
import type { LiveFilter } from '../engine/live-items.ts';
import { rowOf } from './row-of.ts';
import type { Hits, RankedHits } from './hits.ts';

/**
 * At most `candidateCount` hits of each of `count` queries, best first, ties by lower row. Leave queries and lists alone until it resolves.
 *
 * @param queries - [count, D]; @param lists - one for each.
 */
export async function searchItems(
  engine: Engine,
  filter: LiveFilter | undefined,
  queries: Float32Array,
  lists: readonly HistoryBoosts[],
  candidateCount: number,
  mode: SearchMode,
): Promise<Hits[]> {
  const { index, items, width } = engine;
  const { length: count } = lists;
  const { plan: found, hits } = await searchOne(
    index,
    filter?.allow ?? null,
    queries,
    count,
    candidateCount,
    mode,
  );
  const { plan, reason: planReason } = found;
  const { freshIndex } = items;
  const allowed = filter?.fresh ?? null;
  const fresh =
    freshIndex && (await searchOne(freshIndex, allowed, queries, count, candidateCount, mode)).hits;
  return hits.map((own, i) => {
    const all =
      fresh === undefined ? own : mergeHits(own, fresh[i]!, items.base.count, candidateCount);
    const list = lists[i]!;
    const lifted =
      list.items.length === 0
        ? all
        : withHistoryBoosts(engine, filter, rowOf(queries, i, width), all, list, candidateCount);
    return { plan, planReason, ...lifted };
  });
}

async function searchOne(
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

/** The best `most` of both; rows of `fresh` count from `first`. */
function mergeHits(base: RankedHits, fresh: RankedHits, first: number, most: number): RankedHits {
  const length = Math.min(most, base.rows.length + fresh.rows.length);
  const rows = new Int32Array(length);
  const scores = new Float32Array(length);
  for (let at = 0, b = 0, f = 0; at < length; at++) {
    const isBase =
      f === fresh.rows.length || (b < base.rows.length && base.scores[b]! >= fresh.scores[f]!);
    rows[at] = isBase ? base.rows[b]! : first + fresh.rows[f]!;
    scores[at] = isBase ? base.scores[b++]! : fresh.scores[f++]!;
  }
  return { rows, scores };
}
