// The folder with the headers of a package of npm that the native build includes. In the published
// package these are copies, because its dependencies are only what a server loads.
// Usage: node tools/native-headers.mjs PACKAGE
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(import.meta.url);
const root = join(import.meta.dirname, '..');

/** By the name of a package: the folder of its headers, below the package. */
export const HEADERS = {
  'node-addon-api': '',
  'node-api-headers': 'include',
  usearch: 'include',
};

/** @throws Error when the package is not installed. */
export function headersOf(name) {
  const copy = join(root, 'native', 'third_party', name);
  return existsSync(copy) ? copy : join(packageFolder(name), HEADERS[name]);
}

/** The folder of an installed package, also of one that does not export its package.json. */
export function packageFolder(name) {
  const folders = require.resolve.paths(name).map((folder) => join(folder, name));
  const found = folders.find((folder) => existsSync(join(folder, 'package.json')));
  if (found !== undefined) return found;
  throw new Error(`Expected the package ${name} in one of ${folders.join(', ')}, found none.`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  console.log(headersOf(process.argv[2]));
