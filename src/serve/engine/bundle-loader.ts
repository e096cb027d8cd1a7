// Makes the engine of a bundle on a thread of its own, through every gate, in memory that all event
// loops share: at a million items checking takes seconds, in which they answer requests.

import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { TandemError, type ErrorCode } from '../../errors.ts';
import { packageRoot } from '../../package-root.ts';
import type { PlanMode } from '../../retrieval/plan.ts';
import { Engine, type SharedEngine } from './engine.ts';

export interface LoaderOrder {
  /** Of the bundle. */
  readonly directory: string;
  readonly plan: PlanMode;
  /** Whether requests are answered meanwhile: where cores are busy, they come first. */
  readonly behindRequests: boolean;
}

/** What the thread answers: an engine to attach to, or why there is none. */
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
 * The engine of a bundle whose files, ids and formats are checked, whose golden requests were
 * replayed on this machine and whose index passed its own gate.
 *
 * @throws TandemError what loadBundle throws; ERR_BUNDLE_INVALID when a golden is answered
 *   differently than training did; ERR_INDEX_INVALID.
 */
export async function openEngineOnThread(order: LoaderOrder): Promise<Engine> {
  // What is built, like the addon, also where this file runs from its source: loaders of TypeScript
  // do not reach threads.
  const file = join(packageRoot(), 'dist', 'serve', 'engine', 'bundle-loader-thread.js');
  const answer = await new Promise<LoaderAnswer>((resolve, reject) => {
    const worker = new Worker(file, { workerData: order, execArgv: [] });
    worker.once('message', resolve);
    worker.once('error', (cause) => {
      reject(
        new TandemError(
          'ERR_INTERNAL',
          `Expected the loading thread ${file} to run, but: ${cause.message}. Run "npm run build".`,
          { cause },
        ),
      );
    });
    worker.once('exit', (code) => {
      reject(
        new TandemError(
          'ERR_INTERNAL',
          `Expected the loading thread to answer for ${order.directory}, but it ended with code ${code}. Check the memory of this machine; "tandem verify" loads the same bundle.`,
        ),
      );
    });
  });
  if ('engine' in answer) return Engine.attach(answer.engine);
  const { code, message, details } = answer.error;
  throw new TandemError(code, message, { details });
}
