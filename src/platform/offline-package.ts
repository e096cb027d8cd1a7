// The package tandem-offline: DuckDB, tfjs and Vega, which import, training, evaluation and charts
// need. A server runs without it.

import { TandemError } from '../errors.ts';
import { packageVersion } from './version.ts';

const NAME = 'tandem-offline';

/**
 * Loads code that imports tandem-offline.
 *
 * @param user - what needs the package, for the message, e.g. `tandem train`.
 * @throws TandemError ERR_PACKAGE_MISSING when the package is not installed.
 */
export async function loadOffline<T>(user: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
    throw new TandemError(
      'ERR_PACKAGE_MISSING',
      `${user} needs the package ${NAME}. Install it: npm install ${NAME}@${packageVersion()}`,
      { cause, details: { package: NAME } },
    );
  }
}

function isMissing(error: unknown): boolean {
  return (
    error instanceof Error &&
    (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' &&
    error.message.startsWith(`Cannot find package '${NAME}'`)
  );
}
