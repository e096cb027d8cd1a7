// Every op that the model uses, on random shapes: the native backend gives the values and gradients
// of tfjs's CPU backend. model/network/layers.test.ts compares tfjs's gradients with finite
// differences in f64.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import type { BackendName } from './backends.ts';
import { useBackend } from './select.ts';
import { tf } from './tf.ts';

/** One call of an op: the inputs that have a gradient, and the computation. */
interface Call {
  readonly inputs: readonly { readonly shape: readonly number[]; readonly values: Float32Array }[];
  readonly apply: (...inputs: tf.Tensor[]) => tf.Tensor;
  /**
   * False when tfjs itself has no gradient (Maximum and matMul over broadcast axes, a split into
   * one part).
   */
  readonly gradients?: boolean;
}

const RUNS = { numRuns: 40 };
// Sums of some hundred products of numbers below 3, in another order.
const TOLERANCE = 2e-5;

const axis = fc.oneof(
  { weight: 1, arbitrary: fc.constant(1) },
  { weight: 3, arbitrary: fc.integer({ min: 2, max: 5 }) },
);
const shapeOf = (minLength: number, maxLength: number): fc.Arbitrary<number[]> =>
  fc.array(axis, { minLength, maxLength });
/** Sometimes one axis is long, so that buffers reach the pool and the wide loops of the kernels. */
const stretched = (shape: readonly number[]): fc.Arbitrary<number[]> =>
  fc
    .option(fc.nat(shape.length - 1), { freq: 3 })
    .map((at) => (at === null || shape.length === 0 ? [...shape] : shape.with(at, 97)));
const anyShape = (minLength: number, maxLength: number): fc.Arbitrary<number[]> =>
  shapeOf(minLength, maxLength).chain((shape) =>
    shape.length === 0 ? fc.constant(shape) : stretched(shape),
  );

/**
 * Numbers in [-3, 3) from a seed: drawing thousands of them through fast-check would take minutes.
 */
function numbers(size: number, seed: number): Float32Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32) * 6 - 3;
  });
}

function input(
  shape: readonly number[],
  seed: number,
  change: (value: number) => number = (value) => value,
): Call['inputs'][number] {
  return { shape, values: numbers(tf.util.sizeFromShape([...shape]), seed).map(change) };
}

/** The value of a call, and its gradients along a fixed dy. */
async function run(
  backend: BackendName,
  call: Call,
): Promise<{ shape: number[]; values: Float32Array[] }> {
  await useBackend(backend);
  return tf.tidy(() => {
    const inputs = call.inputs.map(({ shape, values }) =>
      tf.tensor(values.slice(), [...shape], 'float32'),
    );
    const output = call.apply(...inputs);
    const values = [output.dataSync<'float32'>().slice()];
    if (call.gradients !== false) {
      const dy = tf.tensor(numbers(output.size, 99), output.shape, 'float32');
      const gradients = tf.grads(call.apply)(inputs, dy);
      for (const [i, gradient] of gradients.entries()) {
        assert.deepEqual(gradient.shape, call.inputs[i]!.shape);
        values.push(gradient.dataSync<'float32'>().slice());
      }
    }
    return { shape: output.shape, values };
  });
}

async function sameOnBoth(call: Call): Promise<void> {
  const expected = await run('cpu', call);
  const received = await run('native', call);
  assert.deepEqual(received.shape, expected.shape);
  for (const [i, values] of expected.values.entries())
    for (const [at, value] of values.entries()) {
      const other = received.values[i]![at]!;
      assert.ok(
        Math.abs(other - value) <= TOLERANCE * (1 + Math.abs(value)) || Object.is(other, value),
        `${i === 0 ? 'value' : `gradient ${i - 1}`} at ${at}: expected ${value}, received ${other}`,
      );
    }
}

function conforms(name: string, calls: fc.Arbitrary<Call>): void {
  test(name, () => fc.assert(fc.asyncProperty(calls, sameOnBoth), RUNS));
}

