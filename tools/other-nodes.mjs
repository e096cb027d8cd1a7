// Runs what a server needs on the supported versions of Node that this process does not run on: the
// built server over models/tiny, asked over HTTP and WebSocket, and the conformance suite of the
// transports. The binaries of Node come from npm.
//
// Usage: node tools/other-nodes.mjs [MAJOR...]      (default: 22 24; needs "npm run build")

import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..');
const CONFORMANCE = [
  'test/transport-conformance.test.ts',
  'test/transport-http.test.ts',
  'src/serve/web/uws-binary.test.ts',
];
const START_TIMEOUT_MS = 60_000;
const ASK = { user: 'u', surface: 'search', subject: { query: 'red shoes' }, k: 3 };

if (process.platform !== 'linux') {
  console.log('Only Linux has binaries of Node in npm packages: nothing is run.');
  process.exit(0);
}
const majors = process.argv.length > 2 ? process.argv.slice(2) : ['22', '24'];
const failures = (await Promise.all(majors.map(check))).flat();
for (const failure of failures) console.error(failure);
console.log(`${2 * majors.length - failures.length} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;

/** @returns what failed on this version of Node, in words. */
async function check(major) {
  const node = await install(major);
  const { stdout } = await run(node, ['--version']);
  const version = stdout.trim();
  const failures = [];
  for (const [name, step] of [
    ['server', smoke],
    ['conformance suite', conform],
  ])
    try {
      console.log(`Node ${version}: ${name}: ${await step(node)}`);
    } catch (error) {
      failures.push(`Node ${version}: ${name}: ${error.stdout ?? ''}${error.stack ?? error}`);
    }
  return failures;
}

/** Installs the newest release of a major version. @returns the path of its binary. */
async function install(major) {
  const folder = join(root, 'build', 'other-nodes', major);
  const name = `node-linux-${process.arch}`;
  const node = join(folder, 'node_modules', name, 'bin', 'node');
  if (existsSync(node)) return node;
  mkdirSync(folder, { recursive: true });
  const flags = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts'];
  await run('npm', ['install', '--prefix', folder, ...flags, `${name}@${major}`]);
  return node;
}

/** @returns how many tests of the suite passed. */
async function conform(node) {
  const flags = ['--import', 'tsx', '--test', '--test-reporter=tap'];
  const { stdout } = await run(node, [...flags, ...CONFORMANCE], {
    cwd: root,
    maxBuffer: 64 * 1024 * 1024,
  });
  const [, passed] = /^# pass (\d+)$/m.exec(stdout) ?? [];
  if (!(passed > 0)) throw new Error(`Expected passed tests, received:\n${stdout}`);
  return `${passed} tests passed`;
}

/** Starts the built server and asks it. @returns its transport, and why it has it. */
async function smoke(node) {
  const folder = mkdtempSync(join(tmpdir(), 'tandem-other-node-'));
  const flags = ['--bundles', 'models/tiny', '--store', join(folder, 'store'), '--port', '0'];
  const server = spawn(node, ['dist/cli/main.js', 'serve', ...flags, '--fresh-events', 'on'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise((resolve) => server.once('exit', resolve));
  try {
    const { port, transport, transport_reason: reason } = await logOf(server, 'serving');
    const base = `127.0.0.1:${port}`;
    const version = await (await fetch(`http://${base}/version`)).json();
    expect(transport, version.transport);
    const answer = await fetch(`http://${base}/v1/candidates`, {
      method: 'POST',
      body: JSON.stringify(ASK),
    });
    expect(200, answer.status);
    expect(ASK.k, (await answer.json()).candidates.length);
    expect(ASK.k, (await askSocket(base)).candidates.length);
    server.kill('SIGTERM');
    expect(0, await exited);
    return `${transport}: ${reason}`;
  } finally {
    server.kill('SIGKILL');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @returns the line with this message in the log of a server. */
function logOf(server, message) {
  return new Promise((resolve, reject) => {
    const lines = [];
    const timer = setTimeout(() => server.kill('SIGKILL'), START_TIMEOUT_MS);
    const read = (line) => {
      lines.push(line);
      if (!line.includes(`"msg":"${message}"`)) return;
      clearTimeout(timer);
      resolve(JSON.parse(line));
    };
    createInterface(server.stdout).on('line', read);
    createInterface(server.stderr).on('line', read);
    server.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`The server ended with ${code} before it answered:\n${lines.join('\n')}`));
    });
  });
}

/** @returns the answer to one subject of a session. */
function askSocket(base) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${base}/v1/stream`);
    socket.on('error', reject);
    socket.on('open', () => {
      const { user, k, ...subject } = ASK;
      socket.send(JSON.stringify({ type: 'hello', user, k }));
      socket.send(JSON.stringify({ type: 'subject', id: 1, ...subject }));
    });
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data));
      if (frame.type === 'ready') return;
      socket.close();
      resolve(frame);
    });
  });
}

function expect(expected, received) {
  if (expected !== received) throw new Error(`Expected ${expected}, received ${received}.`);
}
