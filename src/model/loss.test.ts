import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { useBackend } from '../backend/select.ts';
import { tf } from '../backend/tf.ts';
import { Random } from '../random.ts';
import { fullSoftmaxLoss, NegativeSampler, sampledSoftmaxLoss, type LossExamples } from './loss.ts';

before(() => useBackend());

type Rows = number[][];

function normals(random: Random, rows: number, width: number): Rows {
  return Array.from({ length: rows }, () => Array.from({ length: width }, () => random.normal()));
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

/** Full softmax loss in f64. */
function reference(
  queries: Rows,
  items: Rows,
  examples: LossExamples,
  temperature: number,
): number {
  return queries.reduce((sum, query, e) => {
    const logits = items.map((item) => dot(query, item) / temperature);
    const largest = Math.max(...logits);
    const total = logits.reduce(
      (exponentials, logit) => exponentials + Math.exp(logit - largest),
      0,
    );
    const loss = Math.log(total) + largest - logits[examples.positives[e]!]!;
    return sum + examples.weights[e]! * loss;
  }, 0);
}

function evenly(positives: readonly number[], users = positives.map((_, e) => e)): LossExamples {
  return {
    positives: Int32Array.from(positives),
    users: Int32Array.from(users),
    weights: new Float32Array(positives.length).fill(1 / positives.length),
  };
}

describe('fullSoftmaxLoss', () => {
  const cases = fc.record({
    seed: fc.nat(),
    examples: fc.integer({ min: 1, max: 5 }),
    items: fc.integer({ min: 1, max: 7 }),
    temperature: fc.constantFrom(0.05, 0.3, 1),
  });

  it('equals f64, and its gradient equals finite differences', () => {
    fc.assert(
      fc.property(cases, ({ seed, examples: count, items: itemCount, temperature }) => {
        const random = new Random(seed);
        const queries = normals(random, count, 3);
        const items = normals(random, itemCount, 3);
        const examples = evenly(queries.map(() => random.integer(itemCount)));
        tf.tidy(() => {
          const loss = (q: tf.Tensor, c: tf.Tensor): tf.Scalar =>
            fullSoftmaxLoss(q as tf.Tensor2D, c as tf.Tensor2D, examples, temperature);
          const { value, grads } = tf.valueAndGrads(loss)([
            tf.tensor2d(queries),
            tf.tensor2d(items),
          ]);
          const expected = reference(queries, items, examples, temperature);
          assert.ok(Math.abs(value.dataSync()[0]! - expected) < 1e-4 * (1 + expected));
          for (const [operand, gradient] of [
            [queries, grads[0]!],
            [items, grads[1]!],
          ] as const) {
            const values = gradient.dataSync();
            for (let at = 0; at < values.length; at++) {
              const row = operand[Math.floor(at / 3)]!;
              const kept = row[at % 3]!;
              const step = 1e-6;
              row[at % 3] = kept + step;
              const above = reference(queries, items, examples, temperature);
              row[at % 3] = kept - step;
              const below = reference(queries, items, examples, temperature);
              row[at % 3] = kept;
              const slope = (above - below) / (2 * step);
              assert.ok(
                Math.abs(values[at]! - slope) < 1e-3 * (1 + Math.abs(slope)),
                `expected slope ${slope}, received ${values[at]!}`,
              );
            }
          }
        });
      }),
      { numRuns: 25 },
    );
  });

  it('is ln N when every item looks the same, and stays finite at any scale', () => {
    tf.tidy(() => {
      const items = tf.tensor2d([1, 0, 1, 0, 1, 0, 1, 0, 1, 0], [5, 2]);
      for (const scale of [0, 1, 1e4]) {
        const queries = tf.tensor2d([scale, 3, 0, scale], [2, 2]);
        const loss = fullSoftmaxLoss(queries, items, evenly([0, 4]), 0.05).dataSync()[0]!;
        assert.ok(Math.abs(loss - Math.log(5)) < 1e-2 * (1 + scale / 1e3), `${scale}: ${loss}`);
      }
    });
  });

  it("shares an example's weight, not more", () => {
    tf.tidy(() => {
      const random = new Random(1);
      const queries = tf.tensor2d(normals(random, 2, 3));
      const items = tf.tensor2d(normals(random, 4, 3));
      const at = (weights: readonly number[]): number =>
        fullSoftmaxLoss(
          queries,
          items,
          { ...evenly([1, 2]), weights: Float32Array.from(weights) },
          0.3,
        ).dataSync()[0]!;
      assert.ok(Math.abs(at([0.25, 0.75]) - (0.25 * at([1, 0]) + 0.75 * at([0, 1]))) < 1e-5);
    });
  });
});

describe('NegativeSampler', () => {
  const counts = [5, 0, 1, 14];

  it('draws items as often as probability() says, for any share', () => {
    for (const share of [0, 0.5, 1]) {
      const sampler = new NegativeSampler(counts, share);
      const total = counts.reduce((sum, _, slot) => sum + sampler.probability(slot), 0);
      assert.ok(Math.abs(total - 1) < 1e-12);
      const draws = 40_000;
      const { slots } = sampler.columns(new Int32Array(0), draws, new Random(9));
      const seen = new Float64Array(counts.length);
      for (const slot of slots) seen[slot]!++;
      for (const [slot, times] of seen.entries()) {
        const p = sampler.probability(slot);
        const error = 6 * Math.sqrt((p * (1 - p)) / draws);
        assert.ok(Math.abs(times / draws - p) <= error, `share ${share}, item ${slot}: ${times}`);
      }
      // An item without a conversion is never drawn by frequency alone.
      if (share === 1) assert.equal(seen[1], 0);
    }
  });

  it("puts the positives first, and names every column's probability", () => {
    const sampler = new NegativeSampler(counts, 0.5);
    const positives = Int32Array.of(3, 0, 3);
    const { slots, logProbabilities } = sampler.columns(positives, 5, new Random(1));
    assert.deepEqual(slots.subarray(0, 3), positives);
    const expected = Array.from(slots, (slot, column) =>
      Math.fround(Math.log(column < 3 ? counts[slot]! / 20 : sampler.probability(slot))),
    );
    assert.deepEqual([...logProbabilities], expected);
  });
});

describe('sampledSoftmaxLoss', () => {
  it("masks accidental hits: a column that is a positive of the example's user adds nothing", () => {
    const random = new Random(2);
    const queries = normals(random, 3, 4);
    const vectors = normals(random, 6, 4);
    // Examples 0 and 1 are of one user. Columns: their positives, the other user's, and two negatives that are hits.
    const examples = evenly([2, 5, 1], [0, 0, 1]);
    const slots = Int32Array.of(2, 5, 1, 5, 1);
    const logProbabilities = Float32Array.of(-1, -2, -1.5, -0.5, -0.7);
    const visible = [
      [0, 2, 4],
      [1, 2, 4],
      [0, 1, 2, 3],
    ];
    const temperature = 0.5;
    const expected = queries.reduce((sum, query, e) => {
      const logit = (column: number): number =>
        dot(query, vectors[slots[column]!]!) / temperature - logProbabilities[column]!;
      const total = visible[e]!.reduce((exp, column) => exp + Math.exp(logit(column)), 0);
      return sum + (Math.log(total) - logit(e)) / 3;
    }, 0);
    const received = tf.tidy(
      () =>
        sampledSoftmaxLoss(
          tf.tensor2d(queries),
          tf.tensor2d(Array.from(slots, (slot) => vectors[slot]!)),
          { slots, logProbabilities },
          examples,
          temperature,
        ).dataSync()[0]!,
    );
    assert.ok(Math.abs(received - expected) < 1e-5);
  });

  it('comes near the full softmax in expectation: logQ undoes the frequencies of the proposal', () => {
    const random = new Random(4);
    const itemCount = 12;
    const items = normals(random, itemCount, 4);
    const counts = items.map((_, slot) => 1 + slot * slot);
    const sampler = new NegativeSampler(counts, 0.5);
    const negatives = 4000;
    const queries = normals(random, 6, 4);
    // Without masks and with many negatives the sampled sum is (S + E) times an estimate of the full one.
    const users = queries.map((_, e) => e);
    const positives = queries.map((_, e) => e);
    let sampled = 0;
    let uncorrected = 0;
    let full = 0;
    tf.tidy(() => {
      for (let e = 0; e < queries.length; e++) {
        const examples = evenly([positives[e]!], [users[e]!]);
        const columns = sampler.columns(examples.positives, negatives, random);
        const candidates = tf.gather(tf.tensor2d(items), tf.tensor1d(columns.slots, 'int32'));
        const query = tf.tensor2d([queries[e]!]);
        const loss = (logProbabilities: Float32Array): number =>
          sampledSoftmaxLoss(
            query,
            candidates,
            { ...columns, logProbabilities },
            examples,
            1,
          ).dataSync()[0]!;
        // The positive's own column counts once among S: give it the probability of one column more.
        const logProbabilities = columns.logProbabilities.map((value, i) =>
          i === 0 ? -Math.log(negatives) : value,
        );
        sampled += loss(logProbabilities) / queries.length;
        uncorrected += loss(new Float32Array(columns.slots.length)) / queries.length;
        full += reference([queries[e]!], items, examples, 1) / queries.length;
      }
    });
    assert.ok(Math.abs(sampled - full) < 0.05, `sampled ${sampled}, full ${full}`);
    assert.ok(Math.abs(uncorrected - full) > 1, `uncorrected ${uncorrected}, full ${full}`);
  });
});
