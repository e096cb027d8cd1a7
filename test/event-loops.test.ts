// A server with several event loops behaves as one server: every loop answers from the same bundle
// with the same scores and has the same keys and rates; metrics, readiness and shutdown cover all
// loops. Each request uses a new connection, which the kernel gives to any loop.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { loadBundle } from '../src/bundle/load.ts';
import { resolveServerSettings } from '../src/config.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { newKey, writeKeyFile } from '../src/serve/admission/key-file.ts';
import { ServerMetrics } from '../src/serve/metrics/metrics.ts';
import { LoopThreads } from '../src/serve/process/loop-threads.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { chooseTransport } from '../src/serve/web/choose-transport.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { FORM } from './support/form.ts';
import { publishTinyBundle, tinyItem } from './support/tiny-bundle.ts';

const LOOPS = 3;
const SWAPS = { quick: 4, long: 24 }[FORM];
/** With this many connections, the chance that one of three loops gets none is 1 in 10^10. */
const CONNECTIONS = 60;
/**
 * A loop's concurrency limit stays above an eighth of this, so no loop refuses two rounds of all
 * connections, even on a slow machine.
 */
const MICRO_BATCH = 8 * 2 * CONNECTIONS;
const folder = mkdtempSync(join(tmpdir(), 'tandem-loops-'));
const bundles = join(folder, 'bundles');
const storePath = join(folder, 'store');
const keyFile = join(folder, 'keys.json');
const web = newKey({ name: 'web', role: 'candidates' });
const slow = newKey({ name: 'slow', role: 'candidates', requestsPerSecond: 1e-3, burst: 7 });
const chief = newKey({ name: 'chief', role: 'admin' });
const names: string[] = [];

before(async () => {
  const store = LmdbStore.open(storePath);
  for (const seed of [1, 2]) {
    const { directory } = await publishTinyBundle(bundles, { items: 120, seed });
    names.push(basename(directory));
    const { manifest } = await loadBundle(directory);
    const dimensions = manifest.model.embeddingWidth;
    const state = Float32Array.from({ length: dimensions }, (_, i) => Math.cos((seed + 2) * i));
    await store.write(manifest.encoderId as EncoderId, [
      {
        user: 'u' as UserId,
        state: {
          state,
          dimensions,
          type: 'f32',
          lastEventSeconds: 1,
          encodedAtSeconds: Date.now() / 1000,
        },
      },
    ]);
  }
  await store.close();
});
const started: Promise<RunningServer>[] = [];
after(async () => {
  // A server that a failed test left open would keep this process alive.
  for (const server of await Promise.allSettled(started))
    if (server.status === 'fulfilled') await server.value.close();
  rmSync(folder, { recursive: true });
});

function start(flags: Record<string, string | number> = {}): Promise<RunningServer> {
  const { settings } = resolveServerSettings({
    flags: {
      bundles,
      store: storePath,
      port: 0,
      adminPort: 0,
      eventLoops: LOOPS,
      maxMicroBatch: MICRO_BATCH,
      ...flags,
    },
  });
  const server = startServer(settings);
  started.push(server);
  return server;
}

interface Reply {
  readonly status: number;
  readonly text: string;
}

/** Sends a request on a new connection. */
function call(
  port: number,
  path: string,
  options: { method?: string; key?: string; body?: object } = {},
): Promise<Reply> {
  const { key, body, method = body === undefined ? 'GET' : 'POST' } = options;
  return new Promise((resolve, reject) => {
    const headers = key === undefined ? {} : { Authorization: `Bearer ${key}` };
    const call = httpRequest({ port, path, method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        resolve({ status: response.statusCode!, text: Buffer.concat(chunks).toString() });
      });
    });
    call.on('error', reject);
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const ask = (server: RunningServer, key?: string): Promise<Reply> =>
  call(server.port, '/v1/candidates', {
    ...(key !== undefined && { key }),
    body: { user: 'u', surface: 'related', subject: { item: tinyItem(4).id }, k: 9 },
  });

const many = <T>(action: () => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: CONNECTIONS }, action));

/** The parts of an answer that do not depend on its time. */
function essence({ status, text }: Reply): string {
  assert.equal(status, 200, text);
  const { bundle_id: bundle, candidates, state } = JSON.parse(text) as Record<string, object>;
  return JSON.stringify([bundle, candidates, (state as { status?: string }).status]);
}

