import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { drawBoosts } from '../../../../test/support/boosts.ts';
import {
  assertComputes,
  dot,
  near,
  normals,
  softplus,
  type Rows,
} from '../../../../test/support/f64.ts';
import { useBackend } from '../../../backend/select.ts';
import { Random } from '../../../random.ts';
import { binaryLoss, positivePower } from './binary.ts';

before(() => useBackend());

describe('positivePower', () => {
  it('goes from 1, plain BCE, to the sampling rate as t goes from 0 to 1', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 1e6 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (items, rate, t) => {
          const negatives = 1 + Math.floor(rate * (items - 2));
          const sampling = negatives / (items - 1);
          near(positivePower(negatives, items, t), 1 - t + t * sampling, 1e-12, 'beta');
        },
      ),
    );
  });

  it('is 1 when there are more negatives than items', () => {
    for (const items of [1, 2, 5]) assert.equal(positivePower(8, items, 0.75), 1);
  });
});

describe('binaryLoss', () => {
  it('equals f64, values and gradients, without accidental hits, with and without boosts', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 7 }),
        fc.constantFrom(1, 0.3, 0.01),
        (seed, count, width, power) => {
          const random = new Random(seed);
          const rows = (length: number): Int32Array =>
            Int32Array.from({ length }, () => random.integer(6));
          const positives = rows(count);
          const users = Int32Array.from({ length: count }, () => random.integer(2));
          const weights = Float32Array.from({ length: count }, () => random.uniform());
          const candidates = {
            rows: rows(width),
            logExpectedCount: (): Float32Array => assert.fail('it corrected'),
          };
          const isHit = (e: number, column: number): boolean =>
            positives.some(
              (row, other) => users[other] === users[e] && row === candidates.rows[column],
            );
          const examples = { positives, users, weights };
          const boosts = drawBoosts(random, positives, 6);
          const formula = (q: Rows, p: Rows, c: Rows, b: Rows = [[]]): number =>
            q.reduce((sum, query, e) => {
              // -ln sigmoid(s)^beta and -ln(1 - sigmoid(s)), as in the paper.
              const own = dot(query, p[e]!) + boosts.of(b, e, positives[e]!);
              const negative = c.reduce((all, candidate, column) => {
                if (isHit(e, column)) return all;
                const boost = boosts.of(b, e, candidates.rows[column]!);
                return all + softplus(dot(query, candidate) + boost);
              }, 0);
              const positive = power * softplus(-own);
              return sum + (weights[e]! * (positive + negative)) / (width + 1);
            }, 0);
          const operands = [count, count, width].map((rows) => normals(random, rows, 3));
          assertComputes(
            (q, p, c) => binaryLoss(q, p, c, candidates, examples, power),
            formula,
            operands,
          );
          assertComputes(
            (q, p, c, b) => binaryLoss(q, p, c, candidates, examples, power, boosts.tensors(b)),
            formula,
            [...operands, boosts.values],
          );
        },
      ),
      { numRuns: 25 },
    );
  });
});
