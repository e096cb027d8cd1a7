// Waits for what another process, thread or event loop will do. A test that instead sleeps for a
// fixed time fails on a slow machine.

import { setTimeout as sleep } from 'node:timers/promises';

/** Only a hang takes longer. */
const HANG_MS = 60_000;

/**
 * Waits for a value that is neither undefined nor false.
 *
 * @param what - what is waited for, for the error.
 * @param limitMs - when the wait fails. The default detects a hang; tests of a time pass their own.
 */
export async function until<T>(
  what: string,
  read: () => T | undefined | false | Promise<T | undefined | false>,
  limitMs: number = HANG_MS,
): Promise<T> {
  const deadlineMs = performance.now() + limitMs;
  for (;;) {
    const value = await read();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadlineMs)
      throw new Error(`Expected ${what} within ${limitMs} ms, and it did not happen.`);
    await sleep(5);
  }
}
