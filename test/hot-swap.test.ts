// Swaps the bundle of a server many times while clients send requests by HTTP and WebSocket. No
// request fails, and every answer is the one that the bundle it names gives on its own.

import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { loadBundle } from '../src/bundle/load.ts';
import { resolveServerSettings } from '../src/config.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { FORM } from './support/form.ts';
import { publishTinyBundle, tinyItem } from './support/tiny-bundle.ts';

interface Body {
  readonly bundle_id: string;
  readonly candidates: readonly { readonly item: string; readonly score: number }[];
}

const USERS = ['of-0', 'of-1', 'nobody'] as const;
const SWAPS = { quick: 6, long: 60 }[FORM];
/** A store that several servers share; servers close their store, so close does nothing here. */
class SharedStore extends MemoryStore {
  override close(): Promise<void> {
    return Promise.resolve();
  }
}

const folder = mkdtempSync(join(tmpdir(), 'tandem-swap-'));
const names: string[] = [];
/** Answers by bundleId and user, from a server that never swaps. */
const expected = new Map<string, string>();
const store = new SharedStore();

before(async () => {
  for (const seed of [1, 2]) {
    const { directory } = await publishTinyBundle(folder, { items: 120, seed });
    names.push(basename(directory));
  }
  for (const [i, name] of names.entries()) {
    const { manifest } = await loadBundle(join(folder, name));
    const dimensions = manifest.model.embeddingWidth;
    await store.write(manifest.encoderId as EncoderId, [
      {
        user: `of-${i}` as UserId,
        state: {
          state: Float32Array.from({ length: dimensions }, (_, d) => Math.cos((i + 2) * d)),
          dimensions,
          type: 'f32',
          lastEventSeconds: 1,
          encodedAtSeconds: Date.now() / 1000,
        },
      },
    ]);
  }
  for (const name of names) {
    const alone = await start({ bundles: join(folder, name) });
    for (const user of USERS) {
      const body = await ask(alone, user);
      expected.set(`${body.bundle_id} ${user}`, JSON.stringify(body.candidates));
    }
    await stop(alone);
  }
});
after(() => {
  rmSync(folder, { recursive: true });
});

async function start(flags: Record<string, string>): Promise<RunningServer> {
  const { settings } = resolveServerSettings({ flags: { store: folder, port: '0', ...flags } });
  return startServer(settings, store);
}

const stop = (server: RunningServer): Promise<void> => server.close();
const request = (user: string): object => ({
  surface: 'related',
  subject: { item: tinyItem(4).id },
  k: 9,
  user,
});

async function ask(server: RunningServer, user: string): Promise<Body> {
  const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
    method: 'POST',
    body: JSON.stringify(request(user)),
  });
  assert.equal(response.status, 200);
  return (await response.json()) as Body;
}

async function admin(
  server: RunningServer,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`http://127.0.0.1:${server.adminPort}${path}`, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

function check(body: Body, user: string): string {
  assert.equal(JSON.stringify(body.candidates), expected.get(`${body.bundle_id} ${user}`));
  return body.bundle_id;
}

for (const transport of ['uws', 'node'])
  test(`no request fails or mixes bundles while they are swapped, on ${transport}`, async () => {
    const server = await start({ bundles: folder, transport, adminPort: '0' });
    let running = true;
    const seen = new Set<string>();
    const clients = USERS.map(async (user) => {
      while (running) seen.add(check(await ask(server, user), user));
    });
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/v1/stream`);
    let answered = 0;
    const streaming = new Promise<void>((resolve, reject) => {
      socket.on('open', () => {
        socket.send(JSON.stringify({ type: 'hello', user: 'of-1', k: 9 }));
      });
      socket.on('message', (data: Buffer) => {
        const frame = JSON.parse(data.toString()) as Body & { readonly type: string };
        try {
          assert.notEqual(frame.type, 'error');
          if (frame.type === 'candidates') {
            check(frame, 'of-1');
            answered++;
          }
        } catch (error) {
          socket.emit('error', error);
        }
        const { surface, subject } = request('') as Record<string, unknown>;
        if (running)
          socket.send(JSON.stringify({ type: 'subject', id: answered, surface, subject }));
        else resolve();
      });
      socket.on('error', reject);
    });
    for (let swap = 0; swap < SWAPS; swap++) {
      const { status, body } = await (swap % 3 === 2
        ? admin(server, 'POST', '/bundles/rollback')
        : admin(server, 'POST', '/bundles/activate', { bundle: names[swap % 2] }));
      // There is no bundle before the first one, so a rollback from it answers 404.
      assert.ok(status === 200 || (swap % 3 === 2 && status === 404), JSON.stringify(body));
    }
    running = false;
    await Promise.all([...clients, streaming]);
    socket.close();
    assert.equal(seen.size, 2);
    assert.ok(answered > SWAPS);
    await stop(server);
  });

test('the admin port lists bundles, rejects invalid requests and drains the server', async () => {
  const server = await start({ bundles: folder, adminPort: '0' });
  await admin(server, 'POST', '/bundles/activate', { bundle: names[1] });
  await admin(server, 'POST', '/bundles/activate', { bundle: names[0] });
  const { body } = await admin(server, 'GET', '/bundles');
  assert.equal((body['active'] as { name: string }).name, names[0]);
  assert.equal((body['previous'] as { name: string }).name, names[1]);
  assert.deepEqual((body['published'] as string[]).toSorted(), names.toSorted());
  assert.deepEqual((body['history'] as string[]).slice(0, 2), [names[0], names[1]]);

  const { directory } = await publishTinyBundle(folder, { items: 120, seed: 3 });
  appendFileSync(join(directory, 'index.bin'), 'x');
  const damaged = await admin(server, 'POST', '/bundles/activate', { bundle: basename(directory) });
  assert.equal(damaged.status, 422);
  assert.match(JSON.stringify(damaged.body), /index\.bin/);
  for (const [bundle, status] of [
    ['nobody', 404],
    ['..', 404],
    [7, 400],
  ] as const)
    assert.equal((await admin(server, 'POST', '/bundles/activate', { bundle })).status, status);
  assert.equal((await admin(server, 'GET', '/nothing')).status, 404);
  assert.equal((await admin(server, 'PUT', '/log-level', { level: 'loud' })).status, 400);

  const ready = (): Promise<Response> => fetch(`http://127.0.0.1:${server.port}/health/ready`);
  assert.equal((await ready()).status, 200);
  assert.equal((await admin(server, 'POST', '/drain')).status, 200);
  assert.equal((await ready()).status, 503);
  await ask(server, 'nobody');
  await stop(server);
});
