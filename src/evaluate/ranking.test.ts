import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TandemError } from '../errors.ts';
import type { EvaluationQuery, EvaluationSet } from './query.ts';
import { maskRow, rankAll, ranksOf, topK } from './ranking.ts';

/** Few distinct values, so that ties are common. */
const row = fc
  .array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 60 })
  .map((values) => Float32Array.from(values));

function naiveOrder(scores: Float32Array): number[] {
  return [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b);
}

describe('ranking', () => {
  it('ranks as a full sort with ties by row does', () => {
    fc.assert(
      fc.property(row, fc.array(fc.nat(), { minLength: 1, maxLength: 12 }), (scores, picks) => {
        const positives = Int32Array.from(new Set(picks.map((pick) => pick % scores.length)));
        const order = naiveOrder(scores);
        assert.deepEqual(
          [...ranksOf(scores, positives)],
          [...positives].map((positive) => order.indexOf(positive)),
        );
      }),
    );
  });

  it('extracts the best K as a full sort does', () => {
    fc.assert(
      fc.property(row, fc.nat({ max: 70 }), (scores, k) => {
        assert.deepEqual([...topK(scores, k)], naiveOrder(scores).slice(0, k));
      }),
    );
  });

  it('neither ranks nor returns items that are not candidates', () => {
    const scores = Float32Array.of(5, 4, 3, 2);
    maskRow(scores, Uint8Array.of(1, 0, 1, 1), Int32Array.of(0));
    assert.deepEqual([...topK(scores, 4)], [2, 3]);
    assert.deepEqual([...ranksOf(scores, Int32Array.of(3))], [1]);
  });

  it('names scorer and request when a score is not finite', async () => {
    const query: EvaluationQuery = {
      id: 'request-7',
      user: 0,
      historyBegin: 0,
      historyEnd: 0,
      timeSeconds: 0,
      subject: { kind: 'none' },
      demographics: {},
      positives: Int32Array.of(0),
      excluded: new Int32Array(0),
      slice: '',
    };
    const set: EvaluationSet = {
      protocol: 'table',
      split: 'test',
      description: '',
      queries: [query],
      candidates: Uint8Array.of(1, 1),
      trainEnd: new Int32Array(0),
      cutSeconds: Number.NaN,
      seenFilter: '',
      seenLeftOut: false,
      dropped: {},
    };
    const scorer = {
      name: 'broken',
      score: (_queries: readonly EvaluationQuery[], out: Float32Array): void => {
        out[0] = 1;
      },
    };
    await assert.rejects(
      rankAll(set, scorer, 1, () => undefined),
      (error) =>
        error instanceof TandemError &&
        error.code === 'ERR_NON_FINITE' &&
        error.message.includes('"broken"') &&
        error.message.includes('request-7'),
    );
  });
});
