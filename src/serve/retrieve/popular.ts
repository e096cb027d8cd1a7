// What is answered when nothing is known of a user and of the moment: the most popular items of the user's country. The
// last step down: state, context, and then this.

import type { Engine, ResolvedSubject } from '../engine/engine.ts';
import type { Hits } from './hits.ts';
import type { CandidatesRequest, PipelineRequest } from '../request/request-types.ts';

/** Whether the head has anything but a country to go by, besides the state. */
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
 * The most popular items that pass the request's filter and target its country, best first, `candidateCount` where there are as many;
 * scores are events of the last 30 days of the training data over those of the most popular item.
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
  const most = Math.max(1, popularity[order[0]!]!);
  return {
    plan: 'popular',
    planReason: 'no-history-no-context',
    rows,
    scores: Float32Array.from(rows, (row) => popularity[row]! / most),
  };
}
