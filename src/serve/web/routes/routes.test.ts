// The table of routes, the document and the server agree: on paths, methods and roles. The expected
// table is written out here, so that nobody opens a route by accident.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { publishTinyBundle, tinyItem } from '../../../../test/support/tiny-bundle.ts';
import { resolveServerSettings } from '../../../config.ts';
import { MemoryStore } from '../../../store/memory-store.ts';
import { ROLES, newKey, writeKeyFile, type Role } from '../../admission/key-file.ts';
import { startServer, type RunningServer } from '../../process/server.ts';
import { ROUTES } from './routes.ts';

type Access = Role | 'open';

/** Method, path, role, and how many requests a call counts as in admission control. */
const EXPECTED = [
  'POST /v1/candidates: candidates, one',
  'POST /v1/candidates:batch: candidates, entries',
  'POST /v1/embeddings: candidates, one',
  'POST /v1/score: candidates, one',
  'POST /v1/events: ingest, entries',
  'PUT /v1/items: ingest, entries',
  'DELETE /v1/items: ingest, entries',
  'GET /v1/items/{id}: candidates, none',
  'GET /v1/stream: candidates, none',
  'GET /health/live: open, none',
  'GET /health/ready: open, none',
  'GET /metrics: metrics, none',
  'GET /openapi.json: open, none',
  'GET /version: metrics, none',
  'GET /v2: candidates, none',
  'GET /v2/health/live: open, none',
  'GET /v2/health/ready: open, none',
  'GET /v2/models/tandem: candidates, none',
  'GET /v2/models/tandem/ready: open, none',
  'POST /v2/models/tandem/infer: candidates, entries',
];

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'];
const STREAM = '/v1/stream';
const folder = mkdtempSync(join(tmpdir(), 'tandem-routes-'));
const keyFile = join(folder, 'keys.json');
const made = ROLES.map((role) => newKey({ name: role, role }));
const keyOf = new Map(made.map(({ key, record }) => [record.role, key]));

interface OpenApi {
  readonly paths: Record<
    string,
    Record<string, { readonly operationId: string; readonly security: object[] }>
  >;
}

/** Roles by method and path, as the document has them. */
function accessIn({ paths }: OpenApi): Map<string, Map<string, Access>> {
  const access = new Map<string, Map<string, Access>>();
  for (const [path, operations] of Object.entries(paths)) {
    const methods = new Map<string, Access>();
    for (const [method, { security }] of Object.entries(operations)) {
      if (security.length === 0) methods.set(method.toUpperCase(), 'open');
      else {
        const [needed, none] = security as [{ apiKey: [Role] }, object];
        assert.deepEqual(none, {});
        methods.set(method.toUpperCase(), needed.apiKey[0]);
      }
    }
    access.set(path, methods);
  }
  return access;
}

describe('routes', () => {
  let server: RunningServer;
  let base: string;
  let access: ReturnType<typeof accessIn>;
  let document: OpenApi;

  before(async () => {
    await publishTinyBundle(folder, { items: 20 });
    writeKeyFile(
      keyFile,
      made.map(({ record }) => record),
    );
    const { settings } = resolveServerSettings({
      flags: {
        bundles: folder,
        store: 'unused',
        port: '0',
        transport: 'node',
        keys: keyFile,
        freshEvents: 'on',
        freshItems: 'on',
      },
    });
    server = await startServer(settings, new MemoryStore());
    base = `http://127.0.0.1:${server.port}`;
    document = (await (await fetch(`${base}/openapi.json`)).json()) as OpenApi;
    access = accessIn(document);
  });
  after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });

  function ask(method: string, path: string, key?: string): Promise<Response> {
    return fetch(`${base}${path.replace('{id}', tinyItem(0).id)}`, {
      method,
      headers: key === undefined ? {} : { Authorization: `Bearer ${key}` },
      ...(method !== 'GET' && method !== 'HEAD' && { body: '{}' }),
    });
  }

  async function upgradeStatus(key?: string): Promise<number> {
    const headers = key === undefined ? {} : { Authorization: `Bearer ${key}` };
    const socket = new WebSocket(base.replace('http', 'ws') + STREAM, { headers });
    return new Promise((resolve, reject) => {
      socket.on('open', () => {
        socket.close();
        resolve(101);
      });
      socket.on('unexpected-response', (_request, response) => {
        response.resume();
        resolve(response.statusCode!);
      });
      socket.on('error', reject);
    });
  }

  it('are those of the expected table', () => {
    const table = ROUTES.map(({ method, path, role, admits }) => {
      return `${method} ${path}: ${role}, ${admits}`;
    });
    assert.deepEqual(table, EXPECTED);
  });

  it('are in the document with their roles, and the document has no other', () => {
    const documented = [...access].flatMap(([path, methods]) =>
      Array.from(methods, ([method, role]) => `${method} ${path}: ${role}`),
    );
    assert.deepEqual(
      documented,
      EXPECTED.map((row) => row.split(',')[0]!),
    );
    const ids = Object.values(document.paths).flatMap((operations) =>
      Object.values(operations).map(({ operationId }) => operationId),
    );
    assert.equal(new Set(ids).size, EXPECTED.length);
  });

  it('answer documented methods, and refuse all others with those that are allowed', async () => {
    for (const [path, methods] of access)
      for (const method of METHODS) {
        const response = await ask(method, path, keyOf.get('admin'));
        await response.arrayBuffer();
        const name = `${method} ${path}`;
        if (methods.has(method === 'HEAD' ? 'GET' : method)) {
          assert.ok(![401, 403, 404, 405].includes(response.status), `${name} ${response.status}`);
          continue;
        }
        const allowed = [...methods.keys()];
        if (method === 'OPTIONS') {
          assert.equal(response.status, 200, name);
          if (methods.has('GET')) allowed.push('HEAD');
          allowed.push('OPTIONS');
        } else assert.equal(response.status, 405, name);
        assert.equal(response.headers.get('allow'), allowed.join(', '), name);
      }
  });

  it('ask for the documented role, and let admins pass', async () => {
    for (const [path, methods] of access)
      for (const [method, role] of methods) {
        const name = `${method} ${path}`;
        const statusOf = async (key?: string): Promise<number> => {
          if (path === STREAM) return upgradeStatus(key);
          const response = await ask(method, path, key);
          await response.arrayBuffer();
          return response.status;
        };
        const without = await statusOf();
        if (role === 'open') assert.ok(![401, 403].includes(without), name);
        else assert.equal(without, 401, name);
        for (const [other, key] of keyOf) {
          const status = await statusOf(key);
          if (role === 'open' || other === role || other === 'admin')
            assert.ok(![401, 403].includes(status), `${name} as ${other}`);
          else assert.equal(status, 403, `${name} as ${other}`);
        }
      }
  });

  it('at the path of the stream need no key to say that an upgrade is expected', async () => {
    assert.equal((await ask('GET', STREAM)).status, 400);
  });

  it('are the labels of metrics, with "other" for unknown paths', async () => {
    for (const path of ['/', '/v1', '/v1/candidates/', '/v2/models/other', '/v1/Candidates'])
      assert.equal((await ask('GET', path)).status, 404, path);
    const text = await (await ask('GET', '/metrics', keyOf.get('metrics'))).text();
    const labels = text.matchAll(/^tandem_http_request_\w+_count\{route="([^"]+)"/gm);
    const expected = [...access.keys(), 'other'].sort();
    assert.deepEqual([...new Set(Array.from(labels, ([, route]) => route!))].sort(), expected);
  });
});
