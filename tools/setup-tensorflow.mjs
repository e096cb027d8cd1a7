// npm run setup:tensorflow [-- --gpu] [-- --wheel FILE]: sets up the backend "tensorflow". It
// decides which files of a Python wheel of TensorFlow are needed, and builds
// @tensorflow/tfjs-node-gpu against its libraries. wheel.mjs reads the wheel.
//
// A second run continues the first: the wheel and its unpacked files stay in build/tensorflow and
// are checked by their digests.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { headersOf } from './native-headers.mjs';
import { Wheel, WheelError } from './wheel.mjs';

const require = createRequire(import.meta.url);
const root = join(import.meta.dirname, '..');
/** The version that this setup was tested with; --wheel takes others. */
const TENSORFLOW = '2.21';
const LIBRARIES = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'];
/** The headers of the C API and those that it includes; the wheel has 13,000 headers. */
const HEADERS =
  /^tensorflow\/include\/(tensorflow\/c|tensorflow\/core\/platform|xla\/tsl|tsl)\/.*\.(h|inc)$/;

class SetupError extends Error {}

async function main() {
  const { gpu, wheel: given } = readFlags();
  const packageFolder = requirePlatform();
  const cache = join(root, 'build', 'tensorflow');
  mkdirSync(cache, { recursive: true });
  const path =
    given === undefined
      ? downloadWheel(gpu ? 'tensorflow' : 'tensorflow-cpu', cache)
      : resolve(given);
  if (!existsSync(path)) throw new SetupError(`Expected a wheel at ${path}, found none.`);
  say(`wheel: ${path}`);
  const unpacked = await unpack(path, cache);
  linkLibraries(unpacked, packageFolder);
  compile(unpacked, packageFolder);
  verify(packageFolder);
}

function readFlags() {
  try {
    return parseArgs({
      options: { gpu: { type: 'boolean', default: false }, wheel: { type: 'string' } },
    }).values;
  } catch (error) {
    throw new SetupError(`Expected --gpu or --wheel <file>, but: ${error.message}`);
  }
}

