// Bundles of the same encoder take turns in `current` for as long as a load runs.

import { setTimeout as sleep } from 'node:timers/promises';
import { activateBundle } from '../../src/bundle/current.ts';

const POLL_MS = 20;
/** Between a swap and the next order of one: a server that only ever loads bundles measures their loading. */
const PAUSE_MS = 1000;

/**
 * Swaps until `during` settles.
 *
 * @param names - of two bundles in `bundles`.
 * @returns what `during` gave, and how many swaps the server made meanwhile.
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
  // It is awaited below.
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
