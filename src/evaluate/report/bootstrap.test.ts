import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { bootstrap, intervalOf, ratioOf } from './bootstrap.ts';

describe('bootstrap', () => {
  it('is seeded, holds the mean, and is wider where requests of a user agree', () => {
    const values = Array.from({ length: 400 }, (_, i) => (Math.floor(i / 4) % 2 === 0 ? 1 : 0));
    const alone = values.map(() => -1);
    const grouped = values.map((_, i) => Math.floor(i / 4));
    const of = (users: number[]): ReturnType<typeof intervalOf> =>
      intervalOf(bootstrap([{ values }], users, 1)[0]!);
    assert.deepEqual(of(alone), of(alone));
    assert.ok(of(alone).low < 0.5 && of(alone).high > 0.5);
    assert.ok(of(grouped).high - of(grouped).low > 1.5 * (of(alone).high - of(alone).low));
    // Binomial: 1.96 sqrt(0.25 / 400) = 0.049 on each side.
    assert.ok(Math.abs(of(alone).high - of(alone).low - 0.098) < 0.02);
  });

  it('of a ratio is the quotient of sums: constant when the two are proportional', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 30 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer(),
        (per, factor, seed) => {
          const ratio = { values: per.map((value) => factor * value), per };
          assert.equal(ratioOf(ratio), factor);
          const [replicates] = bootstrap(
            [ratio],
            per.map((_, i) => i % 7),
            seed,
          );
          assert.deepEqual(intervalOf(replicates!), { low: factor, high: factor });
        },
      ),
      { numRuns: 25 },
    );
  });

  it('pairs statistics: a difference of two has the spread of the difference alone', () => {
    const values = Array.from({ length: 200 }, (_, i) => i % 10);
    const users = values.map((_, i) => i);
    const [a] = bootstrap([{ values }], users, 3);
    const [b] = bootstrap([{ values: values.map((value) => value + 1) }], users, 3);
    for (const [i, value] of a!.entries()) assert.ok(Math.abs(b![i]! - value - 1) < 1e-12);
  });

  it('is 0 when the divisor is 0', () => {
    assert.equal(ratioOf({ values: [0], per: [0] }), 0);
    assert.equal(bootstrap([{ values: [0], per: [0] }], [1], 1)[0]![0], 0);
  });
});
