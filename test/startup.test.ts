// Starts `tandem serve` as an operator does. It must answer within a second, and its process must
// not load the code of training and import.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { packageRoot } from '../src/package-root.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { spawnCli } from './support/cli.ts';
import { FORM } from './support/form.ts';

/** The quick form may share its machine with anything. */
const MAX_STARTUP_MS = { quick: 10_000, long: 1000 }[FORM];
/**
 * One of these starts must be fast: the machine may be busy, but a slow program is slow every time.
 */
const STARTS = 3;

const folder = mkdtempSync(join(tmpdir(), 'tandem-startup-'));
after(() => {
  rmSync(folder, { recursive: true });
});

// Writes one line for each ES module when it is resolved, and for each CommonJS module at exit.
const listing = join(folder, 'modules');
writeFileSync(
  join(folder, 'list-modules.mjs'),
  `import { appendFileSync } from 'node:fs';
import Module, { register } from 'node:module';
const hook = \`import { appendFileSync } from 'node:fs';
export async function resolve(specifier, context, next) {
  const resolved = await next(specifier, context);
  appendFileSync(${JSON.stringify(listing)}, resolved.url + '\\\\n');
  return resolved;
}\`;
register('data:text/javascript,' + encodeURIComponent(hook));
process.on('exit', () => {
  const names = Object.keys(Module._cache).map((name) => name + '\\n');
  appendFileSync(${JSON.stringify(listing)}, names.join(''));
});
`,
);

interface Started {
  readonly startupMs: number;
  readonly candidates: number;
  /** The files that the process has mapped into memory. */
  readonly maps: string;
}

/** Starts a server, sends one request and stops the server. */
async function startAndAsk(node: readonly string[]): Promise<Started> {
  const child = spawnCli(
    [
      'serve',
      ...['--bundles', join(packageRoot(), 'models', 'tiny')],
      ...['--store', join(folder, 'store')],
      ...['--port', '0'],
    ],
    { node, env: { TANDEM_LOG_LEVEL: 'info' } },
  );
  const seen: string[] = [];
  try {
    let serving: { port: number; startup_ms: number } | undefined;
    for await (const line of createInterface({ input: child.stderr! })) {
      seen.push(line);
      const record = JSON.parse(line) as { msg?: string; port: number; startup_ms: number };
      if (record.msg === 'serving') {
        serving = record;
        break;
      }
    }
    assert.ok(serving !== undefined, seen.join('\n'));
    child.stderr!.resume();
    const response = await fetch(`http://127.0.0.1:${serving.port}/v1/candidates`, {
      method: 'POST',
      body: JSON.stringify({ user: 'a', surface: 'related', k: 5 }),
      headers: { connection: 'close' },
    });
    const { candidates } = (await response.json()) as { candidates: unknown[] };
    const maps =
      process.platform === 'linux' ? readFileSync(`/proc/${child.pid!}/maps`, 'utf8') : '';
    return { startupMs: serving.startup_ms, candidates: candidates.length, maps };
  } finally {
    const closed = once(child, 'exit');
    if (child.exitCode === null && child.kill('SIGTERM')) await closed;
  }
}

test('tandem serve answers soon after its start', async () => {
  await LmdbStore.open(join(folder, 'store')).close();
  const times: number[] = [];
  while (times.length < STARTS) {
    const { startupMs, candidates } = await startAndAsk([]);
    assert.equal(candidates, 5);
    times.push(startupMs);
    if (startupMs < MAX_STARTUP_MS) return;
  }
  assert.fail(`Expected a start within ${MAX_STARTUP_MS} ms, received ${times.join(', ')} ms.`);
});

test('tandem serve loads the addon, and neither tfjs nor DuckDB nor Vega', async () => {
  const { maps } = await startAndAsk(['--import', join(folder, 'list-modules.mjs')]);
  const modules = readFileSync(listing, 'utf8').split('\n');
  const forbidden = /@tensorflow|duckdb|\/vega/;
  assert.deepEqual(
    modules.filter((name) => forbidden.test(name)),
    [],
  );
  // The lists really are of the server's process: they have the modules that it needs.
  assert.ok(modules.some((name) => name.endsWith('dist/serve/process/server.js')));
  assert.ok(modules.some((name) => name.endsWith('tandem.node')));
  if (process.platform !== 'linux') return;
  assert.match(maps, /tandem\.node/);
  assert.doesNotMatch(maps, /duckdb|tensorflow/);
});
