// Where the package is installed. Files that are not compiled, such as the addon and models/, are
// found from here.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The folder of package.json. Both src/ and dist/, where this file runs, are one level below it.
 */
export function packageRoot(): string {
  return join(dirname(fileURLToPath(import.meta.url)), '..');
}
