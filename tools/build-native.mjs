// Builds the addon with CMake, as build/Release/tandem.node. CMake does nothing when nothing has
// changed. A checkout builds through cmake-js, which knows the generators and tools of each
// platform. An installed package has no cmake-js and calls CMake itself: there this is the way to
// get an addon for a platform without a prebuilt one. Both configure the same CMakeLists.txt.
// Usage: node tools/build-native.mjs [TARGET]
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { lacks, requireTools } from './require-tools.mjs';

const root = join(import.meta.dirname, '..');
const build = join(root, 'build');
const target = process.argv[2] ?? 'tandem';
const parallel = String(availableParallelism());

requireTools(['cmake', 'c++'], 'to build the native addon');

const CmakeJs = loadCmakeJs();
if (CmakeJs === undefined) {
  // CMake refuses another generator than that of the first run.
  const isNew = !existsSync(join(build, 'CMakeCache.txt'));
  const generator = isNew && !lacks('ninja') ? ['-G', 'Ninja'] : [];
  run('-S', root, '-B', build, ...generator, '-DCMAKE_BUILD_TYPE=Release', '-DTANDEM_ADDON=ON');
  run('--build', build, '--parallel', parallel, '--target', target);
} else {
  const system = new CmakeJs.BuildSystem({
    directory: root,
    out: build,
    config: 'Release',
    log: 'warn',
    cMakeOptions: { TANDEM_ADDON: 'ON' },
    target,
    parallel,
  });
  // The addon uses only Node-API, so no headers of Node are downloaded. cmake-js would read this
  // from "binary.napi_versions" of package.json, but other tools take that entry as a sign of
  // prebuilt binaries.
  system.options.isNodeApi = true;
  await system.build().catch((error) => fail(error.message));
}

/** cmake-js where it is installed. */
function loadCmakeJs() {
  const require = createRequire(import.meta.url);
  try {
    return require('cmake-js');
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

/** Runs cmake; prints its output only when it fails. */
function run(...args) {
  const { status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8' });
  if (status === 0) return;
  process.stderr.write(stdout + stderr);
  fail(`"cmake ${args.join(' ')}" failed`);
}

function fail(reason) {
  console.error(`Expected CMake to build the native addon, but ${reason}.`);
  process.exit(1);
}
