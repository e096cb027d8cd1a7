// An API key is printed once, when it is made. It must not be in the key file, in a log of any
// level or in an answer.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { publishTinyBundle } from './support/tiny-bundle.ts';
import { TYPESCRIPT } from './support/typescript.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-secrecy-'));
after(() => {
  rmSync(folder, { recursive: true });
});
const keyFile = join(folder, 'keys.json');
const command = [...TYPESCRIPT, 'src/cli/main.ts'];

function addKey(name: string): string {
  const added = spawnSync(
    process.execPath,
    [...command, 'keys', 'add', keyFile, '--name', name, '--role', 'candidates'],
    { encoding: 'utf8' },
  );
  assert.equal(added.status, 0, added.stderr);
  return added.stdout.trim();
}

test('a key is never in the key file, the log or an answer, also after SIGHUP', async () => {
  const store = join(folder, 'store');
  await publishTinyBundle(join(folder, 'bundles'), { items: 20 });
  await LmdbStore.open(store).close();
  const first = addKey('first');
  const child = spawn(
    process.execPath,
    [...command, 'serve', '--bundles', join(folder, 'bundles'), '--store', store].concat([
      '--port',
      '0',
      '--keys',
      keyFile,
    ]),
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, TANDEM_LOG_LEVEL: 'trace' } },
  );
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (log += text));
  const gone = new Promise((resolve) => child.on('exit', resolve));
  const seen = async (pattern: RegExp): Promise<RegExpExecArray> => {
    for (let i = 0; i < 1500 && child.exitCode === null; i++) {
      const match = pattern.exec(log);
      if (match !== null) return match;
      await sleep(20);
    }
    throw new Error(`Expected ${String(pattern)} in the log, which is: ${log}`);
  };
  try {
    const [, port] = await seen(/"port":(\d+).*"msg":"serving"/);
    let answers = '';
    const ask = async (key: string): Promise<number> => {
      const response = await fetch(`http://127.0.0.1:${port}/v1/candidates`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${key}` },
        body: '{"user":"u","surface":"related"}',
      });
      answers += await response.text();
      return response.status;
    };
    const second = addKey('second');
    child.kill('SIGHUP');
    await seen(/"keys":2,"msg":"API keys read again"/);
    const statuses = [await ask(first), await ask(second), await ask(`${first}x`)];
    assert.deepEqual(statuses, [200, 200, 401]);
    const written = log + answers + readFileSync(keyFile, 'utf8');
    for (const key of [first, second]) assert.ok(!written.includes(key.slice(-43)));
  } finally {
    child.kill('SIGTERM');
    await gone;
  }
});