const seed = fc.nat(1e6);

before(() => useBackend());

for (const [name, apply] of [
  ['relu', tf.relu],
  ['exp', tf.exp],
  ['square', tf.square],
  ['neg', tf.neg],
  ['step', tf.step],
] as const)
  conforms(
    name,
    fc
      .tuple(anyShape(0, 5), seed)
      .map(([shape, from]) => ({ inputs: [input(shape, from)], apply: (x) => apply(x) })),
  );

for (const [name, apply] of [
  ['log', tf.log],
  ['sqrt', tf.sqrt],
  ['rsqrt', tf.rsqrt],
] as const)
  conforms(
    `${name} of positive numbers`,
    fc.tuple(anyShape(0, 4), seed).map(([shape, from]) => ({
      inputs: [input(shape, from, (value) => Math.abs(value) + 0.1)],
      apply: (x) => apply(x),
    })),
  );

/** An operand that broadcasts to `shape`: leading axes left out, others set to 1. */
const operand = (shape: readonly number[]): fc.Arbitrary<number[]> =>
  fc
    .tuple(
      fc.nat(shape.length),
      fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }),
    )
    .map(([left, ones]) => shape.map((size, i) => (ones[i] === true ? 1 : size)).slice(left));

for (const [name, apply] of [
  ['add', tf.add],
  ['sub', tf.sub],
  ['mul', tf.mul],
  ['div', tf.div],
  ['maximum', tf.maximum],
] as const)
  conforms(
    `${name} with broadcasting`,
    anyShape(0, 5)
      .chain((shape) => fc.tuple(operand(shape), operand(shape), seed))
      .map(([a, b, from]) => ({
        inputs: [
          input(a, from),
          input(b, from + 1, (value) =>
            name === 'div' ? Math.sign(value || 1) * (Math.abs(value) + 0.3) : value,
          ),
        ],
        apply: (x, y) => apply(x, y),
        gradients: name !== 'maximum',
      })),
  );

for (const [name, apply] of [
  ['sum', tf.sum],
  ['mean', tf.mean],
  ['max', tf.max],
] as const)
  conforms(
    `${name} over any axes`,
    anyShape(1, 5)
      .chain((shape) =>
        fc.tuple(
          fc.constant(shape),
          fc.option(
            fc.subarray(
              shape.map((_, i) => i),
              { minLength: 1 },
            ),
          ),
          fc.boolean(),
          seed,
        ),
      )
      .map(([shape, axes, keepDims, from]) => ({
        inputs: [input(shape, from)],
        apply: (x) => apply(x, axes ?? undefined, keepDims),
      })),
  );

conforms(
  'softmax',
  fc.tuple(anyShape(1, 4), seed, fc.constantFrom(1, 40)).map(([shape, from, scale]) => ({
    inputs: [input(shape, from, (value) => value * scale)],
    apply: (x) => tf.softmax(x),
  })),
);

test('softmax of a masked row is finite and ignores what is masked', async () => {
  const row = Float32Array.of(1, 2, -1e9, -1e9 + 64, 0.5, -1e9);
  for (const backend of ['cpu', 'native'] as const) {
    const { values } = await run(backend, {
      inputs: [{ shape: [2, 3], values: row }],
      apply: (x) => tf.softmax(x),
    });
    const [a, b, c, d, e, f] = values[0]!;
    assert.ok(Math.abs(a! - 1 / (1 + Math.E)) < 1e-6 && Math.abs(a! + b! - 1) < 1e-6);
    assert.deepEqual([c, d, e, f], [0, 0, 1, 0]);
    assert.ok(values[1]!.every(Number.isFinite));
  }
});

