// Loads a bundle on a thread of its own, through every gate, into memory that all event loops share: at a million items
// checking takes seconds, in which they answer requests.

import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { ItemCatalogue, type CatalogueParts } from '../bundle/catalogue.ts';
import { bundleTensors, type Bundle } from '../bundle/load.ts';
import { TandemError, type ErrorCode } from '../errors.ts';
import { packageRoot } from '../native/binding.ts';

/** What the thread answers: a checked bundle in plain objects and arrays, or why there is none. */
export type LoaderAnswer =
  | { readonly bundle: BundleParts }
  | {
      readonly error: {
        readonly code: ErrorCode;
        readonly message: string;
        readonly details: Readonly<Record<string, unknown>>;
      };
    };

export type BundleParts = Omit<Bundle, 'catalogue' | 'tensors'> & {
  readonly catalogue: CatalogueParts;
};

/**
 * A bundle whose files, ids and formats are checked and whose golden requests were replayed on this machine.
 *
 * @param directory - of the bundle.
 * @throws TandemError what loadBundle throws; ERR_BUNDLE_INVALID when a golden is answered differently than training did.
 */
export async function loadBundleApart(directory: string): Promise<Bundle> {
  // What is built, like the addon, also where this file runs from its source: loaders of TypeScript do not reach threads.
  const file = join(packageRoot(), 'dist', 'serve', 'bundle-loader-thread.js');
  const answer = await new Promise<LoaderAnswer>((resolve, reject) => {
    const worker = new Worker(file, { workerData: directory, execArgv: [] });
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
          `Expected the loading thread to answer for ${directory}, but it ended with code ${code}. Check the memory of this machine; "tandem verify" loads the same bundle.`,
        ),
      );
    });
  });
  if ('error' in answer) {
    const { code, message, details } = answer.error;
    throw new TandemError(code, message, { details });
  }
  const { catalogue, ...rest } = answer.bundle;
  return {
    ...rest,
    catalogue: ItemCatalogue.of(catalogue),
    tensors: () => bundleTensors(rest.directory, rest.manifest),
  };
}
