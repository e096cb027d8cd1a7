import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Random } from './random.ts';

const key = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

function draws(count: number, ...keys: readonly number[]): number[] {
  const random = new Random(...keys);
  return Array.from({ length: count }, () => random.nextUint32());
}

describe('Random', () => {
  it('gives the same stream for the same keys and another for others', () => {
    fc.assert(
      fc.property(fc.array(key, { maxLength: 3 }), fc.nat(2), key, (keys, at, other) => {
        assert.deepEqual(draws(8, ...keys), draws(8, ...keys));
        if (at < keys.length && keys[at] !== other)
          assert.notDeepEqual(draws(8, ...keys.with(at, other)), draws(8, ...keys));
      }),
    );
  });

  it('tells the order and the number of keys apart', () => {
    const streams = [[1, 2], [2, 1], [1], [1, 0], [0, 1], [1, 2 ** 32], []];
    const firsts = streams.map((keys) => draws(4, ...keys).join());
    assert.equal(new Set(firsts).size, firsts.length);
  });

  // The bounds below are six standard errors wide. Seeds are fixed, so a failure means that the
  // generator got worse.
  it('is uniform over buckets, also the low bits, and across neighbouring keys', () => {
    const buckets = 16;
    const count = 64_000;
    const random = new Random(5);
    const sources: (() => number)[] = [
      () => random.integer(buckets),
      () => random.nextUint32() % buckets,
      (() => {
        let step = 0;
        return () => new Random(7, 1, step++).integer(buckets);
      })(),
    ];
    for (const draw of sources) {
      const seen = new Array<number>(buckets).fill(0);
      for (let i = 0; i < count; i++) seen[draw()]!++;
      const expected = count / buckets;
      const error = 6 * Math.sqrt(expected * (1 - 1 / buckets));
      for (const times of seen) assert.ok(Math.abs(times - expected) < error, `${times}`);
    }
  });

  it('draws normals of mean 0 and variance 1', () => {
    const random = new Random(3);
    const count = 40_000;
    const values = Array.from({ length: count }, () => random.normal());
    const mean = values.reduce((sum, value) => sum + value, 0) / count;
    const variance = values.reduce((sum, value) => sum + value * value, 0) / count;
    const tail = values.filter((value) => Math.abs(value) > 1.959964).length / count;
    assert.ok(Math.abs(mean) < 6 / Math.sqrt(count));
    assert.ok(Math.abs(variance - 1) < 6 * Math.sqrt(2 / count));
    assert.ok(Math.abs(tail - 0.05) < 6 * Math.sqrt((0.05 * 0.95) / count));
    assert.ok(values.every(Number.isFinite));
  });

  it('stays in range', () => {
    fc.assert(
      fc.property(key, fc.integer({ min: 1, max: 1_000_000 }), (seed, bound) => {
        const random = new Random(seed);
        for (let i = 0; i < 20; i++) {
          const drawn = random.integer(bound);
          assert.ok(Number.isInteger(drawn) && drawn >= 0 && drawn < bound);
          const uniform = random.uniform();
          assert.ok(uniform >= 0 && uniform < 1);
        }
      }),
    );
  });

  it('shuffles into every order equally often', () => {
    const seen = new Map<string, number>();
    const random = new Random(1);
    for (let i = 0; i < 12_000; i++) {
      const order = random.shuffle(['a', 'b', 'c']).join('');
      seen.set(order, (seen.get(order) ?? 0) + 1);
    }
    assert.equal(seen.size, 6);
    for (const times of seen.values()) assert.ok(Math.abs(times - 2000) < 6 * Math.sqrt(2000));
  });
});