const matrices = fc
  .record({
    batch: fc.oneof(fc.constant([]), shapeOf(1, 2)),
    m: fc.oneof(axis, fc.constant(33)),
    n: fc.oneof(axis, fc.constant(35)),
    k: fc.oneof(axis, fc.constant(67)),
    transposeA: fc.boolean(),
    transposeB: fc.boolean(),
    seed,
  })
  .map(({ batch, m, n, k, transposeA, transposeB, seed: from }) => ({
    a: input([...batch, ...(transposeA ? [k, m] : [m, k])], from),
    b: input([...batch, ...(transposeB ? [n, k] : [k, n])], from + 1),
    bias: input([n], from + 2),
    transposeA,
    transposeB,
  }));

conforms(
  'matMul with every transpose and batch',
  matrices.map(({ a, b, transposeA, transposeB }) => ({
    inputs: [a, b],
    apply: (x, y) => tf.matMul(x, y, transposeA, transposeB),
  })),
);

conforms(
  'matMul with one matrix for all of a batch',
  fc
    .tuple(matrices, fc.constantFrom('a', 'b'), fc.boolean())
    .map(([{ a, b, transposeA, transposeB }, single, dropBatch]) => {
      const alone = (matrix: Call['inputs'][number]): Call['inputs'][number] => {
        const last = matrix.shape.slice(-2);
        const ones = dropBatch ? [] : matrix.shape.slice(0, -2).map(() => 1);
        return { shape: [...ones, ...last], values: matrix.values.slice(0, last[0]! * last[1]!) };
      };
      return {
        inputs: single === 'a' ? [alone(a), b] : [a, alone(b)],
        apply: (x, y) => tf.matMul(x, y, transposeA, transposeB),
        gradients: false,
      };
    }),
);

conforms(
  'fused matMul with bias and relu',
  fc
    .tuple(matrices, fc.boolean(), fc.constantFrom('linear', 'relu'))
    .map(([drawn, biased, activation]) => {
      const flat = (matrix: Call['inputs'][number]): Call['inputs'][number] => {
        const shape = matrix.shape.slice(-2);
        return { shape, values: matrix.values.slice(0, shape[0]! * shape[1]!) };
      };
      const { bias, transposeA, transposeB } = drawn;
      return {
        inputs: [flat(drawn.a), flat(drawn.b), ...(biased ? [bias] : [])],
        apply: (a, b, ...biases) =>
          tf.fused.matMul({
            a,
            b,
            transposeA,
            transposeB,
            activation,
            ...(biased && { bias: biases[0]! }),
          }),
      };
    }),
);

conforms(
  'transpose by any permutation',
  anyShape(1, 6)
    .chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.shuffledSubarray(
          shape.map((_, i) => i),
          { minLength: shape.length, maxLength: shape.length },
        ),
        seed,
      ),
    )
    .map(([shape, permutation, from]) => ({
      inputs: [input(shape, from)],
      apply: (x) => tf.transpose(x, permutation),
    })),
);

conforms(
  'gather of rows, and its gradient when rows repeat',
  anyShape(1, 3)
    .chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.array(fc.nat(shape[0]! - 1), { minLength: 1, maxLength: 12 }),
        fc.boolean(),
        seed,
      ),
    )
    .map(([shape, rows, folded, from]) => ({
      inputs: [input(shape, from)],
      apply: (x) =>
        tf.gather(
          x,
          folded ? tf.tensor2d(rows, [rows.length, 1], 'int32') : tf.tensor1d(rows, 'int32'),
        ),
    })),
);

conforms(
  'concat along any axis',
  anyShape(1, 4)
    .chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.nat(shape.length - 1),
        fc.array(axis, { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        seed,
      ),
    )
    .map(([shape, along, sizes, fromEnd, from]) => ({
      inputs: sizes.map((size, i) => input(shape.with(along, size), from + i)),
      apply: (...parts) => tf.concat(parts, fromEnd ? along - shape.length : along),
    })),
);

