// Exact scores of given items: items of the bundle and fresh items.

import type { PlannedIndex } from '../../retrieval/planned-index.ts';
import type { Engine } from '../engine/engine.ts';

/** Inner products of a query [D] with the items at `rows` of LiveItems, in the order of `rows`. */
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
  const scorePart = (
    part: PlannedIndex,
    firstRow: number,
    isInPart: (row: number) => boolean,
  ): void => {
    const positions = Array.from(rows.keys()).filter((i) => isInPart(rows[i]!));
    const partScores = new Float32Array(positions.length);
    part.score(
      query,
      Int32Array.from(positions, (i) => rows[i]! - firstRow),
      partScores,
    );
    for (const [n, i] of positions.entries()) scores[i] = partScores[n]!;
  };
  scorePart(index, 0, (row) => row < base.count);
  scorePart(freshIndex, base.count, (row) => row >= base.count);
  return scores;
}
