// Builds the addon with CMake, as build/Release/tandem.node. CMake does nothing when nothing has
// changed. In an installed package this is the way to get an addon for a platform without one.
// Usage: node tools/build-native.mjs [TARGET]
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { lacks, requireTools } from './require-tools.mjs';

const root = join(import.meta.dirname, '..');
const build = join(root, 'build');
const target = process.argv[2] ?? 'tandem';

requireTools(['cmake', 'c++'], 'to build the native addon');

// CMake refuses another generator than that of the first run.
const isNew = !existsSync(join(build, 'CMakeCache.txt'));
const generator = isNew && !lacks('ninja') ? ['-G', 'Ninja'] : [];
run('-S', root, '-B', build, ...generator, '-DCMAKE_BUILD_TYPE=Release', '-DTANDEM_ADDON=ON');
run('--build', build, '--parallel', String(availableParallelism()), '--target', target);

/** Runs cmake; prints its output only when it fails. */
function run(...args) {
  const { status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8' });
  if (status === 0) return;
  process.stderr.write(stdout + stderr);
  console.error(`Expected "cmake ${args.join(' ')}" to build the native addon, but it failed.`);
  process.exit(1);
}
