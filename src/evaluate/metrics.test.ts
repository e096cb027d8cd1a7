import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bootstrapIntervals, ndcgAtK, recallAtK, reciprocalRank } from './metrics.ts';

const close = (actual: number, expected: number): void => {
  assert.ok(Math.abs(actual - expected) < 1e-9, `expected ${expected}, received ${actual}`);
};

describe('metrics', () => {
  it('match hand-computed vectors', () => {
    // Positives at ranks 0, 3 and 12 (0-based).
    const ranks = Int32Array.of(3, 0, 12);
    close(recallAtK(ranks, 1), 1);
    close(recallAtK(ranks, 2), 1 / 2);
    close(recallAtK(ranks, 10), 2 / 3);
    close(recallAtK(ranks, 13), 1);
    close(ndcgAtK(ranks, 10), (1 + 1 / Math.log2(5)) / (1 + 1 / Math.log2(3) + 1 / 2));
    close(reciprocalRank(ranks), 1);
    close(reciprocalRank(Int32Array.of(4)), 1 / 5);
  });

  it('are the table metrics for one positive: Recall = hit rate, NDCG = 1 / log2(rank + 2)', () => {
    for (let rank = 0; rank < 15; rank++) {
      const ranks = Int32Array.of(rank);
      close(recallAtK(ranks, 10), rank < 10 ? 1 : 0);
      close(ndcgAtK(ranks, 10), rank < 10 ? 1 / Math.log2(rank + 2) : 0);
    }
  });

  it('bootstrap: seeded, holds the mean, is wider where requests of a user agree', () => {
    const values = Array.from({ length: 400 }, (_, i) => (Math.floor(i / 4) % 2 === 0 ? 1 : 0));
    const alone = values.map(() => -1);
    const grouped = values.map((_, i) => Math.floor(i / 4));
    const [a] = bootstrapIntervals([values], alone, 1);
    const [b] = bootstrapIntervals([values], grouped, 1);
    assert.deepEqual(bootstrapIntervals([values], alone, 1), [a]);
    assert.ok(a!.low < 0.5 && a!.high > 0.5);
    assert.ok(b!.high - b!.low > 1.5 * (a!.high - a!.low));
    // Binomial: 1.96 sqrt(.25 / 400) = .049 each side.
    assert.ok(Math.abs(a!.high - a!.low - 0.098) < 0.02);
  });
});
