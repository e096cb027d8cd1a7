import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  assertComputes,
  dot,
  logSumExp,
  near,
  normals,
  softplus,
  type Rows,
} from '../../../../test/support/f64.ts';
import { drawBoosts } from '../../../../test/support/boosts.ts';
import { useBackend } from '../../../backend/select.ts';
import { tf } from '../../../backend/tf.ts';
import { Random } from '../../../random.ts';
import type { LogQ } from '../../train-config.ts';
import { CandidateSampler, type SampledCandidates } from './candidates.ts';
import type { LossExamples } from './examples.ts';
import { FrequencyProposal } from './proposals.ts';
import { fullSoftmaxLoss, sampledSoftmaxLoss } from './softmax.ts';

before(() => useBackend());

const WIDTH = 3;

function evenly(positives: readonly number[], users = positives.map((_, e) => e)): LossExamples {
  return {
    positives: Int32Array.from(positives),
    users: Int32Array.from(users),
    weights: new Float32Array(positives.length).fill(1 / positives.length),
  };
}

/** Examples of a few users with uneven weights, and candidates with any expected counts. */
interface Case {
  readonly examples: LossExamples;
  readonly candidates: SampledCandidates;
  readonly counts: readonly number[];
  readonly queries: Rows;
  readonly items: Rows;
}

const cases = fc
  .record({
    seed: fc.nat(),
    examples: fc.integer({ min: 1, max: 5 }),
    items: fc.integer({ min: 1, max: 7 }),
    candidates: fc.integer({ min: 1, max: 8 }),
  })
  .map(({ seed, examples: count, items, candidates }): Case => {
    const random = new Random(seed);
    const rows = (length: number): Int32Array =>
      Int32Array.from({ length }, () => random.integer(items));
    const counts = Array.from({ length: items }, () => 0.1 + 5 * random.uniform());
    const weights = Float32Array.from({ length: count }, () => 0.1 + random.uniform());
    const positives = rows(count);
    const pairs = Array.from(positives, (positive, e) => ({
      e,
      row: random.integer(items),
      positive,
    })).filter(({ row, positive }) => row !== positive);
    return {
      examples: {
        positives,
        users: Int32Array.from({ length: count }, () => random.integer(3)),
        weights,
        leftOut: {
          rows: Int32Array.from(pairs, ({ e }) => e),
          columns: Int32Array.from(pairs, ({ row }) => row),
        },
      },
      candidates: {
        rows: rows(candidates),
        logExpectedCount: (wanted) => Float32Array.from(wanted, (row) => Math.log(counts[row]!)),
      },
      counts,
      queries: normals(random, count, WIDTH),
      items: normals(random, items, WIDTH),
    };
  });

/** Whether an item is left out for example e. */
function isLeftOut({ leftOut }: LossExamples, e: number, row: number): boolean {
  return leftOut!.rows.some((example, pair) => example === e && leftOut!.columns[pair] === row);
}

/** The scores of example e with logQ correction: of its positive and of its negatives. */
function scoresOf(
  { examples, candidates, counts }: Case,
  logQ: LogQ,
  e: number,
  query: readonly number[],
  positive: readonly number[],
  vectors: Rows,
): { own: number; others: number[] } {
  const { positives, users } = examples;
  const row = positives[e]!;
  const ofUser = new Set(positives.filter((_, other) => users[other] === users[e]));
  return {
    own: dot(query, positive) - (logQ === 'yi2019' ? Math.log(counts[row]!) : 0),
    others: vectors
      .map(
        (candidate, column) =>
          dot(query, candidate) -
          (logQ === 'none' ? 0 : Math.log(counts[candidates.rows[column]!]!)),
      )
      .filter((_, column) => {
        const other = candidates.rows[column]!;
        return !ofUser.has(other) && !isLeftOut(examples, e, other);
      }),
  };
}

