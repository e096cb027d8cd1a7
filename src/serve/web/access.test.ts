// Keys, rates, deadlines and TLS over real sockets, on both transports.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, mock } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { publishTinyBundle } from '../../../test/support/tiny-bundle.ts';
import { resolveServerSettings } from '../../config.ts';
import { TandemError } from '../../errors.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import { logger } from '../../telemetry.ts';
import { newKey, writeKeyFile } from '../admission/key-file.ts';
import { startServer, type RunningServer } from '../process/server.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-access-'));
const keyFile = join(folder, 'keys.json');
/** Key files are checked every second. */
const MAX_NOTICE_MS = 60_000;
const ASK = { user: 'u', surface: 'related', k: 3 };
const web = newKey({ name: 'web', role: 'candidates' });
const slow = newKey({ name: 'slow', role: 'candidates', requestsPerSecond: 0.1, burst: 2 });
const monitor = newKey({ name: 'monitor', role: 'metrics' });
const chief = newKey({ name: 'chief', role: 'admin' });

before(async () => {
  await publishTinyBundle(folder, { items: 50 });
  for (const name of ['a', 'b']) makeCertificate(name);
});
after(() => {
  rmSync(folder, { recursive: true });
});

for (const transport of ['uws', 'node'] as const) {
  describe(`access on ${transport}`, () => {
    let server: RunningServer;

    before(async () => {
      writeKeyFile(keyFile, [web.record, slow.record, monitor.record]);
      server = await start(transport, { keys: keyFile });
    });
    after(() => server.close());

    const call = (
      path: string,
      key?: string,
      body?: unknown,
      headers: Record<string, string> = {},
    ): Promise<Response> =>
      fetch(`http://127.0.0.1:${server.port}${path}`, {
        ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
        headers: { ...headers, ...(key !== undefined && { Authorization: `Bearer ${key}` }) },
      });

    it('demands a key with the right role', async () => {
      const without = await call('/v1/candidates', undefined, ASK);
      assert.equal(without.status, 401);
      assert.equal(without.headers.get('www-authenticate'), 'Bearer');
      assert.equal((await call('/v1/candidates', `${web.key}x`, ASK)).status, 401);
      assert.equal((await call('/v1/candidates', monitor.key, ASK)).status, 403);
      assert.equal((await call('/v1/candidates', web.key, ASK)).status, 200);
      assert.equal((await call('/metrics')).status, 401);
      assert.equal((await call('/metrics', web.key)).status, 403);
      assert.equal((await call('/metrics', monitor.key)).status, 200);
      for (const path of ['/health/live', '/health/ready', '/openapi.json'])
        assert.equal((await call(path)).status, 200, path);
    });

    it('warns when others reach the address and no key is needed', async () => {
      const warn = mock.method(logger, 'warn', () => undefined);
      const warned = async (flags: Record<string, string>): Promise<boolean> => {
        warn.mock.resetCalls();
        await (await start(transport, flags)).close();
        return warn.mock.calls.some((call) => /no API keys/.test(String(call.arguments)));
      };
      assert.equal(await warned({ host: '0.0.0.0' }), true);
      assert.equal(await warned({ host: '0.0.0.0', keys: keyFile }), false);
      assert.equal(await warned({ host: '127.0.0.1' }), false);
      warn.mock.restore();
    });

    it('opens the admin port to admins only', async () => {
      writeKeyFile(keyFile, [web.record, slow.record, monitor.record, chief.record]);
      const guarded = await start(transport, { keys: keyFile, adminPort: '0' });
      const list = async (key?: string): Promise<number> => {
        const headers = key === undefined ? {} : { Authorization: `Bearer ${key}` };
        return (await fetch(`http://127.0.0.1:${guarded.adminPort}/bundles`, { headers })).status;
      };
      assert.equal(await list(), 401);
      for (const { key } of [web, monitor]) assert.equal(await list(key), 403);
      assert.equal(await list(chief.key), 200);
      await guarded.close();
    });

    it('demands a key at the upgrade, and refuses subjects after the key was revoked', async () => {
      await assert.rejects(session(server.port), /401/);
      await assert.rejects(session(server.port, monitor.key), /403/);
      const ask = await session(server.port, web.key);
      assert.equal((await ask({ surface: 'related' }))['type'], 'candidates');
      writeKeyFile(keyFile, [slow.record, monitor.record]);
      server.reload();
      assert.equal(codeOf(await ask({ surface: 'related' })), 'ERR_UNAUTHENTICATED');
      writeKeyFile(keyFile, [web.record, slow.record, monitor.record]);
      server.reload();
    });

    it('reads a changed key file without a signal', async () => {
      const added = newKey({ name: 'added', role: 'candidates' });
      assert.equal((await call('/v1/candidates', added.key, ASK)).status, 401);
      writeKeyFile(keyFile, [web.record, slow.record, monitor.record, added.record]);
      const deadlineMs = performance.now() + MAX_NOTICE_MS;
      let status = 401;
      while (status === 401 && performance.now() < deadlineMs) {
        await sleep(100);
        ({ status } = await call('/v1/candidates', added.key, ASK));
      }
      assert.equal(status, 200);
    });

    it('limits a key to its rate, and says when to try again', async () => {
      const batch = { requests: [ASK, ASK, ASK] };
      assert.equal((await call('/v1/candidates:batch', slow.key, batch)).status, 200);
      const refused = await call('/v1/candidates', slow.key, ASK);
      assert.equal(refused.status, 429);
      // The batch of three overdrew the burst of two by one. Two tokens are missing, at 0.1 per s.
      const seconds = Number(refused.headers.get('retry-after'));
      assert.ok(seconds > 10 && seconds <= 20, String(seconds));
      const ask = await session(server.port, slow.key);
      assert.equal(codeOf(await ask({ surface: 'related' })), 'ERR_RATE_LIMITED');
      assert.equal((await call('/v1/candidates', web.key, ASK)).status, 200);
      const metrics = await (await call('/metrics', monitor.key)).text();
      assert.match(metrics, /^tandem_shed_requests_total\{reason="rate_limited"\} 2$/m);
      assert.match(metrics, /^tandem_concurrency_limit_requests [1-9]/m);
    });

    it('drops requests whose timeout has passed', async () => {
      // These fill several micro-batches, and the last one cannot start within a millisecond.
      const requests = Array.from({ length: 1024 }, () => ASK);
      const headers = { 'X-Request-Timeout-Ms': '1' };
      const response = await call('/v1/candidates:batch', web.key, { requests }, headers);
      const { results } = (await response.json()) as { results: Record<string, unknown>[] };
      assert.equal(codeOf(results.at(-1)!), 'ERR_DEADLINE_EXCEEDED');
      for (const value of ['0', '1.5', 'soon', '600001']) {
        const wrong = await call('/v1/candidates', web.key, ASK, { 'X-Request-Timeout-Ms': value });
        assert.equal(wrong.status, 400, value);
      }
      const patient = { 'X-Request-Timeout-Ms': '600000' };
      assert.equal((await call('/v1/candidates', web.key, ASK, patient)).status, 200);
      const ask = await session(server.port, web.key);
      assert.equal((await ask({ surface: 'related', timeout_ms: 9000 }))['type'], 'candidates');
      assert.equal(codeOf(await ask({ surface: 'related', timeout_ms: 0 })), 'ERR_INVALID_REQUEST');
    });
  });

  describe(`TLS on ${transport}`, () => {
    it('serves requests and WebSockets over TLS, and nothing without TLS', async () => {
      const server = await start(transport, { tlsCert: pem('a.cert'), tlsKey: pem('a.key') });
      const ca = readFileSync(pem('a.cert'));
      const status = await new Promise((resolve, reject) => {
        const options = { port: server.port, path: '/v1/candidates', method: 'POST', ca };
        request(options, (response) => {
          response.resume();
          resolve(response.statusCode);
        })
          .on('error', reject)
          .end(JSON.stringify(ASK));
      });
      assert.equal(status, 200);
      const ask = await session(server.port, undefined, ca);
      assert.equal((await ask({ surface: 'related' }))['type'], 'candidates');
      await assert.rejects(fetch(`http://127.0.0.1:${server.port}/health/live`));
      await server.close();
    });

    it('does not start with files that are missing or do not belong together', async () => {
      for (const flags of [
        { tlsCert: pem('a.cert') },
        { tlsKey: pem('a.key') },
        { tlsCert: pem('none'), tlsKey: pem('a.key') },
        { tlsCert: pem('a.cert'), tlsKey: pem('b.key') },
        { tlsCert: pem('a.key'), tlsKey: pem('a.key') },
      ])
        await assert.rejects(
          start(transport, flags),
          (error) => error instanceof TandemError && error.code === 'ERR_CONFIG_INVALID',
        );
    });
  });
}

