import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { derangement } from './context-swap.ts';

it('a derangement is a permutation without fixed points, the same for the same seed', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 200 }), fc.integer(), (count, seed) => {
      const order = derangement(count, seed);
      assert.deepEqual(
        [...order].sort((a, b) => a - b),
        [...order.keys()],
      );
      assert.ok(order.every((other, i) => other !== i));
      assert.deepEqual(derangement(count, seed), order);
    }),
  );
});
