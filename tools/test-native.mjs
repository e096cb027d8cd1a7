// Builds and runs the C++ tests of native/core and native/kernels with plain cmake: optimised, then with sanitizers.
// Usage: node tools/test-native.mjs [release | debug | asan-ubsan | tsan]
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const known = JSON.parse(readFileSync(join(root, 'CMakePresets.json'), 'utf8'))
  .configurePresets.filter((preset) => !preset.hidden)
  .map((preset) => preset.name);
const wanted = process.argv[2];
if (wanted !== undefined && !known.includes(wanted)) {
  console.error(`Expected one of ${known.join(', ')} as preset, received "${wanted}".`);
  process.exit(1);
}

const missing = ['cmake', 'ctest', 'c++'].filter((tool) => spawnSync(tool, ['--version']).error);
if (missing.length > 0) {
  console.error(
    `Expected cmake and a C++17 compiler for the native tests, missing: ${missing.join(', ')}. ` +
      'Install them, on Debian with "apt-get install cmake g++", on macOS with "brew install cmake" and "xcode-select --install".',
  );
  process.exit(1);
}

/** Runs one tool; prints what it said only when it failed or `loud`. */
function run(command, args, loud = false) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: loud ? 'inherit' : ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    // usearch reads through misaligned references by design; UBSan skips that file's alignment, see CMakeLists.txt.
    env: { ...process.env, UBSAN_OPTIONS: 'print_stacktrace=1', ASAN_OPTIONS: 'detect_leaks=1' },
  });
  if (result.error) throw result.error;
  if (result.status === 0) return;
  if (!loud) process.stderr.write(result.stdout + result.stderr);
  console.error(
    `Expected "${command} ${args.join(' ')}" to succeed, it ended with status ${result.status}.`,
  );
  process.exit(result.status ?? 1);
}

const jobs = String(availableParallelism());
for (const preset of wanted === undefined ? ['release', 'asan-ubsan'] : [wanted]) {
  const folder = join('build', `native-tests-${preset}`);
  console.log(`# native tests, preset ${preset}`);
  run('cmake', ['--preset', preset]);
  run('cmake', ['--build', folder, '--parallel', jobs]);
  run('ctest', ['--test-dir', folder, '--output-on-failure', '--no-tests=error'], true);
}
