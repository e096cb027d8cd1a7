import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ndcgAtK, recallAtK, reciprocalRank } from './metrics.ts';

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
});
