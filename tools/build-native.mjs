// Builds the addon with cmake-js into build/Release. cmake does nothing when nothing has changed.
import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { requireTools } from './require-tools.mjs';

const require = createRequire(import.meta.url);
const { BuildSystem } = require('cmake-js');
const root = join(import.meta.dirname, '..');

if (process.platform !== 'win32') requireTools(['cmake', 'c++'], 'to build the native addon');

const build = new BuildSystem({
  directory: root,
  out: join(root, 'build'),
  config: 'Release',
  log: 'warn',
});
// The addon only uses Node-API, so cmake-js takes the headers of node-api-headers instead of
// downloading Node's. cmake-js would read this from "binary.napi_versions" of package.json, but
// other tools take that entry as a sign of prebuilt binaries.
build.options.isNodeApi = true;
mkdirSync(join(root, 'build'), { recursive: true });
try {
  await build.build();
} catch (error) {
  console.error(`Building the native addon failed: ${error.message}`);
  process.exit(1);
}
const target = join(root, 'build', 'Release', 'tandem.node');
if (!existsSync(target)) {
  console.error(
    `Expected the build to write ${target}, but it is not there. Remove build/ and try again.`,
  );
  process.exit(1);
}
