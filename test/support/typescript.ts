// How tests start a process that runs TypeScript.

import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.ts';

/** Node's arguments. */
export const TYPESCRIPT: readonly string[] = [
  '--import',
  join(packageRoot(), 'tools', 'typescript.mjs'),
];
