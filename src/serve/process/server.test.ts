// The whole server over real sockets, on both transports, with a bundle of random weights.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import { FORM } from '../../../test/support/form.ts';
import { TINY_CATEGORIES, publishTinyBundle, tinyItem } from '../../../test/support/tiny-bundle.ts';
import { until } from '../../../test/support/until.ts';
import { loadBundle, type Bundle } from '../../bundle/load.ts';
import { resolveServerSettings } from '../../config.ts';
import { TandemError } from '../../errors.ts';
import type { EncoderId, UserId } from '../../ids.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import type { StateBatch } from '../../store/state-batch.ts';
import { startServer, type RunningServer } from './server.ts';

interface Body {
  readonly request_id: string;
  readonly state: { readonly status: string; readonly age_seconds: number | null };
  readonly degraded: { readonly mode: string; readonly reason: string } | null;
  readonly plan: string;
  readonly truncated: boolean;
  readonly ignored?: readonly string[];
  readonly explain?: { readonly batch_size: number; readonly stages_ms: Record<string, number> };
  readonly candidates: readonly {
    readonly item: string;
    readonly score: number;
    readonly title?: string;
    readonly shared_categories?: readonly string[];
  }[];
}

interface ErrorBody {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly field: string | null;
  };
}

const ITEMS = 200;
const ASK = { user: 'fresh', surface: 'related', subject: { item: tinyItem(3).id }, k: 10 };
const folder = mkdtempSync(join(tmpdir(), 'tandem-serve-'));
let bundle: Bundle;

before(async () => {
  await publishTinyBundle(folder, { items: ITEMS });
  bundle = await loadBundle(folder);
});
after(() => {
  rmSync(folder, { recursive: true });
});

/** A store whose reads can be made to fail or to wait. */
class TestStore extends MemoryStore {
  failure: Error | undefined;
  gate: Promise<void> | undefined;
  reads = 0;

  override read(encoderId: EncoderId, users: readonly UserId[], out: StateBatch): void {
    this.reads++;
    if (this.failure !== undefined) throw this.failure;
    if (this.gate === undefined) super.read(encoderId, users, out);
    // MemoryStore reads at once, and the interface allows a promise: this is a slow store in its
    // place.
    else return this.#readLater(this.gate, encoderId, users, out) as unknown as undefined;
  }

  async #readLater(
    gate: Promise<void>,
    encoderId: EncoderId,
    users: readonly UserId[],
    out: StateBatch,
  ): Promise<void> {
    await gate;
    super.read(encoderId, users, out);
  }
}

async function start(
  transport: 'uws' | 'node',
  store: MemoryStore,
  flags: Record<string, string> = {},
): Promise<RunningServer & { readonly base: string }> {
  const { settings } = resolveServerSettings({
    flags: { bundles: folder, store: join(folder, 'unused'), port: '0', transport, ...flags },
  });
  const server = await startServer(settings, store);
  return { ...server, base: `http://127.0.0.1:${server.port}` };
}

async function filledStore(): Promise<TestStore> {
  const store = new TestStore();
  const nowSeconds = Date.now() / 1000;
  const state = new Float32Array(bundle.manifest.model.embeddingWidth).map((_, i) =>
    Math.sin(i + 1),
  );
  const entry = (user: string, ageSeconds: number): Parameters<TestStore['write']>[1][number] => ({
    user: user as UserId,
    state: {
      state,
      dimensions: state.length,
      type: 'f32',
      // Years ago, where stateAge() has stopped growing: the same request then gives the same score
      // every time.
      lastEventSeconds: nowSeconds - 1e8,
      encodedAtSeconds: nowSeconds - ageSeconds,
    },
  });
  await store.write(bundle.manifest.encoderId as EncoderId, [
    entry('fresh', 3600),
    entry('stale', 100 * 3600),
  ]);
  return store;
}

