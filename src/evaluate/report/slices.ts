// The groups that every report breaks its numbers down by.

import type { Dataset } from '../../data/dataset.ts';
import { DAY_SECONDS } from '../../time.ts';
import type { EvaluationQuery } from '../query.ts';

/** Lower bounds of the history groups, in events. */
const HISTORY_BOUNDS = [0, 1, 10, 50];
/** Lower bounds of the state-age groups, in days since the last known event. */
const AGE_BOUNDS = [0, 1, 7, 30, 90];

/** Names of the groups of a query: its own label, history length, age of its state, kind of subject. */
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

/** "0", "1-9", "50+"; of a real number, whole units gone by. */
function range(value: number, bounds: readonly number[]): string {
  let i = bounds.length - 1;
  while (i > 0 && value < bounds[i]!) i--;
  const low = bounds[i]!;
  if (i === bounds.length - 1) return `${low}+`;
  const high = bounds[i + 1]! - 1;
  return low === high ? String(low) : `${low}-${high}`;
}
