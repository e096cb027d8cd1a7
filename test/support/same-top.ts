// Comparison of two rankings of the same items: equal but for neighbours whose scores are a tie within rounding.

import assert from 'node:assert/strict';

export interface RankedItem {
  readonly item: string;
  readonly score: number;
}

/**
 * Holds `received` to `expected`, place by place.
 *
 * @param tolerance.score - largest difference of the scores at a place.
 * @param tolerance.tie - items whose expected scores are this near may change places, also across the end of the list.
 */
export function assertSameTop(
  received: readonly RankedItem[],
  expected: readonly RankedItem[],
  tolerance: { readonly score: number; readonly tie: number },
): void {
  assert.equal(received.length, expected.length);
  const scores = new Map(expected.map(({ item, score }) => [item, score]));
  const last = expected.at(-1)?.score ?? 0;
  for (const [place, { item, score }] of received.entries()) {
    const wanted = expected[place]!;
    assert.ok(
      Math.abs(score - wanted.score) <= tolerance.score,
      `place ${place}: expected score ${wanted.score}, received ${score}`,
    );
    if (item === wanted.item) continue;
    const own = scores.get(item) ?? last;
    assert.ok(
      Math.abs(own - wanted.score) <= tolerance.tie,
      `place ${place}: expected ${wanted.item} (${wanted.score}), received ${item} (${own})`,
    );
  }
  assert.equal(new Set(received.map(({ item }) => item)).size, received.length);
}
