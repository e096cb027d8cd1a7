// Fused operations on both backends against f64 formulas: values, and gradients against central
// differences.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { TYPESCRIPT } from '../../test/support/typescript.ts';
import { packageRoot } from '../package-root.ts';
import { Random } from '../random.ts';
import {
  causalAttention,
  denseRelu,
  dropout,
  layerNorm,
  logSumExpScores,
  rowProducts,
  scatterBoosts,
  unitRows,
  type Boosts,
  type ScorePairs,
} from './fused.ts';
import { useBackend } from './select.ts';
import { tf } from './tf.ts';

type Matrix = number[][];

const BACKENDS = ['cpu', 'native'] as const;
const RUNS = { numRuns: 25 };

function normals(random: Random, rows: number, width: number): Matrix {
  return Array.from({ length: rows }, () =>
    Array.from({ length: width }, () => Math.fround(random.normal())),
  );
}

const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/**
 * Compares `op` with `plain`, and its gradients along a random dy with slopes of `plain`, on both
 * backends.
 */
async function check(
  op: (...inputs: tf.Tensor2D[]) => tf.Tensor,
  plain: (...inputs: Matrix[]) => number[],
  inputs: readonly Matrix[],
  random: Random,
): Promise<void> {
  const expected = plain(...inputs);
  const dy = expected.map(() => random.normal());
  const slopes = inputs.map((rows) => {
    const width = rows[0]!.length;
    return Array.from({ length: 8 }, () => {
      const at = random.integer(rows.length * width);
      const row = rows[Math.floor(at / width)]!;
      const column = at % width;
      const kept = row[column]!;
      const step = 1e-5;
      row[column] = kept + step;
      const above = dot(plain(...inputs), dy);
      row[column] = kept - step;
      const below = dot(plain(...inputs), dy);
      row[column] = kept;
      return { at, slope: (above - below) / (2 * step) };
    });
  });
  for (const backend of BACKENDS) {
    await useBackend(backend);
    tf.tidy(() => {
      const tensors = inputs.map((rows) => tf.tensor2d(rows));
      const output = op(...tensors);
      const received = output.dataSync<'float32'>();
      for (const [i, value] of expected.entries())
        assert.ok(
          Math.abs(received[i]! - value) < 2e-5 * (1 + Math.abs(value)),
          `${backend} at ${i}: expected ${value}, received ${received[i]!}`,
        );
      const gradients = tf.grads((...given: tf.Tensor[]) => op(...(given as tf.Tensor2D[])))(
        tensors,
        tf.tensor(dy, output.shape, 'float32'),
      );
      for (const [which, samples] of slopes.entries()) {
        const gradient = gradients[which]!.dataSync<'float32'>();
        for (const { at, slope } of samples) {
          assert.ok(
            Math.abs(gradient[at]! - slope) < 5e-4 * (1 + Math.abs(slope)),
            `${backend}, input ${which} at ${at}: expected ${slope}, received ${gradient[at]!}`,
          );
        }
      }
    });
  }
}

test('denseRelu', () =>
  fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 1, max: 30 }),
      async (seed, rows, inputs, outputs) => {
        const random = new Random(seed);
        const dense = (x: Matrix, weight: Matrix, [bias]: Matrix): number[] =>
          x.flatMap((row) => weight.map((w, o) => dot(row, w) + bias![o]!));
        const plain = (...given: [Matrix, Matrix, Matrix]): number[] =>
          dense(...given).map((value) => Math.max(0, value));
        const given: [Matrix, Matrix, Matrix] = [
          normals(random, rows, inputs),
          normals(random, outputs, inputs),
          normals(random, 1, outputs),
        ];
        // The slope at the corner of relu is undefined; inputs are far enough from it for a step of
        // 1e-5.
        fc.pre(dense(...given).every((value) => Math.abs(value) > 1e-4));
        await check(
          (x, weight, bias) => denseRelu(x, weight, tf.reshape(bias, [outputs])),
          plain,
          given,
          random,
        );
      },
    ),
    RUNS,
  ));