function start(transport: string, flags: Record<string, string>): Promise<RunningServer> {
  const fixed = { bundles: folder, store: 'unused', port: '0', transport };
  const { settings } = resolveServerSettings({ flags: { ...fixed, ...flags } });
  return startServer(settings, new MemoryStore());
}

/** Opens a session; the returned function sends a subject and waits for its frame. */
async function session(
  port: number,
  key?: string,
  ca?: Buffer,
): Promise<(subject: object) => Promise<Record<string, unknown>>> {
  const host = ca === undefined ? 'ws://127.0.0.1' : 'wss://localhost';
  const client = new WebSocket(`${host}:${port}/v1/stream`, {
    ...(ca !== undefined && { ca }),
    headers: key === undefined ? {} : { Authorization: `Bearer ${key}` },
  });
  const next = (): Promise<Record<string, unknown>> =>
    new Promise((resolve) => {
      client.once('message', (data) => {
        resolve(JSON.parse((data as Buffer).toString('utf8')) as Record<string, unknown>);
      });
    });
  await new Promise((resolve, reject) => {
    client.on('open', resolve);
    client.on('error', reject);
  });
  const greeted = next();
  client.send(JSON.stringify({ type: 'hello', user: 'u', k: 3 }));
  await greeted;
  return (subject) => {
    const answered = next();
    client.send(JSON.stringify({ type: 'subject', id: 1, ...subject }));
    return answered;
  };
}

function codeOf(answer: Record<string, unknown>): string | undefined {
  return (answer['error'] as { code: string } | undefined)?.code;
}

function pem(name: string): string {
  return join(folder, `${name}.pem`);
}

function makeCertificate(name: string): void {
  const options =
    '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost';
  const more = ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const out = ['-keyout', pem(`${name}.key`), '-out', pem(`${name}.cert`)];
  execFileSync('openssl', ['req', ...options.split(' '), ...more, ...out], { stdio: 'ignore' });
}
