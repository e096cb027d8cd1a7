// The answer for a user without state in a request without context: the most popular items of the
// user's country. It is the last fallback, after the user's state and the context.

import type { Engine, ResolvedSubject } from '../engine/engine.ts';
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
  const { popularity } = engine.items.base;
  const order = engine.items.base.byPopularity();
  const rows = new Int32Array(Math.min(candidateCount, compiled?.allow.count ?? order.length));
  for (let i = 0, found = 0; found < rows.length; i++)
    if (compiled === undefined || compiled.allow.has(order[i]!)) rows[found++] = order[i]!;
  const highest = Math.max(1, popularity[order[0]!]!);
  return {
    plan: 'popular',
    planReason: 'no-history-no-context',
    rows,
    scores: Float32Array.from(rows, (row) => popularity[row]! / highest),
  };
}
