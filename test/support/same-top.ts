// Compares two rankings of the same items. They must be equal, except that items with nearly equal
// scores may be in another order.

import assert from 'node:assert/strict';

export interface RankedItem {
  readonly item: string;
  readonly score: number;
}

/**
 * Asserts that two rankings agree at every position.
 *
 * @param tolerance.score - largest difference of the scores at a position.
 * @param tolerance.tie - items whose expected scores are this close may be in another order, also
 * across the end of the ranking.
 */
export function assertSameTop(
  received: readonly RankedItem[],
  expected: readonly RankedItem[],
  tolerance: { readonly score: number; readonly tie: number },
): void {
  assert.equal(received.length, expected.length);
  const scores = new Map(expected.map(({ item, score }) => [item, score]));
  const last = expected.at(-1)?.score ?? 0;
  for (const [i, { item, score }] of received.entries()) {
    const wanted = expected[i]!;
    assert.ok(
      Math.abs(score - wanted.score) <= tolerance.score,
      `position ${i}: expected score ${wanted.score}, received ${score}`,
    );
    if (item === wanted.item) continue;
    const own = scores.get(item) ?? last;
    assert.ok(
      Math.abs(own - wanted.score) <= tolerance.tie,
      `position ${i}: expected ${wanted.item} (${wanted.score}), received ${item} (${own})`,
    );
  }
  assert.equal(new Set(received.map(({ item }) => item)).size, received.length);
}
