// Loads packages that only some backends need. They are optional beside tandem-offline.

import { createRequire } from 'node:module';
import { TandemError } from '../errors.ts';

/**
 * The exports of an optional package.
 *
 * @param remedy - a sentence for the error message.
 * @throws TandemError ERR_BACKEND_UNAVAILABLE when it is not installed or does not load.
 */
export async function optionalPackage(name: string, remedy: string): Promise<unknown> {
  try {
    const here = createRequire(import.meta.url);
    const offline = createRequire(here.resolve('tandem-offline/package.json'));
    // The import is by path, because TypeScript would try to resolve the name of the package.
    return await import(offline.resolve(name));
  } catch (cause) {
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split('\n');
    throw new TandemError(
      'ERR_BACKEND_UNAVAILABLE',
      `Expected the optional package ${name} to load, but: ${reason!} ${remedy}`,
      { cause },
    );
  }
}
