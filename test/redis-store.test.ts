// Tests a real Redis as the feature store: the conformance suite of stores, and a server whose
// Redis is killed, stopped or unreachable.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { inspect } from 'node:util';
import { Redis } from 'ioredis';
import { loadBundle } from '../src/bundle/load.ts';
import { resolveServerSettings } from '../src/config.ts';
import { encodeUsers } from '../src/encode/users.ts';
import type { TandemError } from '../src/errors.ts';
import type { EncoderId } from '../src/ids.ts';
import { packageRoot } from '../src/package-root.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { openStore } from '../src/store/open-store.ts';
import { RedisStore } from '../src/store/redis-store.ts';
import { newStateBatch } from '../src/store/state-batch.ts';
import type { StateStore } from '../src/store/store.ts';
import { runCli, spawnCli } from './support/cli.ts';
import { FORM } from './support/form.ts';
import { freePort, noRedis, startRedis, stopRedis } from './support/redis.ts';
import { makeShop, shopDataset } from './support/shop.ts';
import { storeConformance, userId, userState } from './support/store-conformance.ts';
import { until } from './support/until.ts';

const RECOVERY_MS = { quick: 60_000, long: 5000 }[FORM];
const ENCODER = 'e'.repeat(64) as EncoderId;
const bundles = join(packageRoot(), 'models', 'tiny');
const dataset = shopDataset(makeShop({ items: 120, users: 30, seed: 8 }));

