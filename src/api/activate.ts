// The jobs of tandem activate and tandem rollback: which bundle of a directory is current. Running
// servers and candidate generators follow it.

import { join } from 'node:path';
import * as current from '../bundle/current.ts';
import { verifyBundle, type VerifyReport } from '../bundle/verify.ts';
import { TandemError } from '../errors.ts';

/**
 * Verifies a published bundle and makes it current.
 *
 * @param bundles - directory of bundles.
 * @param name - name of the bundle's directory in it.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND; ERR_BUNDLE_INVALID when its files are damaged or its
 *   golden requests have other answers. The current bundle then stays the same.
 */
export async function activateBundle(bundles: string, name: string): Promise<VerifyReport> {
  const report = await verifyBundle(join(bundles, name));
  if (!report.passed)
    throw new TandemError(
      'ERR_BUNDLE_INVALID',
      `Expected bundle ${name} to reproduce its golden requests, but it does not. ` +
        'The current bundle was not changed. Run "tandem verify" for the differences.',
    );
  current.activateBundle(bundles, name);
  return report;
}

/**
 * Makes the previously current bundle current again. Call it again to go further back.
 *
 * @param bundles - directory of bundles.
 * @returns name of the bundle that is current now.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND when there is none.
 */
export function rollbackBundle(bundles: string): string {
  return current.rollbackBundle(bundles);
}