conforms(
  'slice',
  anyShape(1, 4)
    .chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.tuple(...shape.map((size) => fc.tuple(fc.nat(size - 1), fc.nat(size - 1)))),
        seed,
      ),
    )
    .map(([shape, ends, from]) => {
      const begin = ends.map(([a, b]) => Math.min(a, b));
      const size = ends.map(([a, b]) => Math.abs(a - b) + 1);
      return { inputs: [input(shape, from)], apply: (x) => tf.slice(x, begin, size) };
    }),
);

conforms(
  'pad with zeros and with a constant',
  anyShape(1, 4)
    .chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.tuple(...shape.map(() => fc.tuple(fc.nat(3), fc.nat(3)))),
        fc.constantFrom(0, 1.5),
        seed,
      ),
    )
    .map(([shape, paddings, constant, from]) => ({
      inputs: [input(shape, from)],
      apply: (x) => tf.pad(x, paddings, constant),
    })),
);

conforms(
  'split and concat in another order',
  shapeOf(1, 4)
    .chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.nat(shape.length - 1),
        fc.array(axis, { minLength: 1, maxLength: 4 }),
        seed,
      ),
    )
    .map(([shape, along, sizes, from]) => {
      const total = sizes.reduce((sum, size) => sum + size, 0);
      return {
        inputs: [input(shape.with(along, total), from)],
        apply: (x) => tf.concat(tf.split(x, sizes, along).toReversed(), along),
        gradients: sizes.length > 1,
      };
    }),
);

conforms(
  'unstack and stack in another order',
  anyShape(1, 4)
    .chain((shape) => fc.tuple(fc.constant(shape), fc.nat(shape.length - 1), seed))
    .map(([shape, along, from]) => ({
      inputs: [input(shape, from)],
      apply: (x) => tf.stack(tf.unstack(x, along).toReversed(), 0),
      gradients: shape[along]! > 1,
    })),
);

conforms(
  'reshape, expandDims and squeeze between other ops',
  anyShape(1, 4)
    .chain((shape) => seed.map((from) => ({ shape, from })))
    .map(({ shape, from }) => ({
      inputs: [input(shape, from)],
      apply: (x) => tf.square(tf.squeeze(tf.expandDims(tf.reshape(tf.neg(x), [-1]), 0), [0])),
    })),
);

test("integers and booleans still take tfjs's own kernels", async () => {
  for (const backend of ['cpu', 'native'] as const) {
    await useBackend(backend);
    tf.tidy(() => {
      const x = tf.tensor1d([1, 2, 3], 'int32');
      assert.deepEqual([...tf.add(x, x).dataSync()], [2, 4, 6]);
      assert.equal(tf.add(x, x).dtype, 'int32');
      assert.deepEqual([...tf.concat([x, x]).dataSync()], [1, 2, 3, 1, 2, 3]);
      assert.deepEqual([...tf.slice(x, 1, 2).dataSync()], [2, 3]);
      assert.deepEqual([...tf.gather(x, tf.tensor1d([2, 0], 'int32')).dataSync()], [3, 1]);
      assert.equal(tf.sum(x).dataSync()[0], 6);
      assert.deepEqual([...tf.logicalAnd(tf.equal(x, 2), tf.equal(x, 2)).dataSync()], [0, 1, 0]);
    });
  }
});

test('shapes that do not fit are refused, not read past their end', async () => {
  for (const backend of ['cpu', 'native'] as const) {
    await useBackend(backend);
    tf.tidy(() => {
      assert.throws(() => tf.matMul(tf.ones([2, 3]), tf.ones([4, 2])));
      assert.throws(() => tf.add(tf.ones([2, 3]), tf.ones([4])));
      // tfjs's own kernel checks rows in its debug mode only.
      if (backend === 'native')
        assert.throws(() => tf.gather(tf.ones([2, 3]), tf.tensor1d([2], 'int32')), RangeError);
      assert.throws(() => tf.slice(tf.ones([4]), 2, 3));
      assert.throws(() => tf.concat([tf.ones([2, 3]), tf.ones([2, 4])], 0));
    });
  }
});
