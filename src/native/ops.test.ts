// Tensor operations through the addon: argument checks here, numbers against plain JavaScript; more
// in native/test.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nativeAddon } from './addon.ts';

const { ops } = nativeAddon();

const small = fc.integer({ min: 1, max: 12 });
const value = fc.float({ min: -10, max: 10, noNaN: true });

function array(length: number): fc.Arbitrary<Float32Array> {
  return fc
    .array(value, { minLength: length, maxLength: length })
    .map((values) => Float32Array.from(values));
}

test('matmul equals the triple loop for all transposes, bias and relu', () => {
  const cases = fc.tuple(small, small, small, small).chain(([batch, m, n, k]) =>
    fc.record({
      size: fc.constant({ batch, m, n, k }),
      a: array(batch * m * k),
      c: array(batch * k * n),
      bias: fc.option(array(n)),
      flags: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
    }),
  );
  fc.assert(
    fc.property(cases, ({ size: { batch, m, n, k }, a, c, bias, flags: [ta, tb, relu] }) => {
      const out = new Float32Array(batch * m * n);
      ops.matmul(a, c, out, batch, m, n, k, ta, tb, m * k, k * n, bias, relu);
      for (let b = 0; b < batch; b++) {
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) {
            let sum = bias?.[j] ?? 0;
            for (let p = 0; p < k; p++) {
              sum +=
                a[b * m * k + (ta ? p * m + i : i * k + p)]! *
                c[b * k * n + (tb ? j * k + p : p * n + j)]!;
            }
            if (relu) sum = Math.max(0, sum);
            assert.ok(Math.abs(out[(b * m + i) * n + j]! - sum) < 2e-3);
          }
        }
      }
    }),
    { numRuns: 80 },
  );
});

test('NaN passes through relu, step, max and softmax', () => {
  const a = Float32Array.of(NaN, -1, 2, -0);
  const out = new Float32Array(4);
  ops.unary('relu', a, out);
  assert.deepEqual([...out.subarray(0, 3)], [NaN, 0, 2]);
  ops.unary('step', a, out);
  assert.deepEqual([...out], [NaN, 0, 1, 0]);
  ops.binary(
    'max',
    a,
    Int32Array.of(1),
    Float32Array.of(1),
    Int32Array.of(0),
    out,
    Int32Array.of(4),
  );
  assert.deepEqual([...out], [NaN, 1, 2, 1]);
  ops.softmax(a, out, 1, 4);
  assert.ok(out.every((x) => Number.isNaN(x)));
});

test('transpose and its inverse give the input back', () => {
  const shapes = fc
    .array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 6 })
    .chain((shape) =>
      fc.record({
        shape: fc.constant(shape),
        permutation: fc.shuffledSubarray(
          shape.map((_, i) => i),
          { minLength: shape.length, maxLength: shape.length },
        ),
      }),
    );
  fc.assert(
    fc.property(shapes, ({ shape, permutation }) => {
      const total = shape.reduce((a, b) => a * b, 1);
      const a = Float32Array.from({ length: total }, (_, i) => i);
      const there = new Float32Array(total);
      const back = new Float32Array(total);
      ops.transpose(a, there, Int32Array.from(shape), Int32Array.from(permutation));
      const inverse = permutation.map((_, i) => permutation.indexOf(i));
      ops.transpose(
        there,
        back,
        Int32Array.from(permutation, (axis) => shape[axis]!),
        Int32Array.from(inverse),
      );
      assert.deepEqual(back, a);
    }),
    { numRuns: 100 },
  );
});

test('copyRows reaches the last element and not one more', () => {
  const from = Float32Array.of(1, 2, 3, 4, 5, 6, 7);
  const to = new Float32Array(6);
  ops.copyRows(from, 1, 4, to, 0, 4, 2, 2);
  assert.deepEqual([...to], [2, 3, 0, 0, 6, 7]);
  ops.copyRows(from, 7, 4, to, 6, 4, 0, 2);
  for (const [fromOffset, toOffset, rows] of [
    [2, 0, 2],
    [1, 1, 2],
    [0, 0, 3],
  ] as const)
    assert.throws(() => {
      ops.copyRows(from, fromOffset, 4, to, toOffset, 4, rows, 2);
    }, RangeError);
});