describe('fullSoftmaxLoss', () => {
  it('equals f64, values and gradients, for any weights', () => {
    fc.assert(
      fc.property(cases, ({ examples, queries, items }) => {
        assertComputes(
          (q, v) => fullSoftmaxLoss(q, v, examples),
          (q, v) =>
            q.reduce((sum, query, e) => {
              const logits = v.map((item) => dot(query, item));
              const ranked = logits.filter((_, row) => !isLeftOut(examples, e, row));
              const loss = logSumExp(ranked) - logits[examples.positives[e]!]!;
              return sum + examples.weights[e]! * loss;
            }, 0),
          [queries, items],
        );
      }),
      { numRuns: 25 },
    );
  });

  it('equals f64 with boosts of pairs, values and gradients towards the boosts', () => {
    fc.assert(
      fc.property(cases, fc.nat(), ({ examples, queries, items }, seed) => {
        const boosts = drawBoosts(new Random(seed), examples.positives, items.length);
        assertComputes(
          (q, v, b) => fullSoftmaxLoss(q, v, examples, boosts.tensors(b)),
          (q, v, b) =>
            q.reduce((sum, query, e) => {
              const logits = v.map((item, row) => dot(query, item) + boosts.of(b, e, row));
              const ranked = logits.filter((_, row) => !isLeftOut(examples, e, row));
              const loss = logSumExp(ranked) - logits[examples.positives[e]!]!;
              return sum + examples.weights[e]! * loss;
            }, 0),
          [queries, items, boosts.values],
        );
      }),
      { numRuns: 25 },
    );
  });

  it('is ln N when every item looks the same, and stays finite at any scale', () => {
    tf.tidy(() => {
      const items = tf.tensor2d([1, 0, 1, 0, 1, 0, 1, 0, 1, 0], [5, 2]);
      for (const scale of [0, 1, 1e5]) {
        const queries = tf.tensor2d([scale, 3, 0, scale], [2, 2]);
        const loss = fullSoftmaxLoss(queries, items, evenly([0, 4])).dataSync()[0]!;
        assert.ok(Math.abs(loss - Math.log(5)) < 1e-2 * (1 + scale / 1e3), `${scale}: ${loss}`);
      }
    });
  });
});

