// Formulas in f64 and gradients by finite differences, with which tests compare values and
// gradients of tensors.

import assert from 'node:assert/strict';
import { tf } from '../../src/backend/tf.ts';
import type { Random } from '../../src/random.ts';

export type Rows = number[][];

export function normals(random: Random, rows: number, width: number): Rows {
  return Array.from({ length: rows }, () => Array.from({ length: width }, () => random.normal()));
}

export function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

export function logSumExp(values: readonly number[]): number {
  const largest = Math.max(...values);
  return largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
}

export function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** Asserts that a scalar of tensors has the value and the gradients of a formula in f64. */
export function assertComputes(
  compute: (...operands: tf.Tensor2D[]) => tf.Scalar,
  formula: (...operands: Rows[]) => number,
  operands: readonly Rows[],
): void {
  tf.tidy(() => {
    const { value, grads } = tf.valueAndGrads((...tensors: tf.Tensor[]) =>
      compute(...(tensors as tf.Tensor2D[])),
    )(operands.map((rows) => tf.tensor2d(rows)));
    near(value.dataSync()[0]!, formula(...operands), 1e-4, 'value');
    for (const [o, rows] of operands.entries()) {
      const slopes = grads[o]!.dataSync();
      const width = rows[0]!.length;
      for (let at = 0; at < slopes.length; at++)
        near(slopes[at]!, slope(rows[Math.floor(at / width)]!, at % width), 1e-3, `operand ${o}`);
    }
  });

  function slope(row: number[], at: number): number {
    const step = 1e-6;
    const kept = row[at]!;
    row[at] = kept + step;
    const above = formula(...operands);
    row[at] = kept - step;
    const below = formula(...operands);
    row[at] = kept;
    return (above - below) / (2 * step);
  }
}

export function near(received: number, expected: number, tolerance: number, what: string): void {
  assert.ok(
    Math.abs(received - expected) <= tolerance * (1 + Math.abs(expected)),
    `expected ${expected} for ${what}, received ${received}`,
  );
}
