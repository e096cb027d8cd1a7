// Swaps two bundles of one encoder for as long as a load runs.

import { setTimeout as sleep } from 'node:timers/promises';
import { activateBundle } from '../../src/bundle/current.ts';

const POLL_MS = 20;
/**
 * Pause after a swap. Without it the server would load bundles all the time, and that would be
 * measured.
 */
const PAUSE_MS = 1000;

/**
 * Swaps until `during` settles.
 *
 * @param names - names of two bundles in `bundles`.
 * @returns the result of `during`, and the number of swaps that the server made.
 */
export async function whileSwapping<T>(
  port: number,
  bundles: string,
  names: readonly string[],
  during: Promise<T>,
): Promise<{ readonly result: T; readonly swaps: number }> {
  let running = true;
  const isRunning = (): boolean => running;
  const ended = during.finally(() => {
    running = false;
  });
  // The promise is awaited below; this handler only keeps an early rejection from being unhandled.
  ended.catch(() => undefined);
  let swaps = 0;
  while (isRunning()) {
    const served = await servedBundle(port);
    activateBundle(
      bundles,
      names.find((name) => !served.startsWith(name))!,
    );
    while (isRunning() && (await servedBundle(port)) === served) await sleep(POLL_MS);
    if ((await servedBundle(port)) !== served) swaps++;
    await sleep(PAUSE_MS);
  }
  return { result: await ended, swaps };
}

async function servedBundle(port: number): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/version`);
  const { bundle_id: id } = (await response.json()) as { bundle_id: string };
  return id;
}
