import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { TandemError } from '../../errors.ts';
import { ThreadCalls, type Answers } from './thread-calls.ts';

interface Remote extends Answers {
  readonly double: (value: number) => Promise<number>;
  readonly fail: (message: string) => never;
  readonly refuse: (field: string) => Promise<never>;
}

test('calls run in order, both ways, and return values and errors until the end', async () => {
  const { port1, port2 } = new MessageChannel();
  const seen: number[] = [];
  const left = new ThreadCalls<Remote>(port1, { double: (value: number) => value * 2 });
  const right: ThreadCalls<Remote> = new ThreadCalls<Remote>(port2, {
    double: async (value: number): Promise<number> => {
      seen.push(value);
      // Later calls overtake earlier ones in their answers.
      await new Promise((resolve) => setTimeout(resolve, 10 - value));
      return (await right.call('double', value)) * 2;
    },
    fail: (message: string) => {
      throw new RangeError(message);
    },
    refuse: (field: string) => {
      throw new TandemError('ERR_ITEMS_FULL', 'as refused', { details: { field } });
    },
  });
  const values = [1, 2, 3, 4, 5];
  const doubled = await Promise.all(values.map((value) => left.call('double', value)));
  assert.deepEqual(doubled, [4, 8, 12, 16, 20]);
  assert.deepEqual(seen, values);
  await assert.rejects(left.call('fail', 'as told'), { name: 'RangeError', message: 'as told' });
  await assert.rejects(left.call('refuse', 'items'), (error) => {
    assert.ok(error instanceof TandemError);
    assert.equal(error.code, 'ERR_ITEMS_FULL');
    assert.equal(error.message, 'as refused');
    assert.deepEqual(error.details, { field: 'items' });
    return true;
  });

  const waiting = left.call('double', 6);
  left.abandon(new Error('ended'));
  await assert.rejects(waiting, /ended/);
  await assert.rejects(left.call('double', 7), /ended/);
  port1.close();
});
