// Tests the access log of a real server, on both transports and with several event loops.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { resolveServerSettings } from '../src/config.ts';
import { newKey, writeKeyFile } from '../src/serve/admission/key-file.ts';
import { startServer } from '../src/serve/process/server.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { publishTinyBundle } from './support/tiny-bundle.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-access-log-'));
const store = join(folder, 'store');
const keyFile = join(folder, 'keys.json');
const web = newKey({ name: 'web', role: 'candidates' });
const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const REQUESTS = 40;

before(async () => {
  await publishTinyBundle(join(folder, 'bundles'), { items: 50 });
  await LmdbStore.open(store).close();
  writeKeyFile(keyFile, [web.record]);
});
after(() => {
  rmSync(folder, { recursive: true });
});

function linesOf(path: string): Record<string, unknown>[] {
  const text = readFileSync(path, 'utf8');
  for (const secret of ['user-of-the-log', web.key, web.record.sha256])
    assert.ok(!text.includes(secret), secret);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

for (const [transport, eventLoops] of [
  ['uws', 3],
  ['node', 1],
] as const)
  test(`logs every request without user and key, ${transport}, ${eventLoops} loops`, async () => {
    const path = join(folder, `${transport}.log`);
    const { settings } = resolveServerSettings({
      flags: {
        bundles: join(folder, 'bundles'),
        store,
        transport,
        eventLoops,
        port: 0,
        accessLog: path,
        keys: keyFile,
      },
    });
    const server = await startServer(settings);
    const ask = async (headers: Record<string, string>, body: object): Promise<number> => {
      const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
        method: 'POST',
        headers: { Connection: 'close', ...headers },
        body: JSON.stringify(body),
      });
      await response.arrayBuffer();
      return response.status;
    };
    const Authorization = `Bearer ${web.key}`;
    const body = { user: 'user-of-the-log', surface: 'related', k: 7 };
    const all = Array.from({ length: REQUESTS }, (_, i) =>
      ask({ Authorization, traceparent: TRACE, 'X-Request-Id': `r${i}` }, body),
    );
    assert.deepEqual(new Set(await Promise.all(all)), new Set([200]));
    assert.equal(await ask({}, body), 401);
    assert.equal(await ask({ Authorization }, { user: 'u', surface: 'no' }), 400);
    await new Promise<void>((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${server.port}/v1/stream`, {
        headers: { Authorization },
      });
      socket.on('error', reject);
      socket.on('open', () => {
        socket.send(JSON.stringify({ type: 'hello', user: body.user, k: 3 }));
        for (const item of ['no such item', undefined])
          socket.send(
            JSON.stringify({
              type: 'subject',
              id: 1,
              surface: 'related',
              ...(item !== undefined && { subject: { item } }),
            }),
          );
      });
      let answers = 0;
      socket.on('message', () => {
        if (++answers === 3) socket.close();
      });
      socket.on('close', resolve);
    });

    // A log that was moved away is opened again on reload.
    renameSync(path, `${path}.1`);
    server.reload();
    assert.equal(await ask({ Authorization }, body), 200);
    await server.close();
    assert.ok(existsSync(path));
    const lines = [...linesOf(`${path}.1`), ...linesOf(path)];

    const answered = lines.filter(({ request_id: id }) => /^r\d+$/.test(String(id)));
    assert.equal(answered.length, REQUESTS);
    const hashes = new Set(lines.map(({ user }) => user).filter((user) => user !== undefined));
    assert.equal(hashes.size, 1);
    for (const line of answered) {
      assert.deepEqual(
        [line['method'], line['route'], line['status'], line['traceparent'], line['items']],
        ['POST', '/v1/candidates', 200, TRACE, 7],
      );
      assert.match(String(line['user']), /^[0-9a-f]{16}$/);
      assert.match(String(line['bundle_id']), /^[0-9a-f]{64}$/);
      assert.equal(line['state'], 'missing');
      assert.equal(line['degraded'], 'popular');
      assert.ok(Number(line['bytes']) > 100 && Number(line['ms']) > 0);
    }
    const statuses = (method: string): unknown[] =>
      lines.filter((line) => line['method'] === method).map(({ status }) => status);
    assert.deepEqual(
      statuses('POST')
        .filter((status) => status !== 200)
        .sort(),
      [400, 401],
    );
    assert.deepEqual(statuses('WS').sort(), [200, 404]);
  });

test('the server does not start when it cannot write the access log', async () => {
  const accessLog = join(folder, 'no', 'folder.log');
  const { settings } = resolveServerSettings({
    flags: { bundles: join(folder, 'bundles'), store, port: 0, accessLog },
  });
  await assert.rejects(startServer(settings), {
    code: 'ERR_CONFIG_INVALID',
    message: /accessLog/,
  });
});