test('rowProducts and unitRows', () =>
  fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 40 }),
      async (seed, rows, width) => {
        const random = new Random(seed);
        await check(
          rowProducts,
          (x, y) => x.map((row, i) => dot(row, y[i]!)),
          [normals(random, rows, width), normals(random, rows, width)],
          random,
        );
        await check(
          (x) => unitRows(x, 0.1),
          (x) => x.flatMap((row) => row.map((value) => value / Math.sqrt(dot(row, row) + 0.1))),
          [normals(random, rows, width)],
          random,
        );
      },
    ),
    RUNS,
  ));

test('layerNorm', () =>
  fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 40 }),
      async (seed, rows, width) => {
        const random = new Random(seed);
        await check(
          (x, scale, offset) =>
            layerNorm(x, tf.reshape(scale, [width]), tf.reshape(offset, [width]), 0.1),
          (x, scale, offset) =>
            x.flatMap((row) => {
              const mean = row.reduce((sum, value) => sum + value, 0) / width;
              const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
              return row.map(
                (value, i) =>
                  ((value - mean) / Math.sqrt(variance + 0.1)) * scale[0]![i]! + offset[0]![i]!,
              );
            }),
          [normals(random, rows, width), normals(random, 1, width), normals(random, 1, width)],
          random,
        );
      },
    ),
    RUNS,
  ));

test('causalAttention', () =>
  fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.integer({ min: 1, max: 30 }),
      fc.constantFrom(1, 2, 3),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 3 }),
      async (seed, length, heads, headWidth, batch) => {
        const random = new Random(seed);
        const offsets = new Int32Array(batch + 1);
        for (let b = 0; b < batch; b++) offsets[b + 1] = offsets[b]! + random.integer(length + 1);
        // tfjs's own kernels do not accept a tensor without rows; the model never passes one.
        if (offsets[batch] === 0) offsets[batch] = 1;
        const width = heads * headWidth;
        await check(
          (q, k, v) => causalAttention(q, k, v, offsets, heads),
          (q, k, v) =>
            q.flatMap((query, row) => {
              const out = new Array<number>(width).fill(0);
              const first = offsets.findLast((offset) => offset <= row)!;
              for (let h = 0; h < width; h += headWidth) {
                const part = (vector: readonly number[]): number[] =>
                  vector.slice(h, h + headWidth);
                const powers: number[] = [];
                for (let other = first; other <= row; other++)
                  powers.push(Math.exp(dot(part(query), part(k[other]!)) / Math.sqrt(headWidth)));
                const total = powers.reduce((sum, power) => sum + power, 0);
                for (const [i, power] of powers.entries())
                  for (let d = h; d < h + headWidth; d++)
                    out[d]! += (power / total) * v[first + i]![d]!;
              }
              return out;
            }),
          [0, 1, 2].map(() => normals(random, offsets[batch]!, width)),
          random,
        );
      },
    ),
    RUNS,
  ));

const scoreCases = fc.record({
  seed: fc.nat(),
  queries: fc.integer({ min: 1, max: 110 }),
  candidates: fc.oneof(fc.integer({ min: 2, max: 40 }), fc.constant(520)),
  width: fc.integer({ min: 1, max: 6 }),
  biased: fc.boolean(),
});

/** Up to two masked pairs per query, never with candidate 0. */
function drawPairs(random: Random, queries: number, candidates: number): ScorePairs {
  const rows: number[] = [];
  for (let e = 0; e < queries; e++) for (let i = random.integer(3); i > 0; i--) rows.push(e);
  return {
    rows: Int32Array.from(rows),
    columns: Int32Array.from(rows, () => 1 + random.integer(candidates - 1)),
  };
}

function plainLogSums(
  q: Matrix,
  v: Matrix,
  bias: Float32Array | undefined,
  { rows, columns }: ScorePairs,
  boost: (row: number, column: number) => number = () => 0,
): number[] {
  const masked = new Set(Array.from(rows, (row, i) => row * v.length + columns[i]!));
  return q.map((query, e) =>
    Math.log(
      v.reduce(
        (sum, vector, c) =>
          masked.has(e * v.length + c)
            ? sum
            : sum + Math.exp(dot(query, vector) + (bias?.[c] ?? 0) + boost(e, c)),
        0,
      ),
    ),
  );
}

