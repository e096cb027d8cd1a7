// Layers against plain f64 arithmetic: values, and gradients against central differences of that
// arithmetic. Both tfjs backends are tested, so an error that they share shows here.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useBackend } from '../../backend/select.ts';
import { tf } from '../../backend/tf.ts';
import { Random } from '../../random.ts';
import type { Bags } from './bags.ts';
import { dense, dropout, layerNorm, unitRows, weightedBag } from './layers.ts';

type Matrix = readonly (readonly number[])[];

interface LayerCase {
  readonly name: string;
  readonly shapes: readonly (readonly [number, number])[];
  readonly layer: (...inputs: tf.Tensor2D[]) => tf.Tensor;
  readonly plain: (...inputs: Matrix[]) => Matrix;
}

const sum = (values: readonly number[]): number =>
  values.reduce((total, value) => total + value, 0);
const dot = (a: readonly number[], b: readonly number[]): number =>
  sum(a.map((value, i) => value * b[i]!));
/** Three bags: one with a row twice, an empty one, one with a row of weight 0. */
const BAGS: Bags = {
  offsets: Int32Array.of(0, 3, 3, 5),
  rows: Int32Array.of(0, 2, 2, 1, 0),
  weights: Float32Array.of(0.5, 0.25, 1, 0, 0.75),
};

const CASES: readonly LayerCase[] = [
  {
    name: 'dense with bias and relu',
    shapes: [
      [3, 4],
      [5, 4],
      [1, 5],
    ],
    layer: (x, w, b) => dense(x, w, tf.reshape(b, [5]), 'relu'),
    plain: (x, w, b) =>
      x.map((row) => w.map((weights, out) => Math.max(0, dot(row, weights) + b[0]![out]!))),
  },
  {
    name: 'dense without bias',
    shapes: [
      [3, 4],
      [5, 4],
    ],
    layer: (x, w) => dense(x, w, undefined),
    plain: (x, w) => x.map((row) => w.map((weights) => dot(row, weights))),
  },
  {
    name: 'layerNorm',
    shapes: [
      [3, 6],
      [1, 6],
      [1, 6],
    ],
    layer: (x, scale, offset) => layerNorm(x, tf.reshape(scale, [6]), tf.reshape(offset, [6])),
    plain: (x, scale, offset) =>
      x.map((row) => {
        const mean = sum(row) / row.length;
        const variance = sum(row.map((value) => (value - mean) ** 2)) / row.length;
        return row.map(
          (value, i) =>
            ((value - mean) / Math.sqrt(variance + 1e-5)) * scale[0]![i]! + offset[0]![i]!,
        );
      }),
  },
  {
    name: 'unitRows',
    shapes: [[3, 5]],
    layer: (x) => unitRows(x),
    plain: (x) => x.map((row) => row.map((value) => value / Math.sqrt(dot(row, row) + 1e-12))),
  },
  {
    name: 'weightedBag',
    shapes: [[3, 4]],
    layer: (table) => weightedBag(table, BAGS),
    plain: (table) =>
      [0, 1, 2].map((bag) =>
        Array.from({ length: 4 }, (_, d) =>
          sum(
            Array.from(BAGS.rows, (row, i) =>
              i >= BAGS.offsets[bag]! && i < BAGS.offsets[bag + 1]!
                ? BAGS.weights[i]! * table[row]![d]!
                : 0,
            ),
          ),
        ),
      ),
  },
];

for (const { name, shapes, layer, plain } of CASES)
  test(name, async () => {
    const random = new Random(3, name.length);
    const inputs = shapes.map(([rows, columns]) =>
      Array.from({ length: rows }, () => Array.from({ length: columns }, () => random.normal())),
    );
    const expected = plain(...inputs).flat();
    const dy = expected.map(() => random.normal());
    const objective = (): number => dot(plain(...inputs).flat(), dy);
    for (const backend of ['cpu', 'native'] as const) {
      await useBackend(backend);
      tf.tidy(() => {
        const tensors = inputs.map((rows) => tf.tensor2d(rows));
        const output = layer(...tensors);
        const received = output.dataSync();
        for (const [i, value] of expected.entries())
          assert.ok(
            Math.abs(received[i]! - value) < 1e-5,
            `${backend}, ${i}: ${received[i]!}, ${value}`,
          );
        const gradients = tf.grads((...xs: tf.Tensor[]) => layer(...(xs as tf.Tensor2D[])))(
          tensors,
          tf.tensor(dy, output.shape),
        );
        for (const [which, rows] of inputs.entries()) {
          const gradient = gradients[which]!.dataSync();
          const columns = rows[0]!.length;
          for (let at = 0; at < gradient.length; at++) {
            const row = rows[Math.floor(at / columns)]!;
            const kept = row[at % columns]!;
            const step = 1e-6;
            row[at % columns] = kept + step;
            const above = objective();
            row[at % columns] = kept - step;
            const below = objective();
            row[at % columns] = kept;
            const slope = (above - below) / (2 * step);
            assert.ok(
              Math.abs(gradient[at]! - slope) < 1e-4 * (1 + Math.abs(slope)),
              `${backend}, input ${which} at ${at}: expected ${slope}, received ${gradient[at]!}`,
            );
          }
        }
      });
    }
  });

test('unitRows of a zero row is zero with a finite gradient', async () => {
  await useBackend();
  tf.tidy(() => {
    const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => tf.sum(unitRows(x as tf.Tensor2D)))(
      tf.zeros([2, 3]),
    );
    assert.equal(value.dataSync()[0], 0);
    assert.ok(grad.dataSync().every(Number.isFinite));
  });
});

test('dropout keeps the mean, drops the share it says, and does nothing without a stream', () => {
  tf.tidy(() => {
    const x = tf.ones([100, 200]);
    assert.equal(dropout(x, 0.3, undefined), x);
    assert.equal(dropout(x, 0, new Random(1)), x);
    const values = dropout(x, 0.3, new Random(1)).dataSync<'float32'>();
    const dropped = values.filter((value) => value === 0).length / values.length;
    assert.ok(Math.abs(dropped - 0.3) < 6 * Math.sqrt(0.21 / values.length));
    const mean = values.reduce((total, value) => total + value, 0) / values.length;
    assert.ok(Math.abs(mean - 1) < 0.03);
    assert.deepEqual(dropout(x, 0.3, new Random(1)).dataSync<'float32'>(), values);
  });
});

test('weightedBag of empty bags alone is zero', async () => {
  for (const backend of ['cpu', 'native'] as const) {
    await useBackend(backend);
    const none = {
      offsets: new Int32Array(3),
      rows: new Int32Array(0),
      weights: new Float32Array(0),
    };
    tf.tidy(() => {
      const bags = (table: tf.Tensor): tf.Tensor => weightedBag(table, none);
      const { value, grad } = tf.valueAndGrad((table: tf.Tensor) => tf.sum(bags(table)))(
        tf.ones([4, 3]),
      );
      assert.deepEqual(bags(tf.ones([4, 3])).shape, [2, 3]);
      assert.equal(value.dataSync()[0], 0);
      assert.deepEqual([...grad.dataSync()], new Array<number>(12).fill(0));
    });
  }
});
