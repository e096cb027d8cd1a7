// The answer for a user without state in a request without context: the most popular items of the
// user's country. It is the last fallback, after the user's state and the context.

import type { Engine, ResolvedSubject } from '../engine/engine.ts';
import type { LiveFilter } from '../engine/live-items.ts';
import type { CandidatesRequest, PipelineRequest } from '../request/request-types.ts';
import type { Hits } from './hits.ts';

/**
 * Whether the request gives the head anything but a country to personalise by, apart from the
 * user's state.
 */
export function hasContext(
  engine: Engine,
  { request, subject }: { readonly request: PipelineRequest; readonly subject: ResolvedSubject },
): boolean {
  if (subject.bag.rows.length > 0) return true;
  if (subject.inputRow >= 0) return true;
  const [age, , gender] = engine.demographicRows(request.demographics);
  return age > 0 || gender > 0;
}

/**
 * The `candidateCount` most popular items that pass the request's filter and target its country,
 * best first; all of them if there are fewer. A score is the number of events with the item in the
 * last 30 days of the training data, divided by that of the most popular item.
 */
export function popularHits(
  engine: Engine,
  { filter, demographics }: CandidatesRequest,
  candidateCount: number,
): Hits {
  const country = demographics?.country;
  const compiled = engine.items.compile(
    country === undefined || filter?.countries !== undefined
      ? filter
      : { ...filter, countries: [country] },
  );
  const { items } = engine;
  const { base } = items;
  const order = base.byPopularity();
  const rows: number[] = [];
  for (let i = 0; i < order.length && rows.length < candidateCount; i++) {
    // An item that was replaced has the row of the fresh item, and its popularity.
    const row = items.liveRow(order[i]!);
    if (row >= 0 && passes(compiled, row, base.count)) rows.push(row);
  }
  const highest = Math.max(1, base.popularity[order[0]!]!);
  return {
    plan: 'popular',
    planReason: 'no-history-no-context',
    rows: Int32Array.from(rows),
    scores: Float32Array.from(rows, (row) => items.popularity(row) / highest),
  };
}

/** Whether a row passes a compiled filter; undefined passes every row that is no tombstone. */
function passes(filter: LiveFilter | undefined, row: number, baseCount: number): boolean {
  if (filter === undefined) return true;
  if (row < baseCount) return filter.allow.has(row);
  return filter.fresh?.has(row - baseCount) ?? true;
}
