import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TokenBucket } from './token-bucket.ts';

test('all loops together admit no more than rate, burst and one large batch allow', () => {
  const call = fc.record({
    loop: fc.nat(2),
    cost: fc.integer({ min: 1, max: 300 }),
    laterMs: fc.integer({ min: 0, max: 2000 }),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 1, max: 200 }),
      fc.array(call, { maxLength: 200 }),
      (rate, burst, calls) => {
        const first = new TokenBucket(rate, burst);
        const others = [1, 2].map(() => new TokenBucket(rate, burst, first.memory));
        let nowMs = 0;
        let passed = 0;
        for (const { cost, laterMs, loop } of calls) {
          const bucket = [first, ...others][loop]!;
          nowMs += laterMs;
          if (bucket.waitSeconds(cost, nowMs) > 0) continue;
          bucket.spend(cost, nowMs);
          passed += cost;
          const excess = Math.max(0, cost - burst);
          assert.ok(passed <= burst + (rate * nowMs) / 1000 + excess + 1e-6);
        }
      },
    ),
  );
});

test('a client that waits as long as it was told is admitted, and not much sooner', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 20 }),
      (rate, burst, costs) => {
        const bucket = new TokenBucket(rate, burst);
        let nowMs = 0;
        for (const cost of costs) {
          const waitMs = bucket.waitSeconds(cost, nowMs) * 1000;
          if (waitMs > 2) assert.ok(bucket.waitSeconds(cost, nowMs + waitMs - 1) > 0);
          nowMs += waitMs + 1e-3;
          assert.equal(bucket.waitSeconds(cost, nowMs), 0);
          bucket.spend(cost, nowMs);
        }
      },
    ),
  );
});

test('a batch over the burst needs a full bucket and leaves a debt', () => {
  const bucket = new TokenBucket(10, 5);
  assert.equal(bucket.waitSeconds(100, 0), 0);
  bucket.spend(100, 0);
  assert.equal(bucket.waitSeconds(1, 0), 9.6);
  assert.equal(bucket.waitSeconds(1, 9600), 0);
});