test('gather and scatter-add', () => {
  const table = Float32Array.of(1, 2, 3, 4, 5, 6);
  const out = new Float32Array(4);
  ops.gatherRows(table, Int32Array.of(2, 0), out, 2);
  assert.deepEqual([...out], [5, 6, 1, 2]);
  const sums = new Float32Array(6).fill(9);
  ops.scatterAddRows(Float32Array.of(1, 1, 2, 2, 4, 4), Int32Array.of(1, -1, 1), sums, 2);
  assert.deepEqual([...sums], [0, 0, 5, 5, 0, 0]);
  assert.throws(
    () => {
      ops.gatherRows(table, Int32Array.of(0, 3), out, 2);
    },
    { name: 'RangeError', message: /received 3 at 1/ },
  );
  assert.throws(() => {
    ops.gatherRows(table, Int32Array.of(-1, 0), out, 2);
  }, RangeError);
  assert.throws(() => {
    ops.scatterAddRows(out, Int32Array.of(0, 3), sums, 2);
  }, RangeError);
});

test('adam takes the step of the paper', () => {
  const p = Float32Array.of(1);
  const m = new Float32Array(1);
  const v = new Float32Array(1);
  let [pp, mm, vv] = [1, 0, 0];
  for (let step = 1; step <= 5; step++) {
    const g = step - 2.5;
    ops.adam(p, Float32Array.of(g), m, v, 0.1, 0.9, 0.999, 1e-8, step);
    mm = 0.9 * mm + 0.1 * g;
    vv = 0.999 * vv + 0.001 * g * g;
    pp -= (0.1 * (mm / (1 - 0.9 ** step))) / (Math.sqrt(vv / (1 - 0.999 ** step)) + 1e-8);
    assert.ok(Math.abs(p[0]! - pp) < 1e-4);
  }
});

test('lengths and indices that do not fit are RangeErrors', () => {
  const f = (n: number) => new Float32Array(n);
  const i = (...values: number[]) => Int32Array.from(values);
  const calls: (() => void)[] = [
    () => {
      ops.matmul(f(6), f(6), f(3), 1, 2, 2, 3, false, false, 0, 0, null, false);
    },
    () => {
      ops.matmul(f(5), f(6), f(4), 1, 2, 2, 3, false, false, 0, 0, null, false);
    },
    () => {
      ops.matmul(f(6), f(6), f(8), 2, 2, 2, 3, false, false, 6, 0, null, false);
    },
    () => {
      ops.matmul(f(6), f(6), f(4), 1, 2, 2, 3, false, false, 0, 0, f(3), false);
    },
    () => {
      ops.binary('add', f(4), i(1), f(4), i(2), f(4), i(4));
    },
    () => {
      ops.binary('add', f(4), i(-1), f(4), i(1), f(4), i(4));
    },
    () => {
      ops.binary('add', f(4), i(1), f(4), i(1, 1), f(4), i(4));
    },
    () => {
      ops.binary('pow' as 'add', f(4), i(1), f(4), i(1), f(4), i(4));
    },
    () => {
      ops.unary('exp', f(4), f(3));
    },
    () => {
      ops.reduce('sum', f(6), f(2), 1, 2, 3);
    },
    () => {
      ops.transpose(f(6), f(6), i(2, 3), i(0, 0));
    },
    () => {
      ops.transpose(f(6), f(6), i(2, 3), i(0, 2));
    },
    () => {
      ops.transpose(f(6), f(5), i(2, 3), i(1, 0));
    },
    () => {
      ops.adam(f(2), f(2), f(2), f(1), 0.1, 0.9, 0.999, 1e-8, 1);
    },
    () => {
      ops.adam(f(2), f(2), f(2), f(2), 0.1, 1, 0.999, 1e-8, 1);
    },
    () => {
      ops.adam(f(2), f(2), f(2), f(2), 0.1, 0.9, 0.999, 1e-8, 0);
    },
  ];
  for (const call of calls) assert.throws(call, RangeError);
});