test('logSumExpScores, with bias and masked pairs', () =>
  fc.assert(
    fc.asyncProperty(scoreCases, async ({ seed, queries, candidates, width, biased }) => {
      const random = new Random(seed);
      const bias = biased
        ? Float32Array.from({ length: candidates }, () => random.normal())
        : undefined;
      const masked = drawPairs(random, queries, candidates);
      await check(
        (q, v) => logSumExpScores(q, v, bias, masked),
        (q, v) => plainLogSums(q, v, bias, masked),
        [normals(random, queries, width), normals(random, candidates, width)],
        random,
      );
    }),
    RUNS,
  ));

test('logSumExpScores and scatterBoosts, with pairs that are masked or occur twice', () =>
  fc.assert(
    fc.asyncProperty(scoreCases, async ({ seed, queries, candidates, width }) => {
      const random = new Random(seed);
      const masked = drawPairs(random, queries, candidates);
      const pairs = drawPairs(random, queries, candidates);
      fc.pre(pairs.rows.length > 0);
      const summed = ([boosts]: Matrix): number[] => {
        const sums = new Array<number>(queries * candidates).fill(0);
        for (const [i, value] of boosts!.entries())
          sums[pairs.rows[i]! * candidates + pairs.columns[i]!]! += value;
        return sums;
      };
      const boostsOf = (b: tf.Tensor2D): Boosts => ({ ...pairs, values: tf.squeeze(b, [0]) });
      await check(
        (q, v, b) => logSumExpScores(q, v, undefined, masked, boostsOf(b)),
        (q, v, b) => {
          const sums = summed(b);
          return plainLogSums(q, v, undefined, masked, (e, c) => sums[e * candidates + c]!);
        },
        [
          normals(random, queries, width),
          normals(random, candidates, width),
          normals(random, 1, pairs.rows.length),
        ],
        random,
      );
      await check(
        (b) => scatterBoosts(boostsOf(b), [queries, candidates]),
        summed,
        [normals(random, 1, pairs.rows.length)],
        random,
      );
    }),
    RUNS,
  ));

test('logSumExpScores treats a variable that is not trainable as a constant', async () => {
  const random = new Random(4);
  const values = (rows: number): Float32Array =>
    Float32Array.from({ length: rows * 5 }, () => random.normal());
  const [queries, candidates] = [values(7), values(600)];
  for (const backend of BACKENDS) {
    await useBackend(backend);
    tf.tidy(() => {
      const q = tf.tensor2d(queries, [7, 5]);
      const v = tf.tensor2d(candidates, [600, 5]);
      const constant = tf.variable(v, false);
      const sum = (a: tf.Tensor, b: tf.Tensor): tf.Scalar =>
        tf.sum(logSumExpScores(a as tf.Tensor2D, b as tf.Tensor2D));
      const [both] = tf.grads(sum)([q, v]);
      const alone = tf.grad((a: tf.Tensor) => sum(a, constant))(q);
      assert.deepEqual(alone.dataSync(), both!.dataSync());
      constant.dispose();
    });
  }
});

test('dropout drops the same units on both backends, forwards and backwards', () =>
  fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.constantFrom(0.1, 0.5, 0.9),
      fc.integer({ min: 1, max: 20_000 }),
      async (seed, rate, size) => {
        const results: Float32Array[] = [];
        for (const backend of BACKENDS) {
          await useBackend(backend);
          tf.tidy(() => {
            const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => dropout(x, rate, seed))(
              tf.ones([size]),
              tf.ones([size]),
            );
            results.push(value.dataSync<'float32'>().slice(), grad.dataSync<'float32'>().slice());
          });
        }
        for (const other of results) assert.deepEqual(other, results[0]);
        const kept = Math.fround(1 / (1 - rate));
        assert.ok(results[0]!.every((value) => value === 0 || value === kept));
      },
    ),
    { numRuns: 20 },
  ));

