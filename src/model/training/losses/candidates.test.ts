// Compares draws with the stated probabilities. Every bound is six standard deviations of a count.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { microDataset } from '../../../../test/support/micro-dataset.ts';
import { Random } from '../../../random.ts';
import { CandidateSampler } from './candidates.ts';
import { notNegatives } from './examples.ts';
import { CategoryProposal, FrequencyProposal, type Proposal } from './proposals.ts';

const COUNTS = Float64Array.of(5, 0, 1, 14, 3);
const POSITIVES = COUNTS.map((count) => count / 23);
/** Items 0 to 4 have two, one, no, three and one categories. */
const { items: ITEMS } = microDataset(5, [], [], Number.NaN, [
  ['a', 'b'],
  ['b'],
  [],
  ['b', 'c', 'd'],
  ['a'],
]);

const PROPOSALS: Record<string, Proposal> = {
  uniform: new FrequencyProposal(COUNTS, 0),
  popularity: new FrequencyProposal(COUNTS, 1),
  mixture: new FrequencyProposal(COUNTS, 0.5),
  'same category': new CategoryProposal(ITEMS, POSITIVES),
};

describe('proposals', () => {
  for (const [name, proposal] of Object.entries(PROPOSALS))
    it(`${name}: draws items as often as probability() says`, () => {
      const random = new Random(9);
      const draws = 40_000;
      const seen = new Float64Array(COUNTS.length);
      for (let i = 0; i < draws; i++) seen[proposal.draw(random)]!++;
      let total = 0;
      for (const [row, times] of seen.entries()) {
        const p = proposal.probability(row);
        total += p;
        const error = 6 * Math.sqrt((p * (1 - p)) / draws);
        assert.ok(Math.abs(times / draws - p) <= error, `item ${row}: ${times}, p ${p}`);
      }
      assert.ok(Math.abs(total - 1) < 1e-12);
    });

  it('popularity never draws an item without a conversion', () => {
    assert.equal(PROPOSALS['popularity']!.probability(1), 0);
  });

  it("same category: an item's share is that of its categories among positives, by formula", () => {
    // a: items 0 (weight 1/2) and 4; b: 0 (1/2), 1 and 3 (1/3); c, d: 3 (1/3); none: 2. The
    // positives are 5, 0, 1, 14, 3 of 23.
    const demand = { a: (2.5 + 3) / 23, b: (2.5 + 14 / 3) / 23, c: 14 / 3 / 23, none: 1 / 23 };
    const expected = [
      demand.a / 2 + demand.b / 3,
      demand.b / 3,
      0,
      demand.b / 3 + 2 * demand.c,
      demand.a / 2,
    ].map((share) => share + demand.none / 5);
    for (const [row, share] of expected.entries())
      assert.ok(Math.abs(PROPOSALS['same category']!.probability(row) - share) < 1e-7);
  });
});

describe('CandidateSampler', () => {
  it('expects an item as often as it is a candidate of any source, in-batch included', () => {
    const inBatch = 4;
    const sampler = new CandidateSampler(
      [
        { count: 6, proposal: PROPOSALS['mixture']! },
        { count: 3, proposal: PROPOSALS['same category']! },
        { count: 0, proposal: PROPOSALS['uniform']! },
      ],
      POSITIVES,
    );
    const random = new Random(3);
    const popularity = PROPOSALS['popularity']!;
    const all = Int32Array.from(COUNTS.keys());
    const steps = 20_000;
    const seen = new Float64Array(COUNTS.length);
    let expected: Float32Array = new Float32Array(0);
    for (let step = 0; step < steps; step++) {
      const positives = Int32Array.from({ length: inBatch }, () => popularity.draw(random));
      const candidates = sampler.draw(positives, random);
      assert.deepEqual(candidates.rows.subarray(0, inBatch), positives);
      assert.equal(candidates.rows.length, inBatch + 6 + 3);
      for (const row of candidates.rows) seen[row]!++;
      expected = candidates.logExpectedCount(all);
    }
    for (const [row, times] of seen.entries()) {
      const count = Math.exp(expected[row]!);
      assert.ok(
        Math.abs(times / steps - count) < 6 * Math.sqrt(count / steps),
        `item ${row}: ${times / steps}, expected ${count}`,
      );
    }
  });

  it('has positives as candidates only when they are asked for', () => {
    const sampler = new CandidateSampler([{ count: 2, proposal: PROPOSALS['uniform']! }]);
    const { rows, logExpectedCount } = sampler.draw(Int32Array.of(0, 1, 2), new Random(1));
    assert.equal(rows.length, 2);
    assert.deepEqual(logExpectedCount(Int32Array.of(1)), Float32Array.of(Math.log(2 / 5)));
  });
});

describe('notNegatives', () => {
  it("names candidates that are a positive of the example's user or left out, each once", () => {
    const rows = fc.array(fc.nat(5), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(rows, rows, fc.nat(), (positives, candidates, seed) => {
        const random = new Random(seed);
        const users = positives.map(() => random.integer(3));
        const left = positives.flatMap((_, e) =>
          Array.from({ length: random.integer(3) }, () => ({ e, row: random.integer(6) })),
        );
        const expected = positives.flatMap((_, e) =>
          candidates.flatMap((row, column) =>
            positives.some((positive, other) => positive === row && users[other] === users[e]) ||
            left.some((pair) => pair.e === e && pair.row === row)
              ? [`${e} ${column}`]
              : [],
          ),
        );
        const hits = notNegatives(
          {
            positives: Int32Array.from(positives),
            users: Int32Array.from(users),
            weights: new Float32Array(positives.length),
            leftOut: {
              rows: Int32Array.from(left, ({ e }) => e),
              columns: Int32Array.from(left, ({ row }) => row),
            },
          },
          Int32Array.from(candidates),
        );
        const received = Array.from(hits.rows, (row, i) => `${row} ${hits.columns[i]!}`);
        assert.deepEqual(received.sort(), expected.sort());
      }),
    );
  });
});