test('all loops answer like a server with one loop, also after a bundle is activated', async () => {
  const alone = await start({ eventLoops: 1 });
  const expected: string[] = [];
  for (const bundle of names) {
    const body = { bundle };
    assert.equal((await call(alone.adminPort!, '/bundles/activate', { body })).status, 200);
    expected.push(essence(await ask(alone)));
  }
  await alone.close();
  assert.notEqual(expected[0], expected[1]);

  const server = await start();
  const asking = new AbortController();
  const seen = new Set<string>();
  const load = (async () => {
    while (!asking.signal.aborted)
      for (const reply of await many(() => ask(server))) seen.add(essence(reply));
  })();
  for (let swap = 0; swap < SWAPS; swap++) {
    const body = { bundle: names[swap % 2]! };
    assert.equal((await call(server.adminPort!, '/bundles/activate', { body })).status, 200);
    for (const reply of await many(() => ask(server)))
      assert.equal(essence(reply), expected[swap % 2]);
  }
  asking.abort();
  await load;
  assert.deepEqual([...seen].sort(), [...expected].sort());
  await server.close();
});

test('a rate limit counts all loops together, and each loop rejects a removed key', async () => {
  writeKeyFile(keyFile, [web.record, slow.record, chief.record]);
  const server = await start({ keys: keyFile });
  const statuses: number[] = [];
  for (let i = 0; i < CONNECTIONS; i++) statuses.push((await ask(server, slow.key)).status);
  assert.equal(statuses.filter((status) => status === 200).length, 7);
  assert.equal(statuses.filter((status) => status === 429).length, CONNECTIONS - 7);

  assert.ok((await many(() => ask(server, web.key))).every(({ status }) => status === 200));
  writeKeyFile(keyFile, [slow.record, chief.record]);
  server.reload();
  // Messages to a loop are handled in order, so this answer comes after the new keys.
  const key = chief.key;
  await call(server.adminPort!, '/log-level', { method: 'PUT', key, body: { level: 'fatal' } });
  assert.ok((await many(() => ask(server, web.key))).every(({ status }) => status === 401));
  // The token bucket of the slow key is still empty.
  assert.ok((await many(() => ask(server, slow.key))).every(({ status }) => status === 429));
  await server.close();
});

test('metrics count the requests of all loops, and no loop is ready after a drain', async () => {
  const server = await start();
  await many(() => ask(server));
  const texts = await many(async () => (await call(server.port, '/metrics')).text);
  for (const text of texts) {
    assert.match(
      text,
      /^tandem_http_request_duration_seconds_count\{route="\/v1\/candidates",status="200"\} 60$/m,
    );
    assert.equal(text.match(/^tandem_bundle_info\{role="active"/gm)?.length, 1);
    assert.equal(text.match(/^process_cpu_seconds_total /gm)?.length, 1);
  }
  const ready = (): Promise<Reply[]> => many(() => call(server.port, '/health/ready'));
  assert.ok((await ready()).every(({ status }) => status === 200));
  assert.equal((await call(server.adminPort!, '/drain', { method: 'POST' })).status, 200);
  assert.ok((await ready()).every(({ status }) => status === 503));
  assert.ok((await many(() => ask(server))).every(({ status }) => status === 200));
  await server.close();
  await assert.rejects(ask(server), { code: 'ECONNREFUSED' });
});

test('a server on a port in use does not start, and the other server goes on', async () => {
  const server = await start();
  await assert.rejects(start({ port: server.port }), { code: 'ERR_CONFIG_INVALID' });
  assert.ok((await many(() => ask(server))).every(({ status }) => status === 200));
  await server.close();
});

test('messages to loops that have ended do not fail', async () => {
  const { settings } = resolveServerSettings({
    flags: { bundles, store: storePath, port: 0, eventLoops: 2 },
  });
  const transport = chooseTransport(settings.transport);
  const data = { settings, transport, salt: new Uint8Array(16) };
  const threads = new LoopThreads(1, data, new ServerMetrics(), {
    ingest: () => assert.fail(),
    changeItems: () => assert.fail(),
  });
  await threads.setLogLevel('fatal');
  assert.equal(await threads.close(), 0);
  // A watched file may change and a signal may arrive until the process has ended.
  await threads.adoptKeys([]);
  await threads.reopenLog();
});

test('several event loops need a transport that can share a port', async () => {
  await assert.rejects(start({ transport: 'node' }), {
    code: 'ERR_CONFIG_INVALID',
    message: /eventLoops 1 with transport "node"/,
  });
});
