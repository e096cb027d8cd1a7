// Tests the supervisor with real server processes that are killed.

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { activateBundle, readHistory } from '../src/bundle/current.ts';
import { packageRoot } from '../src/package-root.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { publishTinyBundle } from './support/tiny-bundle.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-supervisor-'));
const bundles = join(folder, 'bundles');
const store = join(folder, 'store');
const names: string[] = [];

before(async () => {
  for (const seed of [1, 2]) {
    const { directory } = await publishTinyBundle(bundles, { items: 40, seed });
    names.push(basename(directory));
  }
  await LmdbStore.open(store).close();
});
after(() => {
  rmSync(folder, { recursive: true });
});

interface Line {
  readonly msg: string;
  readonly port?: number;
  readonly to?: string;
  readonly pid?: number;
}

/** A supervised server and its log. next() waits for the next line with a message. */
class Supervised {
  readonly child: ChildProcess;
  readonly #seen: Line[] = [];
  #wake = (): void => undefined;

  constructor(args: readonly string[], node: readonly string[] = []) {
    this.child = spawn(
      process.execPath,
      [...node, join(packageRoot(), 'dist', 'cli', 'main.js'), 'supervise', ...args],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, TANDEM_LOG_LEVEL: 'info' } },
    );
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      if (line.startsWith('{')) this.#seen.push(JSON.parse(line) as Line);
      this.#wake();
    });
    this.child.on('exit', () => {
      this.#wake();
    });
  }

  async next(msg: string): Promise<Line> {
    for (;;) {
      const at = this.#seen.findIndex((line) => line.msg === msg);
      if (at >= 0) return this.#seen.splice(0, at + 1).at(-1)!;
      assert.equal(this.child.exitCode, null, `ended before "${msg}"`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async stop(): Promise<number | null> {
    this.child.kill('SIGTERM');
    if (this.child.exitCode === null) await once(this.child, 'exit');
    return this.child.exitCode;
  }
}

/** Returns the process id of the server, the only child of the supervisor. */
function serverOf({ pid }: ChildProcess): number {
  return Number(readFileSync(`/proc/${pid!}/task/${pid!}/children`, 'utf8').trim());
}

const flags = (directory: string): string[] => [
  ...['--bundles', directory, '--store', store],
  ...['--port', '0'],
];

test('restarts a killed server, rolls back once in a crash loop, stops on SIGTERM', async () => {
  activateBundle(bundles, names[0]!);
  activateBundle(bundles, names[1]!);
  const supervised = new Supervised(flags(bundles));
  for (let crash = 1; crash <= 4; crash++) {
    const { port } = await supervised.next('serving');
    assert.equal((await fetch(`http://127.0.0.1:${port!}/health/live`)).status, 200);
    const history = readHistory(bundles);
    assert.deepEqual(history, crash <= 3 ? [names[1], names[0]] : [names[0]], `crash ${crash}`);
    process.kill(serverOf(supervised.child), 'SIGKILL');
    await supervised.next('the server died');
    if (crash === 3)
      assert.equal(
        (await supervised.next('crash loop: rolled back to the bundle before')).to,
        names[0],
      );
  }
  // The server goes on with the bundle that is left.
  const { port } = await supervised.next('serving');
  const version = await fetch(`http://127.0.0.1:${port!}/version`);
  assert.equal(version.status, 200);
  assert.equal(await supervised.stop(), 0);
  await assert.rejects(fetch(`http://127.0.0.1:${port!}/health/live`));
});

test('waits longer after each failed start, and rolls back once', async () => {
  activateBundle(bundles, names[1]!);
  // Node aborts at the start, so no server ever listens.
  const broken = join(folder, 'broken.cjs');
  writeFileSync(broken, "if (process.argv.includes('serve')) process.abort();\n");
  const supervised = new Supervised(flags(bundles), ['--require', broken]);
  const times: number[] = [];
  for (let death = 0; death < 6; death++) {
    await supervised.next('the server died');
    times.push(performance.now());
  }
  const waits = times.slice(1).map((time, i) => time - times[i]!);
  // The time between two deaths is the wait and the start itself. Timers may fire 1 ms early.
  for (const [i, waitMs] of [0, 100, 200, 400, 800].entries())
    assert.ok(waits[i]! >= waitMs - 1, waits.join());
  assert.deepEqual(readHistory(bundles), [names[0]]);
  assert.equal(await supervised.stop(), 0);
});

test('exits when the settings are invalid, instead of restarting', async () => {
  const supervised = new Supervised(['--bundles', bundles, '--store', store, '--port', 'x']);
  await once(supervised.child, 'exit');
  assert.equal(supervised.child.exitCode, 1);
});
