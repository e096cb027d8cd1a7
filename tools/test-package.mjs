// npm run test:package: packs a release, installs it elsewhere with scripts off, and uses it as a
// stranger would. It prints the sizes that docs/start/install.md names. Other dependencies come
// from the registry or from npm's cache.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

// Times are printed and not asserted: they depend on what else the machine does.
const MAX_SERVER_MB = 90;
const MAX_SERVER_PACKAGES = 60;

const root = join(import.meta.dirname, '..');
const output = join(root, 'packages-out');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const work = mkdtempSync(join(tmpdir(), 'tandem-package-'));
const server = join(work, 'server');
const everything = join(work, 'everything');
after(() => rmSync(work, { recursive: true }));

let packages;
before(() => {
  const packed = run('node', [join('tools', 'pack.mjs')], root);
  assert.equal(packed.status, 0, packed.stderr);
  process.stdout.write(packed.stdout);
  packages = readdirSync(output).sort();
});

test('a release has the main package, the offline package and that of the platform', (t) => {
  const expected = [`tandem-${version}.tgz`, `tandem-offline-${version}.tgz`];
  if (isPrebuilt()) expected.push(`tandem-${process.platform}-${process.arch}-gnu-${version}.tgz`);
  assert.deepEqual(packages, expected.sort());
  for (const name of packages) t.diagnostic(name);
});

test('the packages hold what users need and nothing else', () => {
  const files = filesOf(`tandem-${version}.tgz`);
  for (const file of [
    'README.md',
    'LICENSE',
    'dist/cli/main.js',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/serve/process/loop-thread.js',
    'CMakeLists.txt',
    'tools/build-native.mjs',
    'native/third_party/usearch/usearch/index.hpp',
    'native/third_party/usearch/LICENSE',
    'native/third_party/node-addon-api/napi.h',
    'native/third_party/node-api-headers/node_api.h',
  ])
    assert.ok(files.includes(file), file);
  const strangers = files.filter((file) =>
    /\.test\.|\.map$|^(src|test|bench)\/|^native\/test\//.test(file),
  );
  assert.deepEqual(strangers, []);
  const manifest = JSON.parse(
    run('tar', ['-xzOf', join(output, `tandem-${version}.tgz`), 'package/package.json']).stdout,
  );
  assert.equal(manifest.scripts, undefined);
  assert.equal(manifest.optionalDependencies['tandem-linux-x64-gnu'], version);
  assert.equal(manifest.optionalDependencies['tandem-linux-arm64-gnu'], version);
});

test('the compiled addon needs only an old glibc', { skip: !isPrebuilt() }, (t) => {
  const name = `tandem-${process.platform}-${process.arch}-gnu`;
  const addon = readFileSync(join(root, 'build', 'pack', name, 'tandem.node'), 'latin1');
  const needed = [...addon.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
  t.diagnostic(`${name} needs glibc 2.${Math.max(...needed)}`);
  assert.doesNotMatch(addon, /GLIBCXX_/);
  // Of a release, which is packed on Debian 12; the headers of a newer glibc bind newer symbols.
  const [, minor] = process.report.getReport().header.glibcVersionRuntime.split('.').map(Number);
  if (minor <= 36) assert.ok(Math.max(...needed) <= 34);
});

test('publint has nothing to say', async () => {
  for (const name of readdirSync(join(root, 'build', 'pack'))) {
    const pkgDir = join(root, 'build', 'pack', name);
    const { messages, pkg } = await publint({ pkgDir, strict: true });
    assert.deepEqual(
      messages.map((message) => formatMessage(message, pkg, { color: false })),
      [],
      name,
    );
  }
});

test('the packages of a server are small', (t) => {
  const seconds = install(
    server,
    packages.filter((name) => !name.startsWith('tandem-offline')),
  );
  const megabytes = sizeOf(join(server, 'node_modules')) / 1e6;
  const lock = readFileSync(join(server, 'node_modules', '.package-lock.json'), 'utf8');
  const count = Object.keys(JSON.parse(lock).packages).length;
  t.diagnostic(
    `server install: ${megabytes.toFixed(1)} MB, ${count} packages, ${seconds.toFixed(1)} s`,
  );
  assert.ok(megabytes <= MAX_SERVER_MB, `${megabytes} MB`);
  assert.ok(count <= MAX_SERVER_PACKAGES, `${count} packages`);
});

test('a server install finds its addon, and says which package a job needs', () => {
  const doctor = tandem(server, ['doctor', '--json']);
  const checks = JSON.parse(doctor.stdout);
  const addon = checks.find(({ name }) => name === 'addon');
  assert.deepEqual([doctor.status, addon.status, addon.found], [0, 'ok', version], doctor.stdout);
  for (const args of [
    ['train', '--data', 'd', '--out', 'o'],
    ['import', '--help'],
    ['publish', '--checkpoint', 'c', '--bundles', 'b'],
    ['demo', '--quick'],
  ]) {
    const { status, stderr } = tandem(server, args);
    assert.equal(status, 1);
    assert.equal(
      stderr,
      `ERR_PACKAGE_MISSING: tandem ${args[0]} needs the package tandem-offline. ` +
        `Install it: npm install tandem-offline@${version}\n`,
    );
  }
  assert.equal(tandem(server, ['--help']).status, 0);
});

test('a server install serves', async () => {
  cpSync(join(root, 'models', 'tiny'), join(server, 'bundle'), { recursive: true });
  const made = run(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      "import { openStore } from 'tandem'; await (await openStore('store')).close();",
    ],
    server,
  );
  assert.equal(made.status, 0, made.stderr);
  const answer = await serveAndAsk(server, ['--bundles', 'bundle', '--store', 'store'], {
    user: 'somebody',
    surface: 'related',
    k: 3,
  });
  assert.equal(answer.candidates.length, 3);
});

