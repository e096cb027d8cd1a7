// Opens the engine of a bundle on a thread of its own, with every check, in memory that all event
// loops share. The checks of a bundle of a million items take seconds. Meanwhile the event loops
// answer requests.

import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { TandemError, type ErrorCode } from '../../errors.ts';
import { packageRoot } from '../../package-root.ts';
import type { PlanMode } from '../../retrieval/planned-index.ts';
import { Engine, type SharedEngine } from './engine.ts';

export interface LoaderOrder {
  /** Directory of the bundle. */
  readonly directory: string;
  readonly plan: PlanMode;
  /** Whether the server answers requests meanwhile. Then the thread gets a lower priority. */
  readonly behindRequests: boolean;
}

/** The answer of the thread: a shared engine, or the error. */
export type LoaderAnswer =
  | { readonly engine: SharedEngine }
  | {
      readonly error: {
        readonly code: ErrorCode;
        readonly message: string;
        readonly details: Readonly<Record<string, unknown>>;
      };
    };

/**
 * Opens a bundle on a thread of its own. Its files, ids and formats are checked, its golden
 * requests are replayed on this machine, and its index is checked.
 *
 * @throws TandemError as loadBundle(); ERR_BUNDLE_INVALID when a golden request is answered
 *   differently than after training; ERR_INDEX_INVALID.
 */
export async function openEngineOnThread(order: LoaderOrder): Promise<Engine> {
  // The compiled file, also when this file runs from its source: loaders of TypeScript do not reach
  // threads.
  const file = join(packageRoot(), 'dist', 'serve', 'engine', 'bundle-loader-thread.js');
  const answer = await new Promise<LoaderAnswer>((resolve, reject) => {
    const worker = new Worker(file, { workerData: order, execArgv: [] });
    worker.once('message', resolve);
    worker.once('error', (cause) => {
      reject(
        new TandemError(
          'ERR_INTERNAL',
          `Expected the loading thread ${file} to run, but it failed: ${cause.message}. ` +
            'Run "npm run build".',
          { cause },
        ),
      );
    });
    worker.once('exit', (code) => {
      reject(
        new TandemError(
          'ERR_INTERNAL',
          `Expected the loading thread to answer for ${order.directory}, but it ended with code ` +
            `${code}. Check the memory of this machine; "tandem verify" loads the same bundle.`,
        ),
      );
    });
  });
  if ('engine' in answer) return Engine.attach(answer.engine);
  const { code, message, details } = answer.error;
  throw new TandemError(code, message, { details });
}
