import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TurnScheduler } from './scheduler.ts';

test('callbacks run in order, one in each iteration of the event loop', async () => {
  /** Each asks for so many more when it is its turn. */
  const asks = fc.array(fc.nat(3), { minLength: 1, maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(asks, async (more) => {
      const turns = new TurnScheduler();
      const asked: number[] = [];
      const given: number[] = [];
      const iterations: number[] = [];
      let iteration = 0;
      const ask = (extra: number): void => {
        const number = asked.push(extra);
        turns.schedule(() => {
          given.push(number);
          iterations.push(iteration);
          for (let i = 0; i < extra; i++) ask(0);
        });
      };
      more.forEach(ask);
      const total = more.length + more.reduce((sum, extra) => sum + extra, 0);
      while (given.length < total) {
        await new Promise(setImmediate);
        iteration++;
      }
      assert.deepEqual(
        given,
        [...asked.keys()].map((i) => i + 1),
      );
      assert.deepEqual(iterations, [...asked.keys()]);
    }),
    { numRuns: 50 },
  );
});