if (noRedis) it('Redis as the feature store', { skip: noRedis });
else {
  let port: number;
  let redis: ChildProcess;
  let database = 0;
  before(async () => {
    port = await freePort();
    redis = await startRedis(port);
  });
  after(() => stopRedis(redis));

  // Each store gets one of the sixteen databases.
  storeConformance('RedisStore', async () => {
    const url = `redis://127.0.0.1:${port}/${database++ % 16}`;
    const client = new Redis(url);
    await client.flushdb();
    client.disconnect();
    return RedisStore.open(url, 2000);
  });

  describe('RedisStore', () => {
    const one = [{ user: userId('a'), state: userState(7) }];
    const read = async (store: StateStore): Promise<number> => {
      const batch = newStateBatch(1, 4);
      await store.read(ENCODER, [userId('a')], batch);
      return batch.states[0]!;
    };
    const location = (parameters = '', login = ''): string =>
      `redis://${login}127.0.0.1:${port}/15${parameters}`;
    /** Opens a store with one user, uses it, and closes it. */
    async function withStore(
      timeoutMs: number,
      body: (store: RedisStore) => Promise<void>,
    ): Promise<void> {
      const store = await RedisStore.open(location(), timeoutMs);
      try {
        await store.write(ENCODER, one);
        await body(store);
      } finally {
        await store.close();
      }
    }

    it('does not mistake a busy event loop for a slow Redis', () =>
      withStore(300, async (store) => {
        const answer = read(store);
        // Redis answers while the loop is blocked.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
        assert.equal(await answer, 7);
      }));

    it('tries again at once after one outage, even if several reads failed in it', () =>
      withStore(500, async (store) => {
        redis.kill('SIGSTOP');
        try {
          const met = await Promise.allSettled([1, 2, 3, 4].map(() => read(store)));
          assert.deepEqual(new Set(met.map(({ status }) => status)), new Set(['rejected']));
        } finally {
          redis.kill('SIGCONT');
        }
        assert.equal(await read(store), 7);
      }));

    it('separates data of different prefixes', async () => {
      const stores = await Promise.all(
        ['?prefix=a', '?prefix=b', '?prefix=*'].map((prefix) =>
          RedisStore.open(location(prefix), 2000),
        ),
      );
      await stores[0]!.write(ENCODER, one);
      assert.deepEqual(await Promise.all(stores.map((store) => store.count(ENCODER))), [1, 0, 0]);
      await Promise.all(stores.map((store) => store.close()));
    });

    it('names the reason when it cannot connect', async () => {
      const store = await RedisStore.open(`redis://127.0.0.1:${await freePort()}`, 2000);
      await assert.rejects(read(store), { code: 'ERR_STORE_UNAVAILABLE', message: /ECONNREFUSED/ });
      await store.close();
    });

    it('refuses a database that Redis does not have, also after a reconnection', async () => {
      const wrong = `redis://127.0.0.1:${port}/99`;
      await assert.rejects(RedisStore.open(wrong, 2000), {
        code: 'ERR_CONFIG_INVALID',
        message: /99.*DB index is out of range.*"databases"/,
      });
      const empty = new Redis(`redis://127.0.0.1:${port}/0`);
      const size = await empty.dbsize();
      // A Redis that was down when the store was opened refuses the database later.
      const later = await freePort();
      const store = await RedisStore.open(`redis://127.0.0.1:${later}/99`, 2000);
      const late = await startRedis(later);
      const isRefused = (): Promise<boolean> =>
        store.writeItemChanges([{ item: 'a', atSeconds: 1 }]).then(
          () => false,
          (error: unknown) => /DB index/.test((error as Error).message),
        );
      await until('a refused database', isRefused);
      const client = new Redis(`redis://127.0.0.1:${later}/0`);
      assert.deepEqual([await client.dbsize(), await empty.dbsize()], [0, size]);
      client.disconnect();
      empty.disconnect();
      await store.close();
      await stopRedis(late);
    });

    it('names the reason and the remedy when Redis refuses a command', async () => {
      const client = new Redis(location());
      const write = async (): Promise<void> => {
        const store = await RedisStore.open(location(), 2000);
        await store.writeItemChanges([{ item: 'a', atSeconds: 1 }]).finally(() => store.close());
      };
      await client.replicaof('127.0.0.1', await freePort());
      await assert.rejects(write(), { message: /READONLY.*primary/ });
      await client.replicaof('NO', 'ONE');
      await client.config('SET', 'maxmemory', '1');
      await assert.rejects(write(), { message: /OOM.*maxmemory/ });
      await client.config('SET', 'maxmemory', '0');
      client.disconnect();
    });

    it('logs in, and reports a wrong password without showing it', async () => {
      const client = new Redis(location());
      await client.config('SET', 'requirepass', 'right one');
      try {
        const store = await RedisStore.open(location('', ':right%20one@'), 2000);
        await store.write(ENCODER, one);
        assert.equal(await read(store), 7);
        await store.close();
        const refused = await RedisStore.open(location('', ':mistaken@'), 2000);
        await assert.rejects(
          read(refused),
          (error: Error) =>
            /WRONGPASS/.test(error.message) && !inspect(error, { depth: 9 }).includes('mistaken'),
        );
        await refused.close();
      } finally {
        await client.config('SET', 'requirepass', '');
        client.disconnect();
      }
    });
  });

  it('a location that is neither a directory nor a Redis is rejected', () =>
    assert.rejects(openStore('http://me:hush@host/0'), (error: TandemError) => {
      assert.equal(error.code, 'ERR_CONFIG_INVALID');
      assert.doesNotMatch(error.message, /hush/);
      return true;
    }));

  describe('a server on Redis', () => {
    let proxy: Proxy;
    let server: RunningServer;
    const user = dataset.users.ids[3]!;

    before(async () => {
      proxy = await Proxy.to(port);
      const url = `redis://127.0.0.1:${proxy.port}/0`;
      const store = await openStore(url);
      const bundle = await loadBundle(bundles);
      const { encoded } = await encodeUsers({ bundle, dataset, store });
      assert.equal(encoded, dataset.users.count);
      // A second run encodes nobody.
      assert.equal((await encodeUsers({ bundle, dataset, store })).encoded, 0);
      await store.close();
      const { settings } = resolveServerSettings({
        flags: { bundles, store: url, port: 0, storeTimeoutMs: 100 },
      });
      server = await startServer(settings);
    });
    after(async () => {
      await server.close();
      await proxy.close();
    });

    async function ask(): Promise<{ state: string; degraded: string | undefined }> {
      const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
        method: 'POST',
        body: JSON.stringify({ user, surface: 'related', subject: { item: 'item-003' }, k: 5 }),
      });
      assert.equal(response.status, 200);
      const { state, degraded } = (await response.json()) as {
        state: { status: string };
        degraded: { mode: string; reason: string } | null;
      };
      if (degraded !== null) assert.equal(degraded.reason, 'store_unavailable');
      return { state: state.status, degraded: degraded?.mode };
    }

    /** Sends requests until an answer uses the user's state again. */
    async function recovers(): Promise<void> {
      await until('an answer', async () => (await ask()).degraded === undefined, RECOVERY_MS);
    }

    const outages: Record<string, { begin: () => unknown; end: () => unknown }> = {
      killed: {
        begin: () => stopRedis(redis),
        end: async () => {
          redis = await startRedis(port);
          const store = await openStore(`redis://127.0.0.1:${port}/0`);
          await encodeUsers({ bundle: await loadBundle(bundles), dataset, store });
          await store.close();
        },
      },
      stopped: { begin: () => redis.kill('SIGSTOP'), end: () => redis.kill('SIGCONT') },
      'out of reach': {
        begin: () => {
          proxy.swallows = true;
        },
        end: () => {
          proxy.swallows = false;
        },
      },
    };
    for (const [name, { begin, end }] of Object.entries(outages))
      it(`answers from context while Redis is ${name}, and recovers soon after`, async () => {
        await recovers();
        await begin();
        try {
          // The first requests may still wait for Redis; after these failures the server does not.
          for (let i = 0; i < 5; i++) await ask();
          for (let i = 0; i < 50; i++)
            assert.deepEqual(await ask(), { state: 'missing', degraded: 'context-only' });
          const { metrics } = await ourMetrics();
          assert.ok(metrics >= 50);
        } finally {
          await end();
        }
        await recovers();
        assert.deepEqual(await ask(), { state: 'fresh', degraded: undefined });
      });

    async function ourMetrics(): Promise<{ metrics: number }> {
      const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
      const found = /^tandem_store_requests_total\{outcome="store_unavailable"\} (\d+)$/m.exec(
        text,
      );
      return { metrics: Number(found?.[1] ?? 0) };
    }
  });

  it('a server starts without Redis and uses states as soon as Redis is up', async () => {
    const later = await freePort();
    const { settings } = resolveServerSettings({
      flags: { bundles, store: `redis://127.0.0.1:${later}`, port: 0, storeTimeoutMs: 100 },
    });
    const server = await startServer(settings);
    const status = async (): Promise<string> => {
      const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
        method: 'POST',
        body: JSON.stringify({ user: dataset.users.ids[1], surface: 'related' }),
      });
      assert.equal(response.status, 200);
      return ((await response.json()) as { state: { status: string } }).state.status;
    };
    assert.equal(await status(), 'missing');
    const late = await startRedis(later);
    const store = await openStore(`redis://127.0.0.1:${later}`);
    await encodeUsers({ bundle: await loadBundle(bundles), dataset, store });
    await store.close();
    await until('a history', async () => (await status()) === 'fresh', RECOVERY_MS);
    await server.close();
    await stopRedis(late);
  });
}

