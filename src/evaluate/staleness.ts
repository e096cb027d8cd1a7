// Stale states: what a request would have known if the daily batch had failed for some days.

import type { Dataset } from '../data/dataset.ts';
import { dayStart, eventsBefore } from '../data/splits.ts';
import { DAY_SECONDS } from '../time.ts';
import type { EvaluationQuery } from './query.ts';

/**
 * The numbers of days by which states are late. Day 0, the state of 00:00 UTC of the request's day,
 * is the main row of a model.
 */
export const STALE_DAYS = [1, 3, 7, 14] as const;

/**
 * Each request with the events that a batch knew at 00:00 UTC, `days` days before the request's
 * day.
 *
 * Candidates and positives stay the same, so recall at several ages measures the same task. A user
 * without events by then is a cold start.
 */
export function staleQueries(
  queries: readonly EvaluationQuery[],
  dataset: Dataset,
  days: number,
): readonly EvaluationQuery[] {
  return queries.map((query) => ({
    ...query,
    historyEnd:
      query.historyBegin +
      eventsBefore(dataset, query.user, dayStart(query.timeSeconds) - days * DAY_SECONDS),
  }));
}
