// Exact scores of given items, whether they are the bundle's or came later.

import type { PlannedIndex } from '../../retrieval/plan.ts';
import type { Engine } from '../engine/engine.ts';

/** Inner products of a query [D] with the items at these rows. */
export function scoreItems(
  { index, items }: Pick<Engine, 'index' | 'items'>,
  query: Float32Array,
  rows: Int32Array,
): Float32Array {
  const { freshIndex, base } = items;
  const scores = new Float32Array(rows.length);
  if (freshIndex === undefined) {
    index.score(query, rows, scores);
    return scores;
  }
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
  scoreThose(freshIndex, base.count, (row) => row >= base.count);
  return scores;
}