describe('sampledSoftmaxLoss', () => {
  for (const logQ of ['yi2019', 'negativesOnly', 'none'] as const)
    it(`equals f64 with logQ ${logQ}, values and gradients, accidental hits left out`, () => {
      fc.assert(
        fc.property(cases, (drawn) => {
          const { examples, candidates, queries, items } = drawn;
          assertComputes(
            (q, p, c) => sampledSoftmaxLoss(q, p, c, candidates, examples, logQ),
            (q, p, c) =>
              q.reduce((sum, query, e) => {
                const { own, others } = scoresOf(drawn, logQ, e, query, p[e]!, c);
                return sum + examples.weights[e]! * (logSumExp([own, ...others]) - own);
              }, 0),
            [
              queries,
              Array.from(examples.positives, (row) => [...items[row]!]),
              Array.from(candidates.rows, (row) => [...items[row]!]),
            ],
          );
        }),
        { numRuns: 25 },
      );
    });

  it('equals f64 with boosts of candidates, values and gradients towards the boosts', () => {
    fc.assert(
      fc.property(cases, fc.nat(), ({ examples, candidates, queries, items, counts }, seed) => {
        const { positives, users, weights } = examples;
        const boosts = drawBoosts(new Random(seed), positives, items.length);
        assertComputes(
          (q, p, c, b) =>
            sampledSoftmaxLoss(q, p, c, candidates, examples, 'negativesOnly', boosts.tensors(b)),
          (q, p, c, b) =>
            q.reduce((sum, query, e) => {
              const own = dot(query, p[e]!) + boosts.of(b, e, positives[e]!);
              const ofUser = new Set(positives.filter((_, other) => users[other] === users[e]));
              const others = c.flatMap((candidate, column) => {
                const row = candidates.rows[column]!;
                return ofUser.has(row) || isLeftOut(examples, e, row)
                  ? []
                  : [dot(query, candidate) + boosts.of(b, e, row) - Math.log(counts[row]!)];
              });
              return sum + weights[e]! * (logSumExp([own, ...others]) - own);
            }, 0),
          [
            queries,
            Array.from(positives, (row) => [...items[row]!]),
            Array.from(candidates.rows, (row) => [...items[row]!]),
            boosts.values,
          ],
        );
      }),
      { numRuns: 25 },
    );
  });

  it('has the gradient of the loss without the positive in its sum, weighted by 1 - P', () => {
    fc.assert(
      fc.property(cases, (drawn) => {
        const { examples, candidates, queries, items } = drawn;
        const positives = Array.from(examples.positives, (row) => items[row]!);
        const vectors = Array.from(candidates.rows, (row) => items[row]!);
        const scores = (q: Rows, e: number): { own: number; others: number[] } =>
          scoresOf(drawn, 'negativesOnly', e, q[e]!, positives[e]!, vectors);
        // The weights are constants, as behind a stop-gradient.
        const weights = queries.map((_, e) => {
          const { own, others } = scores(queries, e);
          return 1 - Math.exp(own - logSumExp([own, ...others]));
        });
        const excluded = (q: Rows): number =>
          q.reduce((sum, _, e) => {
            const { own, others } = scores(q, e);
            const loss = others.length === 0 ? 0 : logSumExp(others) - own;
            return sum + examples.weights[e]! * weights[e]! * loss;
          }, 0);
        tf.tidy(() => {
          const gradient = tf.grad((q) =>
            sampledSoftmaxLoss(
              q as tf.Tensor2D,
              tf.tensor2d(positives),
              tf.tensor2d(vectors),
              candidates,
              examples,
              'negativesOnly',
            ),
          )(tf.tensor2d(queries)) as tf.Tensor2D;
          const slopes = gradient.arraySync();
          for (const [e, query] of queries.entries())
            for (let at = 0; at < WIDTH; at++) {
              const moved = (by: number): Rows =>
                queries.map((row, other) =>
                  other === e ? query.map((value, i) => (i === at ? value + by : value)) : row,
                );
              near(
                slopes[e]![at]!,
                (excluded(moved(1e-6)) - excluded(moved(-1e-6))) / 2e-6,
                1e-3,
                `query ${e}`,
              );
            }
        });
      }),
      { numRuns: 25 },
    );
  });

  it('is 0, with gradient 0, where every candidate is a hit', () => {
    tf.tidy(() => {
      const candidates = { rows: Int32Array.of(1, 2, 1), logExpectedCount: zeros };
      const positives = tf.tensor2d([1, 0, 0, 1], [2, 2]);
      const vectors = tf.gather<tf.Tensor2D>(positives, tf.tensor1d([0, 1, 0], 'int32'));
      const { value, grad } = tf.valueAndGrad((q: tf.Tensor) =>
        sampledSoftmaxLoss(
          q as tf.Tensor2D,
          positives,
          vectors,
          candidates,
          evenly([1, 2], [0, 0]),
          'none',
        ),
      )(tf.tensor2d([30, -30, -30, 30], [2, 2])) as { value: tf.Tensor; grad: tf.Tensor };
      assert.equal(value.dataSync()[0], 0);
      assert.deepEqual([...grad.dataSync()], [0, 0, 0, 0]);
    });
  });

  it('estimates the full softmax with negativesOnly, and is far from it without correction', () => {
    const random = new Random(4);
    const itemCount = 12;
    const items = normals(random, itemCount, 4);
    const counts = Float64Array.from(items, (_, row) => 1 + row * row);
    const sampler = new CandidateSampler([
      { count: 2000, proposal: new FrequencyProposal(counts, 1) },
      { count: 2000, proposal: new FrequencyProposal(counts, 0) },
    ]);
    const queries = normals(random, 6, 4);
    const losses = (logQ: LogQ): number =>
      queries.reduce((sum, query, positive) => {
        const examples = evenly([positive]);
        const candidates = sampler.draw(examples.positives, random);
        return (
          sum +
          tf.tidy(
            () =>
              sampledSoftmaxLoss(
                tf.tensor2d([query]),
                tf.tensor2d([items[positive]!]),
                tf.tensor2d(Array.from(candidates.rows, (row) => items[row]!)),
                candidates,
                examples,
                logQ,
              ).dataSync()[0]!,
          )
        );
      }, 0) / queries.length;
    const full =
      queries.reduce((sum, query, positive) => {
        const logits = items.map((item) => dot(query, item));
        return sum + softplus(logSumExp(logits.toSpliced(positive, 1)) - logits[positive]!);
      }, 0) / queries.length;
    near(losses('negativesOnly'), full, 0.02, 'the full softmax');
    for (const logQ of ['none', 'yi2019'] as const)
      assert.ok(Math.abs(losses(logQ) - full) > 1, `${logQ}: ${losses(logQ)}, full ${full}`);
  });
});

function zeros(rows: Int32Array): Float32Array {
  return new Float32Array(rows.length);
}