for (const transport of ['uws', 'node'] as const)
  describe(`server on ${transport}`, () => {
    let server: RunningServer & { readonly base: string };
    let store: TestStore;

    before(async () => {
      store = await filledStore();
      server = await start(transport, store);
    });
    after(() => server.close());

    const post = async (
      body: unknown,
      path = '/v1/candidates',
      headers: Record<string, string> = {},
    ): Promise<{ status: number; headers: Headers; body: Body & ErrorBody }> => {
      const response = await fetch(`${server.base}${path}`, {
        method: 'POST',
        headers,
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
      return {
        status: response.status,
        headers: response.headers,
        body: (await response.json()) as Body & ErrorBody,
      };
    };

    it('answers with k candidates, best first, without the subject', async () => {
      const { status, body, headers } = await post(ASK);
      assert.equal(status, 200);
      assert.equal(body.candidates.length, 10);
      assert.equal(body.truncated, false);
      assert.equal(body.degraded, null);
      assert.equal(body.plan, 'exact');
      assert.equal(body.state.status, 'fresh');
      assert.ok(Math.abs(body.state.age_seconds! - 3600) < 60);
      const scores = body.candidates.map(({ score }) => score);
      assert.deepEqual(
        scores,
        scores.toSorted((a, b) => b - a),
      );
      assert.ok(body.candidates.every(({ item }) => item !== ASK.subject.item));
      assert.equal(headers.get('content-type'), 'application/json');
      assert.match(headers.get('server-timing') ?? '', /^parse;dur=[\d.]+, queue;.* retrieve;dur=/);
    });

    it('tells fresh, stale and missing states apart', async () => {
      assert.equal((await post({ ...ASK, user: 'stale' })).body.state.status, 'stale');
      const { body } = await post({ ...ASK, user: 'nobody' });
      assert.deepEqual(body.state, { status: 'missing', age_seconds: null });
      assert.equal(body.degraded, null);
    });

    it('uses history, subject and demographics', async () => {
      const asks = [
        ASK,
        { ...ASK, user: 'nobody' },
        { ...ASK, subject: { query: 'red shoes' } },
        { ...ASK, subject: { interests: [{ category: 'music', confidence: 0.9 }] } },
        { ...ASK, subject: undefined },
        { ...ASK, demographics: { age: 70, country: 'US', gender: 'm' } },
      ];
      const answers = await Promise.all(
        asks.map(async (ask) => JSON.stringify((await post(ask)).body.candidates)),
      );
      assert.equal(new Set(answers).size, asks.length);
    });

    it('gives the same answer alone and in a micro-batch', async () => {
      const asks = Array.from({ length: 40 }, (_, i) => ({
        ...ASK,
        user: i % 2 === 0 ? 'fresh' : `nobody-${i}`,
        subject: { item: tinyItem(i).id },
        k: i % 3 === 0 ? 5 : 10,
      }));
      const alone = [];
      for (const ask of asks) alone.push((await post(ask)).body.candidates);
      const { body } = await post({ requests: asks }, '/v1/candidates:batch');
      const { results } = body as unknown as { results: Body[] };
      assert.deepEqual(
        results.map(({ candidates }) => candidates),
        alone,
      );
    });

    it('explains on request', async () => {
      const { body } = await post({ ...ASK, explain: true });
      assert.ok(body.explain!.batch_size >= 1);
      assert.ok(body.explain!.stages_ms['retrieve']! >= 0);
      const subjectCategories = tinyItem(3).categories.map((row) => TINY_CATEGORIES[row]!);
      for (const { item, title, shared_categories: shared } of body.candidates) {
        const i = Number(item.slice('item-'.length));
        assert.equal(title, tinyItem(i).title);
        const expected = tinyItem(i).categories.map((row) => TINY_CATEGORIES[row]!);
        assert.deepEqual(
          [...shared!].sort(),
          expected.filter((category) => subjectCategories.includes(category)).sort(),
        );
      }
    });

    it('fills k from what passes a filter, and says when less passes', async () => {
      const filter = { countries: ['DE'], advertisers: { in: ['acme', 'globex'] }, max_price: 120 };
      const passing = Array.from({ length: ITEMS }, (_, i) => tinyItem(i)).filter(
        ({ id, advertiser, price, countries }) =>
          id !== ASK.subject.item &&
          (advertiser === 'acme' || advertiser === 'globex') &&
          price <= 120 &&
          (countries.length === 0 || countries.includes('DE')),
      );
      const all = (await post({ ...ASK, filter, k: 1000 })).body;
      assert.deepEqual(
        all.candidates.map(({ item }) => item).sort(),
        passing.map(({ id }) => id).sort(),
      );
      assert.equal(all.truncated, true);
      const some = (await post({ ...ASK, filter, k: 7 })).body;
      assert.deepEqual(some.candidates, all.candidates.slice(0, 7));
      assert.equal(some.truncated, false);

      const excluded = all.candidates.slice(0, 5).map(({ item }) => item);
      const rest = await post({
        ...ASK,
        filter: { ...filter, exclude_items: [...excluded, 'unknown'] },
        k: 7,
      });
      assert.deepEqual(rest.body.candidates, all.candidates.slice(5, 12));
      const none = await post({ ...ASK, filter: { advertisers: { in: [] } } });
      assert.deepEqual(none.body.candidates, []);
      assert.equal(none.body.truncated, true);
    });

    it('names the field and the nearest name of an unknown one', async () => {
      const wrong = await post({ ...ASK, filter: { advertiser: { in: [] } } });
      assert.equal(wrong.status, 400);
      assert.equal(wrong.body.error.code, 'ERR_INVALID_REQUEST');
      assert.equal(wrong.body.error.field, 'filter.advertiser');
      assert.match(wrong.body.error.message, /Did you mean "advertisers"\?/);
      assert.equal((await post({ ...ASK, k: 1001 })).body.error.field, 'k');
      assert.equal((await post({ ...ASK, k: 0 })).status, 400);
      assert.equal((await post('{')).status, 400);
      assert.equal((await post('')).status, 400);
    });

    it('says that it takes no compressed body, whatever it is asked', async () => {
      const send = (path: string, encoding: string, body: string | Uint8Array): Promise<Response> =>
        fetch(`${server.base}${path}`, {
          method: 'POST',
          body,
          headers: { 'Content-Encoding': encoding },
        });
      const compressed = gzipSync(JSON.stringify(ASK));
      for (const path of ['/v1/candidates', '/v1/candidates:batch', '/v2/models/tandem/infer']) {
        const response = await send(path, 'gzip', compressed);
        assert.equal(response.status, 400, path);
        assert.match(await response.text(), /Content-Encoding: gzip. Send it uncompressed/);
      }
      assert.equal((await send('/v1/candidates', 'identity', JSON.stringify(ASK))).status, 200);
    });

    it('answers 404, 405 and 413 as the error table says', async () => {
      const unknown = await post({ ...ASK, subject: { item: 'nothing' } });
      assert.equal(unknown.status, 404);
      assert.equal(unknown.body.error.code, 'ERR_UNKNOWN_ITEM');
      assert.equal(unknown.body.error.field, 'subject.item');
      const path = await post(ASK, '/v1/candidate');
      assert.equal(path.status, 404);
      assert.match(path.body.error.message, /\/v1\/candidates\?/);
      const method = await fetch(`${server.base}/v1/candidates`);
      assert.equal(method.status, 405);
      assert.equal(method.headers.get('allow'), 'POST');
      const large = await post({ ...ASK, user: 'x'.repeat(1024 * 1024) });
      assert.equal(large.status, 413);
      assert.equal(large.body.error.code, 'ERR_PAYLOAD_TOO_LARGE');
      assert.equal((await fetch(`${server.base}/v1/stream`)).status, 400);
    });

    it('echoes a request id and a traceparent that are valid, and no other', async () => {
      const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      const good = await post(ASK, undefined, { 'X-Request-Id': 'a.b:c-1', traceparent: trace });
      assert.equal(good.headers.get('x-request-id'), 'a.b:c-1');
      assert.equal(good.body.request_id, 'a.b:c-1');
      assert.equal(good.headers.get('traceparent'), trace);
      const bad = await post(ASK, undefined, { 'X-Request-Id': 'a b"', traceparent: '00-0-0-0' });
      assert.match(bad.body.request_id, /^[0-9a-f-]{36}$/);
      assert.equal(bad.headers.get('traceparent'), null);
    });

    it('reports each entry of a batch in its place', async () => {
      const { status, body } = await post(
        { requests: [ASK, { user: 'x' }, { ...ASK, subject: { item: 'nothing' } }, null, ASK] },
        '/v1/candidates:batch',
        { 'X-Request-Id': 'batch' },
      );
      assert.equal(status, 200);
      const { results } = body as unknown as { results: (Body & ErrorBody)[] };
      assert.equal(results[0]!.request_id, 'batch:0');
      assert.equal(results[1]!.error.field, 'surface');
      assert.equal(results[2]!.error.code, 'ERR_UNKNOWN_ITEM');
      assert.equal(results[3]!.error.code, 'ERR_INVALID_REQUEST');
      assert.deepEqual(results[4]!.candidates, results[0]!.candidates);
      const many = await post({ requests: Array(1025).fill(0) }, '/v1/candidates:batch');
      assert.equal(many.status, 400);
      const full = await post(
        { requests: Array(1024).fill({ ...ASK, k: 1 }) },
        '/v1/candidates:batch',
      );
      assert.equal((full.body as unknown as { results: Body[] }).results.length, 1024);
    });

    it('answers from context alone while the store fails, and recovers', async () => {
      store.failure = new TandemError('ERR_STORE_UNAVAILABLE', 'Expected a store, found none.');
      const failed = await post(ASK);
      store.failure = undefined;
      assert.equal(failed.status, 200);
      assert.deepEqual(failed.body.degraded, { mode: 'context-only', reason: 'store_unavailable' });
      assert.equal(failed.body.state.status, 'missing');
      const cold = await post({ ...ASK, user: 'nobody' });
      assert.deepEqual(failed.body.candidates, cold.body.candidates);
      assert.equal((await post(ASK)).body.degraded, null);
    });

    it('never answers 5xx to any JSON', async () => {
      const member = fc.oneof(
        fc.jsonValue(),
        fc.constantFrom(
          'fresh',
          'related',
          'search',
          10,
          ASK.subject,
          { query: '\ud800' },
          -0,
          1e300,
        ),
      );
      const keys = [
        'user',
        'surface',
        'subject',
        'demographics',
        'k',
        'filter',
        'explain',
        '__proto__',
      ];
      const bodies = fc.oneof(
        fc.json(),
        fc.string(),
        fc
          .dictionary(fc.constantFrom(...keys), member)
          .map((changes) => JSON.stringify({ ...ASK, ...changes })),
        fc
          .record(
            {
              countries: fc.array(fc.string({ minLength: 1 })),
              categories: fc.record({ any: fc.array(fc.constantFrom(...TINY_CATEGORIES)) }),
              exclude_items: fc.array(fc.nat(ITEMS).map((i) => tinyItem(i).id)),
              min_price: fc.double({ noNaN: true }),
            },
            { requiredKeys: [] },
          )
          .map((filter) => JSON.stringify({ ...ASK, filter })),
        fc.jsonValue().map((value) => JSON.stringify({ requests: [value, ASK] })),
      );
      await fc.assert(
        fc.asyncProperty(bodies, fc.boolean(), async (body, batch) => {
          const { status } = await post(body, batch ? '/v1/candidates:batch' : '/v1/candidates');
          assert.ok(status < 500, `status ${status}`);
        }),
        { numRuns: { quick: 100, long: 1000 }[FORM] },
      );
    });

    it('stays up when clients leave in the middle', async () => {
      const text = JSON.stringify(ASK);
      for (let i = 0; i < 50; i++) {
        const socket = connect(server.port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.write(
          `POST /v1/candidates HTTP/1.1\r\nHost: a\r\nContent-Length: ${text.length}\r\n\r\n` +
            (i % 2 === 0 ? text : '{'),
        );
        await sleep(i % 3);
        socket.destroy();
      }
      assert.equal((await post(ASK)).status, 200);
    });

    it('is live and ready, and describes itself', async () => {
      assert.equal((await fetch(`${server.base}/health/live`)).status, 200);
      assert.equal((await fetch(`${server.base}/health/ready`)).status, 200);
      const version = (await (await fetch(`${server.base}/version`)).json()) as Record<
        string,
        string
      >;
      assert.equal(version['bundle_id'], bundle.manifest.bundleId);
      assert.equal(version['transport'], transport);
      const document = (await (await fetch(`${server.base}/openapi.json`)).json()) as {
        openapi: string;
        paths: Record<string, unknown>;
        components: { schemas: Record<string, unknown> };
      };
      assert.equal(document.openapi, '3.1.0');
      for (const path of Object.keys(document.paths)) {
        const response = await fetch(`${server.base}${path.replace('{id}', tinyItem(0).id)}`);
        assert.notEqual(response.status, 404, path);
      }
      for (const [, name] of JSON.stringify(document).matchAll(/#\/components\/schemas\/(\w+)/g))
        assert.ok(name! in document.components.schemas, name);
    });

    it('counts what it does', async () => {
      const metrics = await (await fetch(`${server.base}/metrics`)).text();
      for (const pattern of [
        new RegExp(
          '^tandem_http_request_duration_seconds_count' +
            '\\{route="/v1/candidates",status="200"\\} [1-9]',
          'm',
        ),
        /^tandem_stage_duration_seconds_count\{stage="retrieve"\} [1-9]/m,
        /^tandem_store_requests_total\{outcome="found"\} [1-9]/m,
        /^tandem_store_requests_total\{outcome="store_unavailable"\} [1-9]/m,
        /^tandem_degraded_responses_total\{mode="context-only"\} [1-9]/m,
        /^tandem_state_age_seconds_count [1-9]/m,
        /^tandem_candidates_returned_count [1-9]/m,
        /^tandem_filter_selectivity_ratio_count [1-9]/m,
        new RegExp(
          '^tandem_bundle_info' +
            '\\{role="active",bundle_id="[0-9a-f]{64}",encoder_id="[0-9a-f]{64}"\\} 1',
          'm',
        ),
      ])
        assert.match(metrics, pattern);
    });

    it('streams: answers by id, errors beside them', async () => {
      const client = new WebSocket(`ws://127.0.0.1:${server.port}/v1/stream`);
      const frames: Record<string, unknown>[] = [];
      client.on('message', (data) => {
        frames.push(JSON.parse((data as Buffer).toString('utf8')) as Record<string, unknown>);
      });
      await new Promise((resolve) => client.on('open', resolve));
      const send = (frame: unknown): void => {
        client.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
      };
      send({ type: 'subject', id: 'early', surface: 'related' });
      send({ type: 'hello', user: 'fresh', k: 10 });
      for (let i = 0; i < 20; i++)
        send({ type: 'subject', id: i, surface: 'related', subject: { item: tinyItem(i).id } });
      send({ type: 'subject', id: 'lost', surface: 'related', subject: { item: 'nothing' } });
      send({ type: 'subject', id: 'odd', surface: 'related', subjct: 1 });
      send({ type: 'bye' });
      send('{');
      await until('26 frames', () => frames.length >= 26);
      const byId = new Map(frames.map((frame) => [frame['id'], frame]));
      const codeOf = (id: unknown): unknown =>
        (byId.get(id)?.['error'] as { code: string } | undefined)?.code;
      assert.equal(frames.length, 26);
      assert.equal(codeOf('early'), 'ERR_INVALID_REQUEST');
      assert.equal(codeOf('lost'), 'ERR_UNKNOWN_ITEM');
      assert.equal(codeOf('odd'), 'ERR_INVALID_REQUEST');
      assert.equal(frames.filter(({ type }) => type === 'ready').length, 1);
      const { body } = await post(ASK);
      assert.deepEqual(byId.get(3)!['candidates'], body.candidates);
      client.close();
    });

    it('refuses more unanswered subjects on a socket than the limit', async () => {
      const { promise, resolve } = gate();
      store.gate = promise;
      const client = new WebSocket(`ws://127.0.0.1:${server.port}/v1/stream`);
      const codes: (string | undefined)[] = [];
      client.on('message', (data) => {
        const frame = JSON.parse((data as Buffer).toString('utf8')) as Partial<ErrorBody>;
        codes.push(frame.error?.code);
      });
      await new Promise((opened) => client.on('open', opened));
      client.send(JSON.stringify({ type: 'hello', user: 'fresh', k: 1 }));
      for (let id = 0; id < 70; id++)
        client.send(JSON.stringify({ type: 'subject', id, surface: 'related' }));
      await until('7 frames', () => codes.length >= 7);
      store.gate = undefined;
      resolve();
      await until('71 frames', () => codes.length >= 71);
      assert.equal(codes.filter((code) => code === 'ERR_OVERLOADED').length, 6);
      assert.equal(codes.length, 71);
      client.close();
    });

    it('refuses all requests over the limit at their headers, except health checks', async () => {
      const own = await filledStore();
      const full = await start(transport, own, { maxQueue: '1' });
      const { promise, resolve } = gate();
      own.gate = promise;
      const reads = own.reads;
      const first = fetch(`${full.base}/v1/candidates`, {
        method: 'POST',
        body: JSON.stringify(ASK),
      });
      await until('a read of the store', () => own.reads > reads);
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      for (const path of [
        '/v1/candidates',
        '/v1/candidates:batch',
        '/v1/score',
        '/v2/models/tandem/infer',
      ]) {
        const response = await fetch(`${full.base}${path}`, {
          method: 'POST',
          body: 'no JSON',
          headers: { 'X-Request-Id': 'r-7', traceparent },
        });
        const body = await response.text();
        assert.equal(response.status, 503, path);
        assert.equal(response.headers.get('retry-after'), '1');
        assert.equal(response.headers.get('x-request-id'), 'r-7');
        assert.equal(response.headers.get('traceparent'), traceparent);
        assert.match(body, path.startsWith('/v2') ? /^{"error":"Expected/ : /"ERR_OVERLOADED"/);
      }
      assert.equal((await fetch(`${full.base}/health/ready`)).status, 200);
      assert.equal((await fetch(`${full.base}/v1/candidates`)).status, 405);
      const metrics = await (await fetch(`${full.base}/metrics`)).text();
      assert.match(metrics, /^tandem_shed_requests_total\{reason="overload"\} 4$/m);
      resolve();
      assert.equal((await first).status, 200);
      own.gate = undefined;
      await full.close();
    });

    it('finishes what is in flight when it stops', async () => {
      const own = await filledStore();
      const stopping = await start(transport, own);
      const { promise, resolve } = gate();
      own.gate = promise;
      const reads = own.reads;
      const pending = fetch(`${stopping.base}/v1/candidates`, {
        method: 'POST',
        body: JSON.stringify(ASK),
      });
      await until('a read of the store', () => own.reads > reads);
      const closed = stopping.close();
      await until('a refused connection', () =>
        fetch(`${stopping.base}/health/live`).then(
          () => false,
          () => true,
        ),
      );
      resolve();
      const response = await pending;
      assert.equal(response.status, 200);
      assert.equal(((await response.json()) as Body).candidates.length, 10);
      await closed;
      own.gate = undefined;
      assert.throws(() => {
        own.read('' as EncoderId, [], undefined as unknown as StateBatch);
      });
    });

    it('refuses new requests on open connections while it stops', async () => {
      const own = await filledStore();
      const stopping = await start(transport, own);
      const client = new WebSocket(`ws://127.0.0.1:${stopping.port}/v1/stream`);
      const frames: (Partial<ErrorBody> & { type: string })[] = [];
      client.on('message', (data) => {
        frames.push(JSON.parse((data as Buffer).toString('utf8')) as (typeof frames)[number]);
      });
      await new Promise((opened) => client.on('open', opened));
      const gone = new Promise<number>((closed) => client.on('close', closed));
      const { promise, resolve } = gate();
      own.gate = promise;
      const reads = own.reads;
      client.send(JSON.stringify({ type: 'hello', user: 'fresh', k: 1 }));
      client.send(JSON.stringify({ type: 'subject', id: 'first', surface: 'related' }));
      await until('a read of the store', () => own.reads > reads);
      const closed = stopping.close();
      client.send(JSON.stringify({ type: 'subject', id: 'second', surface: 'related' }));
      await until('a refused subject', () => frames.some(({ error }) => error !== undefined));
      resolve();
      await closed;
      assert.equal(await gone, 1001);
      assert.deepEqual(
        frames.map(({ type, error }) => error?.code ?? type),
        ['ready', 'ERR_DRAINING', 'candidates'],
      );
    });
  });

describe('bundles', () => {
  it('without a context layer answer from history and say what they ignored', async () => {
    const other = mkdtempSync(join(tmpdir(), 'tandem-serve-none-'));
    await publishTinyBundle(other, { items: 50, fusion: 'none' });
    const server = await start('uws', new MemoryStore(), { bundles: other });
    const response = await fetch(`${server.base}/v1/candidates`, {
      method: 'POST',
      body: JSON.stringify({ ...ASK, demographics: { age: 30 } }),
    });
    const body = (await response.json()) as Body;
    assert.deepEqual(body.ignored, ['subject', 'demographics']);
    assert.equal(body.candidates.length, 10);
    assert.ok(body.candidates.every(({ item }) => item !== ASK.subject.item));
    await server.close();
    rmSync(other, { recursive: true });
  });

  it('read a query by what their catalogue knows, and say when that is nothing', async () => {
    const server = await start('uws', new MemoryStore());
    const search = async (query: string): Promise<Body> => {
      const response = await fetch(`${server.base}/v1/candidates`, {
        method: 'POST',
        body: JSON.stringify({ user: 'u', surface: 'search', subject: { query }, k: 20 }),
      });
      assert.equal(response.status, 200);
      return (await response.json()) as Body;
    };
    const [known, unseen, unknown] = [
      await search('shoes'),
      await search('shoe'),
      await search('xyzzy'),
    ];
    for (const { candidates } of [known, unseen, unknown]) assert.equal(candidates.length, 20);
    // "shoe" is no word of the catalogue; its trigrams are some of those of "shoes".
    for (const { ignored } of [known, unseen]) assert.equal(ignored, undefined);
    assert.deepEqual(unknown.ignored, ['subject']);
    assert.notDeepEqual(known.candidates, unseen.candidates);
    const response = await fetch(`${server.base}/v1/candidates`, {
      method: 'POST',
      body: JSON.stringify({ user: 'u', surface: 'search', k: 20 }),
    });
    const without = (await response.json()) as Body;
    assert.deepEqual(unknown.candidates, without.candidates);
    assert.equal(without.ignored, undefined);
    await server.close();
  });

  it('that are not there stop the start', async () => {
    await assert.rejects(
      start('uws', new MemoryStore(), { bundles: join(folder, 'nowhere') }),
      (error) => error instanceof TandemError && error.code === 'ERR_BUNDLE_NOT_FOUND',
    );
  });
});

function gate(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