test('arguments that do not fit are refused', async () => {
  await useBackend();
  tf.tidy(() => {
    const x = tf.ones<tf.Rank.R2>([6, 4]);
    assert.throws(
      () => causalAttention(x, x, x, Int32Array.of(0, 4, 3, 6), 2),
      /ascending offsets/,
    );
    assert.throws(() => causalAttention(x, x, x, Int32Array.of(1, 6), 2), /ascending offsets/);
    assert.throws(() => causalAttention(x, x, x, Int32Array.of(0, 6), 3), /heads to divide/);
    for (const wrong of [[], [0], [0, 3], [0, 3, 7]])
      assert.throws(() => causalAttention(x, x, x, Int32Array.from(wrong), 2), RangeError);
    assert.throws(() => layerNorm(x, tf.ones([4]), tf.ones([3]), 1e-5), RangeError);
    assert.throws(() => layerNorm(x, tf.ones([4]), tf.ones([4]), 0), RangeError);
    assert.throws(() => dropout(x, 1, 0), RangeError);
    const pairs = (rows: number[], columns: number[]): ScorePairs => ({
      rows: Int32Array.from(rows),
      columns: Int32Array.from(columns),
    });
    for (const wrong of [pairs([1, 0], [0, 0]), pairs([6], [0]), pairs([0], [6]), pairs([0], [])])
      assert.throws(() => logSumExpScores(x, x, undefined, wrong), RangeError);
    assert.throws(() => logSumExpScores(x, x, new Float32Array(5)), RangeError);
    const boosts = (values: number[]): Boosts => ({
      ...pairs([0, 1], [0, 6]),
      values: tf.tensor1d(values),
    });
    assert.throws(() => logSumExpScores(x, x, undefined, pairs([], []), boosts([1, 2])), /boosted/);
    assert.throws(() => logSumExpScores(x, x, undefined, pairs([], []), boosts([1])), RangeError);
  });
});

test('a result does not depend on the number of threads', () => {
  // The thread pool reads TANDEM_THREADS once per process. The sizes need several blocks, and a
  // gradient cut into parts.
  const program = `
    import { createHash } from 'node:crypto';
    import { Random } from './src/random.ts';
    import { nativeAddon } from './src/native/addon.ts';
    const { ops, training } = nativeAddon();
    const random = new Random(1);
    const draw = (size) => Float32Array.from({ length: size }, () => random.normal());
    const hash = createHash('sha256');
    const none = new Int32Array(0), no = new Float32Array(0);
    const x = draw(1500 * 16), y = draw(1500 * 16), scale = draw(16);
    const outputs = Array.from({ length: 5 }, () => new Float32Array(1500 * 16));
    const sums = new Float32Array(1500), few = new Float32Array(600 * 16);
    const [dScale, dOffset] = [new Float32Array(16), new Float32Array(16)];
    training.layerNormBackward(x, scale, y, 1e-5, outputs[0], dScale, dOffset);
    const offsets = Int32Array.from({ length: 26 }, (_, i) => i * (i + 35));
    training.causalAttentionBackward(x, y, x, y, offsets, 16, 2, ...outputs.slice(1, 4));
    const pairs = [none, none, none, none, no];
    const candidates = y.subarray(0, few.length);
    training.logSumExpScores(x, candidates, 16, null, ...pairs, sums);
    training.logSumExpScoresBackward(
      x, candidates, 16, null, ...pairs, sums, sums, outputs[4], no, few,
    );
    // A weight gradient, cut one way, the other and both; then a product of many rows.
    const products = [];
    const sizes = [[300, 40, 1100, true], [40, 300, 1100, true], [70, 70, 1100, true],
      [1500, 70, 40, false]];
    for (const [m, n, k, transposed] of sizes) {
      const out = new Float32Array(m * n);
      ops.matmul(draw(m * k), draw(n * k), out, 1, m, n, k, transposed, false, 0, 0, null, false);
      products.push(out);
    }
    for (const values of [...outputs, dScale, dOffset, sums, few, ...products]) hash.update(values);
    process.stdout.write(hash.digest('hex'));
  `;
  const digests = ['1', '2', '5'].map((threads) =>
    execFileSync(process.execPath, [...TYPESCRIPT, '--input-type=module', '--eval', program], {
      cwd: packageRoot(),
      env: { ...process.env, TANDEM_THREADS: threads },
      encoding: 'utf8',
    }),
  );
  assert.match(digests[0]!, /^[0-9a-f]{64}$/);
  assert.deepEqual(digests, [digests[0], digests[0], digests[0]]);
});
