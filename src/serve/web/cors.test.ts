// CORS over real sockets, on both transports, with API keys.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { publishTinyBundle } from '../../../test/support/tiny-bundle.ts';
import { resolveServerSettings } from '../../config.ts';
import type { EncoderId, UserId } from '../../ids.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import type { StateBatch } from '../../store/state-batch.ts';
import { newKey, writeKeyFile } from '../admission/key-file.ts';
import { startServer, type RunningServer } from '../process/server.ts';
import { findUws } from './uws-binary.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-cors-'));
const keyFile = join(folder, 'keys.json');
const { key, record } = newKey({ name: 'web', role: 'candidates' });
const SHOP = 'https://shop.example';
const OTHER = 'https://other.example';
const ASK = JSON.stringify({ user: 'u', surface: 'related', k: 3 });
const uws = findUws();

/** A store whose reads wait for `gate`. */
class SlowStore extends MemoryStore {
  gate: Promise<void> | undefined;
  waiting = 0;

  override read(encoderId: EncoderId, users: readonly UserId[], out: StateBatch): void {
    if (this.gate === undefined) {
      super.read(encoderId, users, out);
      return;
    }
    this.waiting++;
    // MemoryStore reads at once, and the interface allows a promise.
    return this.gate.then(() => {
      super.read(encoderId, users, out);
    }) as unknown as undefined;
  }
}

before(async () => {
  await publishTinyBundle(folder, { items: 50 });
  writeKeyFile(keyFile, [record]);
});
after(() => {
  rmSync(folder, { recursive: true });
});

function settingsOf(flags: Record<string, string>): ReturnType<typeof resolveServerSettings> {
  return resolveServerSettings({
    flags: { bundles: folder, store: join(folder, 'unused'), port: '0', ...flags },
  });
}

