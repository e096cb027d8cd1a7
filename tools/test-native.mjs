// Builds and runs the C++ tests of native/core and native/kernels: in the addon's own build, then
// with sanitizers, then for instruction sets of other machines if the tools for that are installed.
// Usage: node tools/test-native.mjs [addon | PRESET [TEST ...]]
// PRESET is one of CMakePresets.json; "addon" is the build of the addon. TEST is a name that ctest
// lists; without any, all tests run.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { lacks, requireTools } from './require-tools.mjs';

const root = join(import.meta.dirname, '..');
const ADDON = 'addon';
const known = [
  ADDON,
  ...JSON.parse(readFileSync(join(root, 'CMakePresets.json'), 'utf8'))
    .configurePresets.filter((preset) => !preset.hidden)
    .map((preset) => preset.name),
];
const [wanted, ...only] = process.argv.slice(2);
if (wanted !== undefined && !known.includes(wanted)) {
  console.error(`Expected one of ${known.join(', ')} as preset, received "${wanted}".`);
  process.exit(1);
}

requireTools(['cmake', 'ctest', 'c++'], 'for the native tests');

/** Runs one tool. Prints its output only when it fails or when `loud`. */
function run(command, args, loud = false) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: loud ? 'inherit' : ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    // usearch reads through misaligned references by design, so UBSan does not check the alignment
    // in that file: see CMakeLists.txt.
    env: {
      ...process.env,
      UBSAN_OPTIONS: 'print_stacktrace=1',
      ASAN_OPTIONS: 'detect_leaks=1',
      TSAN_OPTIONS: 'halt_on_error=1',
    },
  });
  if (result.error) throw result.error;
  if (result.status === 0) return;
  if (!loud) process.stderr.write(result.stdout + result.stderr);
  console.error(
    `Expected "${command} ${args.join(' ')}" to succeed, it ended with status ${result.status}.`,
  );
  process.exit(result.status ?? 1);
}

/** Whether the compiler finds a header. */
function hasHeader(name) {
  const input = `#if !__has_include(<${name}>)\n#error\n#endif\n`;
  return spawnSync('c++', ['-E', '-x', 'c++', '-'], { input }).status === 0;
}

/** Whether this CPU itself runs every x86 kernel in the builds of the addon and the sanitizers. */
function hasEveryIsa() {
  if (process.platform !== 'linux') return false;
  const flags = new Set(
    /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].split(' '),
  );
  return ['avx2', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8'].every((name) =>
    flags.has(name),
  );
}

/** Presets for instruction sets of other machines, and the Debian packages they lack here. */
const foreign =
  process.arch !== 'x64'
    ? {}
    : {
        ...(!hasEveryIsa() && {
          emulated: hasHeader('simde/x86/avx512.h') ? [] : ['libsimde-dev'],
        }),
        neon: [
          ...(lacks('aarch64-linux-gnu-g++') ? ['g++-aarch64-linux-gnu'] : []),
          ...(lacks('qemu-aarch64') ? ['qemu-user'] : []),
        ],
      };

const jobs = String(availableParallelism());
// The emulated build runs the same tests under the same sanitizers, on more instruction sets.
const sanitized = foreign.emulated?.length === 0 ? [] : ['asan-ubsan'];
const presets = wanted === undefined ? [ADDON, ...sanitized, ...Object.keys(foreign)] : [wanted];
for (const preset of presets) {
  const absent = foreign[preset] ?? [];
  if (absent.length > 0) {
    console.log(`# native tests, preset ${preset}: not run, ${absent.join(' and ')} missing`);
    if (wanted !== undefined) process.exit(1);
    continue;
  }
  const folder = preset === ADDON ? 'build' : join('build', `native-tests-${preset}`);
  console.log(`# native tests, preset ${preset}`);
  if (preset === ADDON) run(process.execPath, [join('tools', 'build-native.mjs')]);
  else run('cmake', ['--preset', preset]);
  const targets = only.length === 0 ? ['native_tests'] : only.map((name) => `${name}_test`);
  run('cmake', ['--build', folder, '--parallel', jobs, '--target', ...targets]);
  run(
    'ctest',
    [
      ...['--test-dir', folder, '--parallel', jobs, '--output-on-failure', '--no-tests=error'],
      ...(only.length === 0 ? [] : ['--tests-regex', `^(${only.join('|')})$`]),
    ],
    true,
  );
}
