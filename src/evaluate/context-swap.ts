// The swap test: gives each request the context or the history of another request. A model that
// uses both must lose recall in both cases.

import { Random } from '../random.ts';
import type { EvaluationQuery } from './query.ts';

/**
 * A seeded permutation of [0, count) without fixed points (Sattolo's algorithm: one cycle).
 *
 * @throws RangeError for a count below 2, for which there is none.
 */
export function derangement(count: number, seed: number): Int32Array {
  if (!(count >= 2))
    throw new RangeError(`Expected at least 2 requests to swap, received ${count}.`);
  const random = new Random(seed);
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.integer(i);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Each request with the subject and demographics of another one. Candidates and positives stay. */
export function swapContexts(
  queries: readonly EvaluationQuery[],
  seed: number,
): readonly EvaluationQuery[] {
  const other = derangement(queries.length, seed);
  return queries.map((query, i) => {
    const { subject, demographics } = queries[other[i]!]!;
    return { ...query, subject, demographics };
  });
}

/**
 * Each request with the known events of another one. Candidates, positives and the user's
 * attributes stay.
 */
export function swapHistories(
  queries: readonly EvaluationQuery[],
  seed: number,
): readonly EvaluationQuery[] {
  const other = derangement(queries.length, seed);
  return queries.map((query, i) => {
    const { historyBegin, historyEnd } = queries[other[i]!]!;
    return { ...query, historyBegin, historyEnd };
  });
}
