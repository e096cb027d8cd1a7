// Builds the addon with cmake-js into build/Release; cmake itself does nothing when nothing changed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const { BuildSystem } = require('cmake-js');
const root = join(import.meta.dirname, '..');

const missing = ['cmake', 'c++'].filter((tool) => spawnSync(tool, ['--version']).error);
if (missing.length > 0 && process.platform !== 'win32') {
  console.error(
    `Expected cmake and a C++17 compiler to build the native addon, missing: ${missing.join(', ')}. ` +
      'Install them, on Debian with "apt-get install cmake g++", on macOS with "brew install cmake" and "xcode-select --install".',
  );
  process.exit(1);
}

const build = new BuildSystem({
  directory: root,
  out: join(root, 'build'),
  config: 'Release',
  log: 'warn',
});
// The addon is Node-API only: cmake-js then takes the headers of its own node-api-headers instead of downloading Node's.
// It reads this from "binary.napi_versions" of package.json, which means prebuilt binaries elsewhere.
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
