// Packages that an installation may lack: optional dependencies, which npm leaves out where they do not install.

import { createRequire } from 'node:module';
import { TandemError } from '../errors.ts';

const require = createRequire(import.meta.url);

/**
 * What an optional package exports.
 *
 * @param remedy - a sentence.
 * @throws TandemError ERR_BACKEND_UNAVAILABLE when it is not installed or does not load.
 */
export async function optionalPackage(name: string, remedy: string): Promise<unknown> {
  try {
    // By its path: an ES module has no other name that TypeScript would not want resolved.
    return await import(require.resolve(name));
  } catch (cause) {
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split('\n');
    throw new TandemError(
      'ERR_BACKEND_UNAVAILABLE',
      `Expected the optional package ${name} to load, but: ${reason!} ${remedy}`,
      { cause },
    );
  }
}
