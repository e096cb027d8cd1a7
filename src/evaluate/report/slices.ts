// The groups by which every report breaks down its numbers.

import type { Dataset } from '../../data/dataset.ts';
import { DAY_SECONDS } from '../../time.ts';
import type { EvaluationQuery } from '../query.ts';

/** Lower bounds of the groups by history length, in events. */
const HISTORY_BOUNDS = [0, 1, 10, 50];
/** Lower bounds of the groups by state age, in days since the last known event. */
const AGE_BOUNDS = [0, 1, 7, 30, 90];

/**
 * The names of a query's groups: history length, kind of subject, its label, and the age of its
 * state.
 */
export function slicesOf(query: EvaluationQuery, dataset: Dataset): string[] {
  const length = query.historyEnd - query.historyBegin;
  const slices = [
    `history ${range(length, HISTORY_BOUNDS)} events`,
    `subject ${query.subject.kind}`,
  ];
  if (query.slice !== '') slices.push(`slice ${query.slice}`);
  if (dataset.hasTime && length > 0) {
    const seconds = query.timeSeconds - dataset.events.times[query.historyEnd - 1]!;
    slices.push(`state age ${range(Math.max(0, seconds) / DAY_SECONDS, AGE_BOUNDS)} days`);
  }
  return slices;
}

/** The group of a value: "0", "1-9" or "50+". A real number is rounded down. */
function range(value: number, bounds: readonly number[]): string {
  let i = bounds.length - 1;
  while (i > 0 && value < bounds[i]!) i--;
  const low = bounds[i]!;
  if (i === bounds.length - 1) return `${low}+`;
  const high = bounds[i + 1]! - 1;
  return low === high ? String(low) : `${low}-${high}`;
}