for (const transport of ['uws', 'node'] as const)
  describe(
    `CORS on ${transport}`,
    { skip: transport === 'uws' && uws.uws === undefined && uws.reason },
    () => {
      const servers: RunningServer[] = [];
      after(() => Promise.all(servers.map((server) => server.close())));

      async function start(
        flags: Record<string, string>,
        store = new MemoryStore(),
      ): Promise<string> {
        const { settings } = settingsOf({ transport, ...flags });
        const server = await startServer(settings, store);
        servers.push(server);
        return `http://127.0.0.1:${server.port}`;
      }

      const preflight = (
        base: string,
        origin: string,
        path = '/v1/candidates',
      ): Promise<Response> =>
        fetch(base + path, {
          method: 'OPTIONS',
          headers: {
            Origin: origin,
            'Access-Control-Request-Method': 'POST',
            'Access-Control-Request-Headers': 'authorization,content-type',
          },
        });
      const ask = (base: string, origin?: string, apiKey = key, body = ASK): Promise<Response> =>
        fetch(`${base}/v1/candidates`, {
          method: 'POST',
          body,
          headers: { ...(origin && { Origin: origin }), Authorization: `Bearer ${apiKey}` },
        });

      it('is off by default, and OPTIONS names the methods of a path', async () => {
        const base = await start({});
        const options = await preflight(base, SHOP);
        assert.equal(options.status, 200);
        assert.equal(options.headers.get('allow'), 'POST, OPTIONS');
        assert.equal(options.headers.get('content-length'), '0');
        for (const response of [options, await ask(base, SHOP)]) {
          assert.equal(response.headers.get('access-control-allow-origin'), null);
          assert.equal(response.headers.get('access-control-allow-methods'), null);
          assert.equal(response.headers.get('vary'), null);
        }
        assert.equal((await preflight(base, SHOP, '/nothing')).status, 404);
        const live = await preflight(base, SHOP, '/health/live');
        assert.equal(live.headers.get('allow'), 'GET, HEAD, OPTIONS');
      });

      it('lets the pages of listed origins ask, with an API key', async () => {
        const base = await start({ keys: keyFile, corsOrigins: `${SHOP}, http://localhost:3000` });
        for (const origin of [SHOP, 'http://localhost:3000']) {
          const options = await preflight(base, origin);
          assert.equal(options.status, 200);
          assert.equal(options.headers.get('access-control-allow-origin'), origin);
          assert.equal(options.headers.get('access-control-allow-methods'), 'POST, OPTIONS');
          const allowed = options.headers.get('access-control-allow-headers')!.toLowerCase();
          for (const name of ['authorization', 'content-type', 'x-request-timeout-ms'])
            assert.ok(allowed.split(', ').includes(name), name);
          assert.match(options.headers.get('access-control-max-age')!, /^[0-9]+$/);
          const answer = await ask(base, origin);
          assert.equal(answer.status, 200);
          assert.equal(answer.headers.get('access-control-allow-origin'), origin);
          assert.match(answer.headers.get('access-control-expose-headers')!, /X-Request-Id/);
          assert.equal(answer.headers.get('access-control-allow-methods'), null);
          assert.equal(answer.headers.get('vary'), 'Origin');
        }
      });

      it('shows errors to the pages of listed origins', async () => {
        const base = await start({ keys: keyFile, corsOrigins: SHOP });
        const errors: [number, Promise<Response>][] = [
          [401, ask(base, SHOP, 'wrong')],
          [400, ask(base, SHOP, key, '{}')],
          [404, preflight(base, SHOP, '/nothing')],
          [405, fetch(`${base}/v1/candidates`, { headers: { Origin: SHOP } })],
        ];
        for (const [status, answer] of errors) {
          const response = await answer;
          assert.equal(response.status, status);
          assert.equal(response.headers.get('access-control-allow-origin'), SHOP);
        }
      });

      it('shows refusals at the headers to the pages of listed origins', async () => {
        const store = new SlowStore();
        const full = await start({ corsOrigins: SHOP, maxQueue: '1' }, store);
        let release = (): void => undefined;
        store.gate = new Promise((resolve) => {
          release = resolve;
        });
        const first = ask(full, SHOP);
        while (store.waiting === 0) await sleep(5);
        const refused = await ask(full, SHOP);
        assert.equal(refused.status, 503);
        assert.equal(refused.headers.get('access-control-allow-origin'), SHOP);
        assert.equal(refused.headers.get('vary'), 'Origin');
        release();
        assert.equal((await first).status, 200);
      });

      it('answers other origins and programs without the headers for browsers', async () => {
        const base = await start({ corsOrigins: SHOP });
        for (const origin of [OTHER, `${SHOP}.evil.example`, 'null', undefined]) {
          const answer = await ask(base, origin);
          assert.equal(answer.status, 200);
          assert.equal(answer.headers.get('access-control-allow-origin'), null);
          assert.equal(answer.headers.get('vary'), 'Origin');
        }
        const options = await preflight(base, OTHER);
        assert.equal(options.headers.get('access-control-allow-methods'), null);
      });

      it('lets every origin ask with *', async () => {
        const base = await start({ corsOrigins: '*' });
        const answer = await ask(base, OTHER);
        assert.equal(answer.headers.get('access-control-allow-origin'), '*');
        assert.equal(answer.headers.get('vary'), null);
        assert.equal((await ask(base)).headers.get('access-control-allow-origin'), null);
      });
    },
  );

describe('setting corsOrigins', () => {
  it('accepts origins as browsers write them, and nothing else', () => {
    for (const origins of ['*', SHOP, 'http://localhost:3000', `${SHOP}, ${OTHER}`])
      assert.equal(settingsOf({ corsOrigins: origins }).settings.corsOrigins, origins);
    for (const origins of [`${SHOP}/`, 'shop.example', '*.shop.example', `${SHOP},`, `*,${SHOP}`])
      assert.throws(() => settingsOf({ corsOrigins: origins }), {
        code: 'ERR_CONFIG_INVALID',
        message: /each must be an origin such as https:\/\/shop\.example, without a path/,
      });
  });
});
