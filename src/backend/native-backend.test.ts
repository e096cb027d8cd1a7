// The buffer pool must be invisible: values that were read do not change, and a view outlives its
// source.

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { BufferPool } from './buffer-pool.ts';
import { NATIVE_BACKEND, NativeBackend } from './native-backend.ts';
import { useBackend } from './select.ts';
import { tf } from './tf.ts';

before(() => useBackend());

/** Long enough for the pool. */
const ROWS = 64;
const COLUMNS = 32;

function pooled(value: number): tf.Tensor2D {
  return tf.tidy(() => tf.add(tf.zeros<tf.Rank.R2>([ROWS, COLUMNS]), value));
}

/**
 * The memory behind a tensor's values. Reading a tensor does not show it: that copies pooled
 * values.
 */
function bufferOf(tensor: tf.Tensor): ArrayBufferLike {
  const backend = tf.backend();
  assert.ok(backend instanceof NativeBackend);
  return backend.floats(tensor).buffer;
}

/** Takes every free buffer of the size in use and writes over it. */
function overwriteFreeBuffers(): void {
  const taken = Array.from({ length: 8 }, () => pooled(-1));
  for (const tensor of taken) tensor.dispose();
}

describe('BufferPool', () => {
  it('hands a buffer to one owner at a time', () => {
    const request = fc.record({
      give: fc.boolean(),
      at: fc.nat(20),
      length: fc.constantFrom(1, 1023, 1024, 2048),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 60 }), (requests) => {
        const pool = new BufferPool();
        const held: Float32Array[] = [];
        for (const { give, at, length } of requests) {
          if (give && held.length > 0) pool.give(held.splice(at % held.length, 1)[0]);
          else {
            const taken = pool.take(length);
            assert.equal(taken.length, length);
            assert.ok(held.every(({ buffer }) => buffer !== taken.buffer));
            held.push(taken);
          }
        }
      }),
    );
  });

  it('takes back its own buffers only, and knows their views', () => {
    const pool = new BufferPool();
    const own = pool.take(2048);
    assert.ok(pool.owns(own) && pool.owns(own.subarray(3, 9)));
    const foreign = new Float32Array(2048);
    assert.ok(!pool.owns(foreign) && !pool.owns([1]) && !pool.owns(undefined));
    pool.give(foreign);
    assert.notEqual(pool.take(2048).buffer, foreign.buffer);
    pool.give(own);
    assert.equal(pool.take(2048).buffer, own.buffer);
  });

  it('gives a buffer to requests of nearly its size, and none far larger than asked for', () => {
    const lengths = fc.integer({ min: 1024, max: 1 << 22 });
    fc.assert(
      fc.property(lengths, (length) => {
        const pool = new BufferPool();
        const taken = pool.take(length);
        assert.equal(taken.length, length);
        assert.ok(taken.buffer.byteLength <= 4 * length * 1.125);
        pool.give(taken);
        assert.equal(pool.take(length).buffer, taken.buffer);
      }),
      { numRuns: 20 },
    );
    const pool = new BufferPool();
    const { buffer } = pool.take(10_000);
    pool.give(new Float32Array(buffer));
    assert.equal(pool.take(9_900).buffer, buffer);
  });
});

describe('native backend', () => {
  it('is the current one and reuses buffers', () => {
    assert.equal(tf.getBackend(), NATIVE_BACKEND);
    const buffers = new Set<ArrayBufferLike>();
    for (let i = 0; i < 100; i++) {
      const sum = tf.tidy(() => tf.add(tf.add(pooled(1), 1), 1));
      buffers.add(bufferOf(sum));
      sum.dispose();
    }
    // A step holds at most two buffers of the pool at a time.
    assert.ok(buffers.size <= 2, `${buffers.size} buffers in 100 steps`);
  });

  it('keeps what was read when its tensor is gone and its buffer in use again', async () => {
    const tensor = pooled(3);
    const now = tensor.dataSync();
    const later = await tensor.data();
    const buffered = tensor.bufferSync();
    const array = tensor.arraySync();
    tensor.dispose();
    overwriteFreeBuffers();
    for (const values of [now, later, buffered.values])
      assert.ok(values.every((value) => value === 3));
    assert.ok(array.flat().every((value) => value === 3));
  });

  it('keeps views and shared tensors when their source is gone', () => {
    const views: ((x: tf.Tensor2D) => tf.Tensor)[] = [
      (x) => tf.slice(x, [1, 0], [60, COLUMNS]),
      (x) => tf.slice(x, [0, 0], [ROWS, COLUMNS]),
      (x) => tf.unstack(x, 0)[5]!,
      (x) => tf.split(x, 2, 0)[1]!,
      (x) => tf.reshape(x, [-1]),
      (x) => tf.reshape(x, [ROWS / 2, 2, COLUMNS]).slice([1]),
      (x) => tf.expandDims(x, 0),
      (x) => tf.clone(x),
      (x) => tf.cast(x, 'float32'),
      (x) => tf.transpose(x),
      (x) => tf.reverse(x, 0),
      (x) => tf.tile(x, [1, 1]),
      (x) => tf.gather(x, tf.tensor1d([3, 1], 'int32')),
      (x) => tf.concat([x], 0),
      (x) =>
        tf.pad(x, [
          [0, 0],
          [0, 0],
        ]),
      (x) => tf.stack([x]).squeeze([0]),
      (x) => tf.variable(x),
      (x) => tf.broadcastTo(x, [ROWS, COLUMNS]),
    ];
    for (const [i, view] of views.entries()) {
      const source = pooled(i + 2);
      const seen = tf.tidy(() => tf.keep(view(source)));
      source.dispose();
      overwriteFreeBuffers();
      assert.ok(
        seen.dataSync().every((value) => value === i + 2),
        `view ${i} changed: ${view.toString()}`,
      );
      seen.dispose();
    }
  });

  it('leaves arrays that a caller gave to the caller', () => {
    const mine = new Float32Array(ROWS * COLUMNS).fill(5);
    const tensor = tf.tensor2d(mine, [ROWS, COLUMNS]);
    tf.tidy(() => tf.relu(tf.add(tensor, 1)));
    tensor.dispose();
    overwriteFreeBuffers();
    assert.ok(mine.every((value) => value === 5));
  });

  it('moves tensors between backends by value', async () => {
    const tensor = pooled(7);
    await useBackend('cpu');
    const doubled = tf.tidy(() => tf.add(tensor, tensor));
    await useBackend();
    assert.ok(
      tf
        .tidy(() => tf.sub(doubled, tensor))
        .dataSync()
        .every((value) => value === 7),
    );
    tensor.dispose();
    doubled.dispose();
  });

  it('gives everything of a tidy back', () => {
    const start = tf.memory().numTensors;
    for (let i = 0; i < 5; i++)
      tf.tidy(() => {
        tf.grad((x: tf.Tensor) => tf.sum(tf.softmax(tf.matMul(x, pooled(i), false, true))))(
          pooled(1),
        );
      });
    assert.equal(tf.memory().numTensors, start);
  });
});
