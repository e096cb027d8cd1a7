// Searches run on libuv's pool, which Node sizes once, from the environment, before any of our code runs: whoever starts a server
// sets it, and a server that has too few says so.

import { availableParallelism } from 'node:os';
import { logger } from '../../telemetry.ts';

const VARIABLE = 'UV_THREADPOOL_SIZE';
/** libuv's, without the variable. */
const DEFAULT_THREADS = 4;
/** What loading a bundle and the recall canary take beside the searches of the event loops. */
const OTHER_THREADS = 2;

/** The environment of a server that may have as many event loops as there are CPUs; what is set stays. */
export function withSearchThreads(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const threads = Math.max(DEFAULT_THREADS, availableParallelism() + OTHER_THREADS);
  return { [VARIABLE]: String(threads), ...env };
}

/** Warns where event loops would wait for each other's searches. */
export function checkSearchThreads(eventLoops: number): void {
  const threads = Number(process.env[VARIABLE] ?? DEFAULT_THREADS);
  const wanted = eventLoops + OTHER_THREADS;
  if (threads >= wanted) return;
  logger.warn(
    { [VARIABLE]: threads, eventLoops },
    `Expected at least ${wanted} threads for the searches of ${eventLoops} event loops, received ${threads}: they will wait for each other. Set ${VARIABLE}=${wanted} in the server's environment.`,
  );
}
