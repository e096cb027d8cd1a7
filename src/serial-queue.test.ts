import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SerialQueue } from './serial-queue.ts';

test('tasks run one after the other in order, also after one that fails', async () => {
  const queue = new SerialQueue();
  const steps: string[] = [];
  const task = (name: string, waitMs: number) => async (): Promise<string> => {
    steps.push(`start ${name}`);
    await sleep(waitMs);
    steps.push(`end ${name}`);
    if (name === 'b') throw new Error('b failed');
    return name;
  };
  const first = queue.run(task('a', 10));
  const failed = assert.rejects(queue.run(task('b', 5)), /b failed/);
  const last = queue.run(task('c', 0));
  await queue.idle();
  assert.deepEqual(steps, ['start a', 'end a', 'start b', 'end b', 'start c', 'end c']);
  assert.equal(await first, 'a');
  await failed;
  assert.equal(await last, 'c');
});

test('idle() does not wait for tasks that are added later', async () => {
  const queue = new SerialQueue();
  const idle = queue.idle();
  let release!: () => void;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const blocked = queue.run(() => released);
  await idle;
  release();
  await blocked;
});
