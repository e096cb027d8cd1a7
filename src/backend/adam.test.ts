import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Adam } from './adam.ts';
import type { BackendName } from './backends.ts';
import { useBackend } from './select.ts';
import { tf } from './tf.ts';

interface Step {
  readonly learningRate: number;
  readonly gradients: readonly Float32Array[];
}

/** Values and moments of variables after some steps. */
async function descend(
  backend: BackendName,
  starts: readonly Float32Array[],
  steps: readonly Step[],
): Promise<Float32Array[]> {
  await useBackend(backend);
  const variables = new Map(
    starts.map((start, i) => [`v${i}`, tf.tidy(() => tf.variable(tf.tensor1d(start.slice())))]),
  );
  const adam = new Adam(variables);
  for (const [at, { learningRate, gradients }] of steps.entries())
    tf.tidy(() => {
      const named = new Map(gradients.map((values, i) => [`v${i}`, tf.tensor1d(values.slice())]));
      adam.apply(named, learningRate, at + 1);
    });
  const results = [...variables.values()].map((variable) => variable.dataSync<'float32'>().slice());
  for (const { m, v } of adam.moments.values())
    results.push(m.dataSync<'float32'>().slice(), v.dataSync<'float32'>().slice());
  adam.dispose();
  for (const variable of variables.values()) variable.dispose();
  return results;
}

const value = fc.float({ min: -2, max: 2, noNaN: true });
const vector = (length: number): fc.Arbitrary<Float32Array> =>
  fc
    .array(value, { minLength: length, maxLength: length })
    .map((values) => Float32Array.from(values));
const runs = fc
  .array(fc.integer({ min: 1, max: 19 }), { minLength: 1, maxLength: 3 })
  .chain((sizes) =>
    fc.record({
      starts: fc.tuple(...sizes.map(vector)),
      steps: fc.array(
        fc.record({
          learningRate: fc.constantFrom(1e-3, 1e-2, 0.1),
          gradients: fc.tuple(...sizes.map(vector)),
        }),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  );

test('the native step equals the same formula in tfjs ops', () =>
  fc.assert(
    fc.asyncProperty(runs, async ({ starts, steps }) => {
      const expected = await descend('cpu', starts, steps);
      const received = await descend('native', starts, steps);
      for (const [i, values] of expected.entries())
        for (const [at, wanted] of values.entries())
          assert.ok(Math.abs(received[i]![at]! - wanted) <= 2e-6 * (1 + Math.abs(wanted)));
    }),
    { numRuns: 50 },
  ));

test('a variable without a gradient keeps its value and moments', async () => {
  const start = Float32Array.of(1, -2);
  for (const backend of ['cpu', 'native'] as const) {
    const [moved, kept, , , m, v] = await descend(
      backend,
      [start, start],
      [{ learningRate: 0.1, gradients: [Float32Array.of(1, -1)] }],
    );
    assert.deepEqual(kept, start);
    assert.deepEqual([...m!, ...v!], [0, 0, 0, 0]);
    // The first step is the learning rate against the sign of the gradient.
    assert.ok(Math.abs(moved![0]! - 0.9) < 1e-6 && Math.abs(moved![1]! + 1.9) < 1e-6);
  }
});

test('it finds the bottom of a bowl, and its own tensors are gone afterwards', async () => {
  await useBackend();
  const start = tf.memory().numTensors;
  const x = tf.tidy(() => tf.variable(tf.tensor1d([3, -4, 5])));
  const adam = new Adam(new Map([['x', x]]));
  for (let step = 1; step <= 300; step++)
    tf.tidy(() => {
      adam.apply(new Map([['x', tf.mul(tf.sub(x, [1, 2, 3]), 2)]]), 0.1, step);
    });
  const found = [...x.dataSync()];
  for (const [i, wanted] of [1, 2, 3].entries()) assert.ok(Math.abs(found[i]! - wanted) < 0.01);
  adam.dispose();
  x.dispose();
  assert.equal(tf.memory().numTensors, start);
});

test('rows that a loss looks up move as in a dense step; the others do not change', async () => {
  for (const backend of ['cpu', 'native'] as const) {
    await useBackend(backend);
    const start = tf.memory().numTensors;
    const draw = (): Float32Array => Float32Array.from({ length: 15 }, (_, i) => Math.sin(i + 1));
    const make = (): tf.Variable => tf.tidy(() => tf.variable(tf.tensor2d(draw(), [5, 3])));
    const table = make();
    const whole = make();
    const lazy = new Adam(new Map([['table', table]]));
    const dense = new Adam(new Map([['table', whole]]));
    const rows = Int32Array.of(3, 0);
    const loss = (read: tf.Tensor): tf.Scalar => tf.sum(tf.square(tf.sub(read, 0.3)));
    for (let step = 1; step <= 3; step++) {
      const lazyLoss = await lazy.minimise(
        () => ({
          loss: (leaves) => loss(leaves.get('table')!),
          lookups: new Map([['table', rows]]),
        }),
        0.1,
        step,
      );
      const denseLoss = await dense.minimise(
        () => ({
          loss: () => loss(tf.gather(whole, tf.tensor1d(rows, 'int32'))),
          lookups: new Map(),
        }),
        0.1,
        step,
      );
      assert.ok(Math.abs(lazyLoss - denseLoss) < 1e-5);
    }
    const values = table.dataSync<'float32'>().slice();
    const expected = whole.dataSync<'float32'>().slice();
    for (const [i, value] of values.entries()) assert.ok(Math.abs(value - expected[i]!) < 1e-6);
    for (const row of [1, 2, 4]) {
      const kept = (all: Float32Array): Float32Array => all.slice(row * 3, row * 3 + 3);
      assert.deepEqual(kept(values), kept(draw()));
      for (const moment of Object.values(lazy.moments.get('table')!))
        assert.deepEqual([...kept(moment.dataSync<'float32'>().slice())], [0, 0, 0]);
    }
    lazy.dispose();
    dense.dispose();
    table.dispose();
    whole.dispose();
    assert.equal(tf.memory().numTensors, start);
  }
});

test('a loss that is not finite changes nothing; a row that occurs twice is refused', async () => {
  await useBackend();
  const table = tf.tidy(() => tf.variable(tf.ones([4, 2])));
  const adam = new Adam(new Map([['table', table]]));
  const loss = await adam.minimise(
    () => ({ loss: () => tf.sum(tf.div(table, 0)), lookups: new Map() }),
    0.1,
    1,
  );
  assert.equal(loss, Infinity);
  assert.ok(table.dataSync().every((value) => value === 1));
  await assert.rejects(
    adam.minimise(
      () => ({
        loss: (leaves) => tf.sum(leaves.get('table')!),
        lookups: new Map([['table', Int32Array.of(2, 2)]]),
      }),
      0.1,
      1,
    ),
    { name: 'RangeError', message: /at most once/ },
  );
  adam.dispose();
  table.dispose();
});
