// npm run pack: builds, and writes every package of a release for this platform into packages-out/:
//   tandem                      what a server needs
//   tandem-offline              what import, training, evaluation and charts need as well
//   tandem-linux-x64-gnu, ...   the compiled addon and uWebSockets for one platform
// Each package is put together in build/pack/ first.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { HEADERS, headersOf, packageFolder } from './native-headers.mjs';
import { copyUwsBinaries } from './uws-binaries.mjs';

/** The platforms of a release. Each package is made on its own platform. */
const PLATFORMS = [
  { os: 'linux', cpu: 'x64', libc: 'glibc' },
  { os: 'linux', cpu: 'arm64', libc: 'glibc' },
];

const root = join(import.meta.dirname, '..');
const staging = join(root, 'build', 'pack');
const output = join(root, 'packages-out');
const manifest = readJson(join(root, 'package.json'));
const nameOf = ({ os, cpu }) => `${manifest.name}-${os}-${cpu}-gnu`;

for (const folder of [staging, output]) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
}
run('node', [join('tools', 'build-native.mjs'), 'tandem_portable']);
const packages = [stageMain(), stageOffline()];
const platform = PLATFORMS.find(({ os, cpu }) => os === process.platform && cpu === process.arch);
if (platform !== undefined && hasGlibc()) packages.push(await stagePlatform(platform));
else console.log(`No package for ${process.platform}-${process.arch}: users compile the addon.`);
for (const folder of packages) {
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  const [{ filename, size, unpackedSize, entryCount }] = npmPack(folder, output);
  const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  console.log(
    `packages-out/${filename}: ${mb(size)}, ${mb(unpackedSize)} in ${entryCount} files unpacked`,
  );
}

/** The main package: the files that package.json lists, with a new dist/ and copies of headers. */
function stageMain() {
  const folder = join(staging, manifest.name);
  const [{ files }] = npmPack(root, undefined);
  for (const { path } of files) if (!path.startsWith('dist/')) copy(path, folder);
  const dist = join(folder, 'dist');
  run('npx', ['tsc', '-p', 'tsconfig.build.json', '--sourceMap', 'false', '--outDir', dist]);
  for (const name of Object.keys(HEADERS)) copyHeaders(name, folder);
  const inCheckoutOnly = ['devDependencies', 'files', 'overrides', 'scripts', 'workspaces'];
  writeManifest(folder, {
    ...Object.fromEntries(
      Object.entries(manifest).filter(([key]) => !inCheckoutOnly.includes(key)),
    ),
    optionalDependencies: Object.fromEntries(
      PLATFORMS.map((each) => [nameOf(each), manifest.version]),
    ),
  });
  return folder;
}

function copyHeaders(name, folder) {
  const target = join(folder, 'native', 'third_party', name);
  cpSync(headersOf(name), target, {
    recursive: true,
    filter: (path) => statSync(path).isDirectory() || /\.(h|hpp)$/.test(path),
  });
  const source = packageFolder(name);
  const licence = readdirSync(source).find((file) => file.startsWith('LICENSE'));
  copyFileSync(join(source, licence), join(target, 'LICENSE'));
}

function stageOffline() {
  const folder = join(staging, 'tandem-offline');
  const source = join(root, 'packages', 'offline');
  for (const { path } of npmPack(source, undefined)[0].files)
    cpSync(join(source, path), join(folder, path));
  return folder;
}

async function stagePlatform({ os, cpu, libc }) {
  const folder = join(staging, nameOf({ os, cpu }));
  mkdirSync(folder);
  copyFileSync(join(root, 'build', 'Release', 'tandem_portable.node'), join(folder, 'tandem.node'));
  const table = join(staging, manifest.name, 'dist', 'serve', 'web', 'uws-digests.js');
  const { UWS_DIGESTS, UWEBSOCKETS_VERSION } = await import(pathToFileURL(table).href);
  copyUwsBinaries({
    digests: UWS_DIGESTS,
    version: UWEBSOCKETS_VERSION,
    cache: join(root, 'build', 'uwebsockets'),
    target: join(folder, 'uws'),
  });
  const { version, license, homepage, bugs, repository, engines } = manifest;
  writeManifest(folder, {
    name: nameOf({ os, cpu }),
    version,
    description: `The compiled addon of tandem, and uWebSockets, for ${os}-${cpu} with ${libc}.`,
    license,
    homepage,
    bugs,
    repository,
    engines,
    os: [os],
    cpu: [cpu],
    libc: [libc],
    type: 'commonjs',
    main: 'tandem.node',
  });
  writeFileSync(
    join(folder, 'README.md'),
    `# ${nameOf({ os, cpu })}\n\n` +
      `Compiled code of [tandem](${homepage}), which depends on this package. uws/ has builds of ` +
      `[uWebSockets](https://github.com/uNetworking/uWebSockets), with their licence.\n`,
  );
  return folder;
}

function hasGlibc() {
  return process.report.getReport().header.glibcVersionRuntime !== undefined;
}

/** Packs a folder into `destination`; without one, only lists the files. */
function npmPack(folder, destination) {
  const where = destination === undefined ? ['--dry-run'] : ['--pack-destination', destination];
  return JSON.parse(run('npm', ['pack', folder, '--json', '--ignore-scripts', ...where]));
}

function copy(path, folder) {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  copyFileSync(join(root, path), join(folder, path));
}

function writeManifest(folder, value) {
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(value, null, 2)}\n`);
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** @returns what the command printed. */
function run(command, args) {
  const { status, stdout, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 2 ** 26,
  });
  if (error === undefined && status === 0) return stdout;
  console.error(`Expected "${command} ${args.join(' ')}" to succeed, it ended with ${status}.`);
  process.exit(1);
}