const SECRET = 'a-password-of-the-store';

it('the Redis password is never shown: not in logs, settings or error messages', async () => {
  const place = `redis://reader:${SECRET}@127.0.0.1:${await freePort()}/3`;
  const flags = ['--bundles', bundles, '--store', place, '--port', '0'];
  const settings = await runCli(['config', 'print', ...flags]);
  assert.match(settings.stdout, /redis:\/\/\*\*\*@127\.0\.0\.1/);
  const doctor = await runCli(['doctor', '--bundles', bundles, '--store', place]);
  const wrong = await runCli(['doctor', '--store', `redis://reader:${SECRET}@no host`]);
  const server = spawnCli(['serve', ...flags], { env: { TANDEM_LOG_LEVEL: 'info' } });
  let log = '';
  for await (const chunk of server.stderr!) {
    log += String(chunk);
    if (log.includes('"serving"')) break;
  }
  server.kill();
  assert.match(log, /Redis does not answer yet/);
  for (const { stdout, stderr } of [settings, doctor, wrong, { stdout: '', stderr: log }])
    assert.ok(!(stdout + stderr).includes(SECRET));
});

/** A TCP proxy that forwards bytes both ways, or drops them like a broken network. */
class Proxy {
  swallows = false;
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(port: number, server: Server, sockets: Set<Socket>) {
    this.port = port;
    this.#server = server;
    this.#sockets = sockets;
  }

  static async to(target: number): Promise<Proxy> {
    const sockets = new Set<Socket>();
    const server = createServer((client) => {
      const upstream = connect(target, '127.0.0.1');
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(from);
        from.on('data', (chunk) => {
          if (!proxy.swallows) to.write(chunk);
        });
        from.on('error', () => to.destroy());
        from.on('close', () => {
          sockets.delete(from);
          to.destroy();
        });
      }
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy: Proxy = new Proxy((server.address() as { port: number }).port, server, sockets);
    return proxy;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
