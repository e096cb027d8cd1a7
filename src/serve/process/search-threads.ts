// Searches run on libuv's thread pool. Node sizes it once, from the environment, before any of our
// code runs. So the process that starts a server sets the size, and a server with too few threads
// logs a warning.

import { usableCpus } from '../../platform/cpus.ts';
import { logger } from '../../telemetry.ts';

const VARIABLE = 'UV_THREADPOOL_SIZE';
/** Size of libuv's pool without the variable. */
const DEFAULT_THREADS = 4;
/**
 * Threads for loading a bundle and for the recall canary, in addition to the searches of the event
 * loops.
 */
const OTHER_THREADS = 2;

/**
 * The environment of a server with enough threads for one event loop on each CPU. A variable that
 * is set stays.
 */
export function withSearchThreads(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const threads = Math.max(DEFAULT_THREADS, usableCpus() + OTHER_THREADS);
  return { [VARIABLE]: String(threads), ...env };
}

/**
 * Warns if the pool has too few threads, so that event loops would wait for each other's searches.
 */
export function checkSearchThreads(eventLoops: number): void {
  const threads = Number(process.env[VARIABLE] ?? DEFAULT_THREADS);
  const wanted = eventLoops + OTHER_THREADS;
  if (threads >= wanted) return;
  logger.warn(
    { [VARIABLE]: threads, eventLoops },
    `Expected at least ${wanted} threads for the searches of ${eventLoops} event loops, received ` +
      `${threads}: they will wait for each other. ` +
      `Set ${VARIABLE}=${wanted} in the server's environment.`,
  );
}