/** @returns the folder of the package to build. */
function requirePlatform() {
  const [major] = process.versions.node.split('.').map(Number);
  if (process.platform !== 'linux')
    throw new SetupError(
      `Expected Linux, received ${process.platform}. ` +
        'Use the webgpu backend instead, which needs no setup: --backend webgpu.',
    );
  if (major >= 23)
    throw new SetupError(
      `Expected Node 20 or 22, received ${process.version}: ` +
        'tfjs-node uses functions that Node 23 removed.',
    );
  if (spawnSync('c++', ['--version']).error)
    throw new SetupError(
      'Expected a C++17 compiler (c++), found none. On Debian: "apt-get install g++".',
    );
  try {
    const offline = createRequire(require.resolve('tandem-offline/package.json'));
    return dirname(offline.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  } catch {
    throw new SetupError(
      'Expected the packages tandem-offline and @tensorflow/tfjs-node-gpu, found none. ' +
        'Install them: npm install tandem-offline @tensorflow/tfjs-node-gpu@4.22.0',
    );
  }
}

/**
 * Downloads the wheel of our TensorFlow version from the package index that the user's pip is
 * configured for.
 */
function downloadWheel(name, folder) {
  const wheels = () =>
    readdirSync(folder).filter(
      (file) => file.startsWith(`${name.replace('-', '_')}-`) && file.endsWith('.whl'),
    );
  const [there] = wheels().sort().reverse();
  if (there !== undefined) return join(folder, there);
  say(`pip download ${name}==${TENSORFLOW}.* (some hundred MB)`);
  const partial = join(folder, 'download');
  const pip = [
    '-m',
    'pip',
    'download',
    '--no-deps',
    '--only-binary=:all:',
    '--dest',
    partial,
    `${name}==${TENSORFLOW}.*`,
  ];
  const { status, error } = spawnSync('python3', pip, { stdio: 'inherit' });
  if (error !== undefined || status !== 0) {
    const reason = error ? error.message : `it ended with ${status}`;
    throw new SetupError(
      `Expected "python3 ${pip.join(' ')}" to succeed, but ${reason}. ` +
        `Download a wheel of ${name} for this platform, of any Python version, ` +
        'and pass it as --wheel <file>.',
    );
  }
  for (const file of readdirSync(partial)) renameSync(join(partial, file), join(folder, file));
  rmSync(partial, { recursive: true });
  return join(folder, wheels()[0]);
}

/** Extracts libraries and headers of the wheel into a folder with the wheel's name. */
async function unpack(path, cache) {
  const [, name, version] =
    /^(tensorflow(?:_cpu)?)-(\d+\.\d+\.[^-]+)-.*\.whl$/.exec(basename(path)) ?? [];
  if (version === undefined)
    throw new SetupError(
      'Expected a wheel of tensorflow or tensorflow-cpu ' +
        `(tensorflow_cpu-${TENSORFLOW}.0-...whl), received ${basename(path)}.`,
    );
  if (!version.startsWith(`${TENSORFLOW}.`))
    say(`TensorFlow ${version}: this setup was tested with ${TENSORFLOW}`);
  const wheel = await Wheel.open(path);
  const names = wheel.names();
  const missing = LIBRARIES.filter((library) => !names.includes(`tensorflow/${library}`));
  if (missing.length > 0)
    throw new SetupError(
      `Expected ${missing.join(' and ')} in ${path}, found none. ` +
        `Choose a manylinux wheel for ${process.arch}.`,
    );
  const folder = join(cache, `${name}-${version}`);
  const wanted = [
    ...LIBRARIES.map((library) => [`tensorflow/${library}`, join(folder, 'lib', library)]),
    ...names
      .filter((file) => HEADERS.test(file))
      .map((file) => [file, join(folder, file.slice('tensorflow/'.length))]),
  ];
  let written = 0;
  for (const [file, target] of wanted) if (await wheel.extract(file, target)) written++;
  say(
    `${name} ${version}: ${wanted.length} files checked by SHA-256, ` +
      `${written} of them unpacked into ${folder}`,
  );
  return folder;
}

/**
 * Fills deps/lib of the package with the library names that its binding is linked with and loads.
 */
function linkLibraries(unpacked, packageFolder) {
  const lib = join(packageFolder, 'deps', 'lib');
  rmSync(lib, { recursive: true, force: true });
  mkdirSync(lib, { recursive: true });
  const link = (target, ...names) => {
    for (const name of names) symlinkSync(target, join(lib, name));
  };
  const [tensorflow, framework] = LIBRARIES.map((library) => join(unpacked, 'lib', library));
  link(tensorflow, LIBRARIES[0], 'libtensorflow.so', 'libtensorflow.so.2');
  link(framework, LIBRARIES[1], 'libtensorflow_framework.so');
}

/**
 * Compiles the two files of the binding. They use only Node-API, as our addon does, so they need
 * neither node-gyp nor the headers of a Node version.
 */
function compile(unpacked, packageFolder) {
  const target = join(packageFolder, 'lib', 'napi-v8', 'tfjs_binding.node');
  mkdirSync(dirname(target), { recursive: true });
  say('compiling the binding');
  const { status } = spawnSync(
    'c++',
    [
      ...['-std=c++17', '-O2', '-fPIC', '-shared', '-w', '-DNAPI_VERSION=8'],
      ...['-I', headersOf('node-api-headers'), '-I', join(unpacked, 'include')],
      ...['tfjs_backend.cc', 'tfjs_binding.cc'].map((file) => join(packageFolder, 'binding', file)),
      ...['-L', join(packageFolder, 'deps', 'lib'), '-ltensorflow', '-ltensorflow_framework'],
      ...['-Wl,-rpath,$ORIGIN/../../deps/lib', '-o', `${target}.partial`],
    ],
    { stdio: 'inherit' },
  );
  if (status !== 0)
    throw new SetupError('Expected the binding to compile, but the compiler failed: see above.');
  renameSync(`${target}.partial`, target);
}

/** Loads the package in a process of its own and multiplies two matrices. */
function verify(packageFolder) {
  const script = `
    const tf = require(${JSON.stringify(packageFolder)});
    const [value] = tf.matMul(tf.ones([3, 64]), tf.ones([64, 3])).dataSync();
    if (value !== 64) throw new Error('Expected 64, received ' + value);
    const { binding, isUsingGpuDevice } = tf.backend();
    console.log(binding.TF_Version, isUsingGpuDevice ? 'with CUDA' : 'on the CPU');`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script], {
    cwd: root,
    encoding: 'utf8',
    env: { TF_CPP_MIN_LOG_LEVEL: '1', ...process.env },
  });
  if (status !== 0) throw new SetupError(`Expected the binding to load, but: ${stderr.trim()}`);
  say(`tensorflow ${stdout.trim()}: ready, as --backend tensorflow`);
}

function say(text) {
  process.stdout.write(`${text}\n`);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof SetupError || error instanceof WheelError ? error.message : error);
  process.exitCode = 1;
}
