// A search over the items that requests see: the bundle's index, and an exact scan of the fresh items, merged by score.

import {
  newSearchOutput,
  type SearchPlace,
  type SearchPlan,
} from '../retrieval/candidate-index.ts';
import type { PlannedIndex } from '../retrieval/plan.ts';
import type { AllowList } from '../retrieval/allow-list.ts';
import type { RankedHits } from './advertiser-cap.ts';
import type { AnswerParts } from './encode-answer.ts';
import type { Engine } from './engine.ts';
import type { LiveFilter } from './live-items.ts';

type Hits = AnswerParts['hits'];

/**
 * At most `fetch` hits of each of `count` queries, best first, ties by lower row. Leave the queries alone until it resolves.
 *
 * @param queries - [count, D].
 */
export async function searchItems(
  { index, items }: Engine,
  filter: LiveFilter | undefined,
  queries: Float32Array,
  count: number,
  fetch: number,
  place: SearchPlace,
): Promise<Hits[]> {
  const { plan: found, hits } = await searchOne(
    index,
    filter?.allow ?? null,
    queries,
    count,
    fetch,
    place,
  );
  const { plan, reason: planReason } = found;
  const { freshIndex } = items;
  if (freshIndex === undefined) return hits.map((own) => ({ plan, planReason, ...own }));
  const allowed = filter?.fresh ?? null;
  const { hits: fresh } = await searchOne(freshIndex, allowed, queries, count, fetch, place);
  return hits.map((own, i) => ({
    plan,
    planReason,
    ...mergeHits(own, fresh[i]!, items.base.count, fetch),
  }));
}

/** Inner products of a query [D] with the items at these rows. */
export function scoreItems(
  { index, items }: Engine,
  query: Float32Array,
  rows: Int32Array,
): Float32Array {
  const { freshIndex, base } = items;
  const scores = new Float32Array(rows.length);
  const scoreThose = (
    among: PlannedIndex,
    first: number,
    isOne: (row: number) => boolean,
  ): void => {
    const places = Array.from(rows.keys()).filter((i) => isOne(rows[i]!));
    const own = new Float32Array(places.length);
    among.score(
      query,
      Int32Array.from(places, (i) => rows[i]! - first),
      own,
    );
    for (const [n, i] of places.entries()) scores[i] = own[n]!;
  };
  scoreThose(index, 0, (row) => row < base.count);
  if (freshIndex !== undefined) scoreThose(freshIndex, base.count, (row) => row >= base.count);
  return scores;
}

async function searchOne(
  index: PlannedIndex,
  allow: AllowList | null,
  queries: Float32Array,
  count: number,
  fetch: number,
  place: SearchPlace,
): Promise<{ readonly plan: SearchPlan; readonly hits: RankedHits[] }> {
  const out = newSearchOutput(count, fetch);
  const plan = await index.search(queries, count, fetch, allow, out, place);
  const hits = Array.from(out.counts, (found, i) => ({
    slots: out.slots.subarray(i * fetch, i * fetch + found),
    scores: out.scores.subarray(i * fetch, i * fetch + found),
  }));
  return { plan, hits };
}

/** The best `most` of both; rows of `fresh` count from `first`. */
function mergeHits(base: RankedHits, fresh: RankedHits, first: number, most: number): RankedHits {
  const length = Math.min(most, base.slots.length + fresh.slots.length);
  const slots = new Int32Array(length);
  const scores = new Float32Array(length);
  for (let at = 0, b = 0, f = 0; at < length; at++) {
    const isBase =
      f === fresh.slots.length || (b < base.slots.length && base.scores[b]! >= fresh.scores[f]!);
    slots[at] = isBase ? base.slots[b]! : first + fresh.slots[f]!;
    scores[at] = isBase ? base.scores[b++]! : fresh.scores[f++]!;
  }
  return { slots, scores };
}