test('the demo runs in an install of all packages, and its bundle is served', async (t) => {
  install(everything, packages);
  const start = performance.now();
  const demo = tandem(everything, ['demo', '--quick']);
  const seconds = (performance.now() - start) / 1000;
  assert.equal(demo.status, 0, demo.stderr);
  const { ok } = JSON.parse(demo.stdout.trim().split('\n').at(-1));
  assert.equal(ok, true);
  t.diagnostic(`tandem demo --quick: ${seconds.toFixed(1)} s`);
  const folder = join('.demo', 'quick');
  const flags = ['--bundles', join(folder, 'bundles-concat')].concat(
    ...['--store', join(folder, 'store-concat')],
  );
  const answer = await serveAndAsk(everything, flags, {
    user: 'somebody',
    surface: 'related',
    k: 7,
  });
  assert.equal(answer.candidates.length, 7);
});

test('a program in TypeScript imports both installs', () => {
  const program = `import { loadBundle, TandemError, type BundleManifest } from 'tandem';
const { manifest }: { manifest: BundleManifest } = await loadBundle(process.argv[2]!);
const error: Error = new TandemError('ERR_INTERNAL', manifest.bundleId);
if (error.message.length !== 64) throw error;
`;
  for (const folder of [server, everything]) {
    writeFileSync(join(folder, 'program.ts'), program);
    const types = join(root, 'node_modules', '@types');
    const tsc = run(
      process.execPath,
      [
        ...[join(root, 'node_modules', 'typescript', 'bin', 'tsc'), 'program.ts', '--strict'],
        ...['--module', 'nodenext', '--target', 'es2023', '--types', 'node', '--typeRoots', types],
        ...(folder === server ? ['--skipLibCheck'] : []),
      ],
      folder,
    );
    assert.equal(tsc.status, 0, tsc.stdout);
    const bundle = join(root, 'models', 'tiny');
    const ran = run(process.execPath, ['program.js', bundle], folder);
    assert.equal(ran.status, 0, ran.stderr);
  }
});

test('CMake finds every header inside the installed package', { skip: lacksCmake() }, () => {
  const source = join(everything, 'node_modules', 'tandem');
  const build = join(work, 'build');
  const configured = run('cmake', ['-S', source, '-B', build, '-DTANDEM_ADDON=ON'], work);
  assert.equal(configured.status, 0, configured.stderr);
  const commands = readFileSync(join(build, 'compile_commands.json'), 'utf8');
  const includes = new Set(commands.match(/(?<=-isystem )\S+/g));
  assert.deepEqual(
    [...includes].sort(),
    ['node-addon-api', 'node-api-headers', 'usearch'].map((name) =>
      join(source, 'native', 'third_party', name),
    ),
  );
});

function lacksCmake() {
  return spawnSync('cmake', ['--version']).error ? 'cmake is not installed' : false;
}

function isPrebuilt() {
  return (
    process.platform === 'linux' &&
    ['x64', 'arm64'].includes(process.arch) &&
    process.report.getReport().header.glibcVersionRuntime !== undefined
  );
}

function filesOf(name) {
  const { stdout } = run('tar', ['-tzf', join(output, name)]);
  return stdout.split('\n').map((line) => line.replace(/^package\//, ''));
}

/** @returns the seconds that npm took. */
function install(folder, names) {
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  const start = performance.now();
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  const paths = names.map((name) => join(output, name));
  const { status, stderr } = run('npm', ['install', ...flags, ...paths], folder);
  assert.equal(status, 0, stderr);
  return (performance.now() - start) / 1000;
}

/** Bytes of all files. */
function sizeOf(path) {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((bytes, entry) => bytes + statSync(join(entry.parentPath, entry.name)).size, 0);
}

function tandem(folder, args) {
  return run('npx', ['--no-install', 'tandem', ...args], folder);
}

/** Starts tandem serve, sends one request, and stops the server. */
async function serveAndAsk(folder, flags, question) {
  const main = join(folder, 'node_modules', '.bin', 'tandem');
  const child = spawn(process.execPath, [main, 'serve', ...flags, '--port', '0'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, TANDEM_LOG_LEVEL: 'info' },
  });
  const exit = new Promise((resolve) => child.once('exit', resolve));
  const lines = [];
  try {
    for await (const line of createInterface({ input: child.stderr })) {
      lines.push(line);
      const { port, startup_ms: startup } = line.startsWith('{') ? JSON.parse(line) : {};
      if (port === undefined || startup === undefined) continue;
      const response = await fetch(`http://127.0.0.1:${port}/v1/candidates`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(question),
      });
      const text = await response.text();
      assert.equal(response.status, 200, text);
      return JSON.parse(text);
    }
  } finally {
    child.kill('SIGTERM');
    await exit;
  }
  throw new Error(`Expected the server to start, but it ended:\n${lines.join('\n')}`);
}

function run(command, args, cwd = root, env = {}) {
  return spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    env: { ...process.env, ...env },
  });
}
