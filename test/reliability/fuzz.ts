// Nonsense of every kind, seeded: bodies near the schemas, raw bytes as requests, headers, WebSocket frames. The server says
// what is wrong with it (4xx), or that it is overloaded; it never fails, and it never ends.

import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import { ERROR_TABLE, type ErrorCode } from '../../src/errors.ts';
import { jsonSchemas } from '../../src/serve/schemas.ts';
import { tinyItem } from '../support/tiny-bundle.ts';
import { ask, get } from './ask.ts';
import type { Figures, Row } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions } from './versions.ts';

const CASES_AT = { quick: 1500, long: 200_000 } as const;
const SEED = 2026;
const AT_ONCE = 16;
/** Raw bytes are answered, or the connection cut, or nothing more comes: the server waits for the rest. */
const SILENCE_MS = 150;
const FRAMES_A_SOCKET = 50;
const PATIENCE_MS = 20_000;

export const FUZZ: Row = {
  name: 'fuzz',
  target: 'fuzz of HTTP, JSON, headers and WebSocket frames: 0 exits, 0 x 500',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-fuzz-'));
    const { bundles, store } = await makeVersions(folder, { versions: 1, items: 60, users: 10 });
    const server = await ServerChild.start({ bundles, store, 'admin-port': '0' });
    const count = CASES_AT[scale];
    const statuses = new Map<number, number>();
    const wrong: string[] = [];
    const seen = (status: number, what: string): void => {
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (status === 500) wrong.push(`500 for ${what}`);
    };
    try {
      await fuzzBodies(server, count, seen, figures);
      await fuzzBytes(server, count, seen, figures);
      await fuzzFrames(server, count, seen, figures);
      server.expectAlive();
      const { status } = await get(server.port, '/health/ready');
      figures.note(
        `${3 * count} cases; answers by status: ${[...statuses]
          .sort(([a], [b]) => a - b)
          .map(([code, times]) => `${code || 'none'} x ${times}`)
          .join(', ')}`,
      );
      figures.atMost('status of /health/ready afterwards', status, 200);
      figures.atMost('answers of status 500', wrong.length, 0);
      figures.misses.push(...wrong.slice(0, 5));
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};

type Seen = (status: number, what: string) => void;

/** Every name that the schemas know, so that nonsense gets past the first check. */
function knownNames(): string[] {
  const found = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const { properties } = value as { properties?: unknown };
    if (typeof properties === 'object' && properties !== null)
      for (const name of Object.keys(properties)) found.add(name);
    Object.values(value).forEach(visit);
  };
  visit(jsonSchemas());
  return [...found, '__proto__', 'constructor'];
}

const odd = fc.oneof(
  fc.constantFrom(0, -0, -1, 1e308, 5e-324, 2 ** 53, 0.5, 1, 1000, 1001),
  fc.constantFrom(
    '',
    'related',
    'search',
    'hello',
    'subject',
    tinyItem(3).id,
    'DE',
    '\ud800',
    '\0',
  ),
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.constantFrom(null, true, false),
);

/** A JSON value whose members have names that the schemas know. */
const nonsense = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    odd,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...knownNames()), tie('value'), { maxKeys: 5 }),
  ),
})).value;

const subject = fc.oneof(
  fc.record({ item: fc.constantFrom(tinyItem(1).id, tinyItem(59).id, 'item-unknown') }),
  fc.record({ query: fc.string({ unit: 'binary', maxLength: 60 }) }),
  fc.record({
    interests: fc.array(
      fc.record({ category: fc.constantFrom('books', 'none'), confidence: fc.double() }),
      { maxLength: 70 },
    ),
  }),
);

/** A right body of which members may be wrong. */
const nearlyRight = fc.record(
  {
    user: fc.oneof({ weight: 8, arbitrary: fc.constantFrom('user-1', 'nobody') }, odd),
    surface: fc.oneof({ weight: 8, arbitrary: fc.constantFrom('related', 'search') }, odd),
    subject: fc.oneof({ weight: 5, arbitrary: subject }, nonsense),
    k: fc.oneof(fc.integer({ min: 1, max: 1000 }), odd),
    demographics: fc.oneof(
      fc.record({ age: fc.double(), country: fc.constantFrom('DE', 'XX'), gender: odd }),
      nonsense,
    ),
    filter: fc.oneof(
      fc.record(
        {
          countries: fc.array(fc.constantFrom('DE', 'FR', 'XX', '\ud800'), { maxLength: 4 }),
          min_price: fc.double(),
          max_price: fc.double(),
          exclude_items: fc.array(fc.constantFrom(tinyItem(2).id, ''), { maxLength: 3 }),
          advertisers: fc.record({ max_each: fc.integer({ min: 0, max: 2 ** 31 }) }),
        },
        { requiredKeys: [] },
      ),
      nonsense,
    ),
    items: fc.array(fc.constantFrom(tinyItem(2).id, 'item-unknown', ''), { maxLength: 5 }),
    explain: fc.oneof(fc.boolean(), odd),
  },
  { requiredKeys: ['user', 'surface'] },
);

const header = fc.constantFrom(
  ...['x-request-id', 'x-request-timeout-ms', 'traceparent', 'accept', 'authorization'],
  ...['content-type', 'expect', 'content-encoding', 'if-none-match', 'origin'],
);
const headerValue = fc.oneof(
  fc.constantFrom('application/x-tandem', '0', '1', '-1', '1e3', '99999999999', 'Bearer ', ','),
  fc.string({ maxLength: 200 }).map((text) => text.replace(/[^\x20-\x7e]/g, '~')),
);

const http = fc.record({
  method: fc.constantFrom('POST', 'POST', 'POST', 'GET', 'PUT', 'DELETE', 'HEAD', 'OPTIONS'),
  path: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('/v1/candidates', '/v1/embeddings', '/v1/score') },
    fc.constantFrom('/v1/candidates:batch', '/v1/events', '/v1/stream', '/metrics', '/__proto__'),
    fc.webPath().map((path) => `/v1/items/${path}`),
    fc.string({ maxLength: 60 }).map((text) => `/${text.replace(/[^\x21-\x7e]/g, '%')}`),
  ),
  body: fc.oneof(
    { weight: 4, arbitrary: nearlyRight.map((value) => JSON.stringify(value)) },
    { weight: 2, arbitrary: nonsense.map((value) => JSON.stringify(value)) },
    fc.array(nearlyRight, { maxLength: 5 }).map((requests) => JSON.stringify({ requests })),
    fc.integer({ min: 1, max: 20_000 }).map((depth) => '['.repeat(depth)),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  ),
  headers: fc.dictionary(header, headerValue, { maxKeys: 3 }),
});

async function fuzzBodies(
  server: ServerChild,
  count: number,
  seen: Seen,
  figures: Figures,
): Promise<void> {
  let done = 0;
  await inParallel(
    fc.sample(http, { numRuns: count, seed: SEED }),
    async ({ method, path, body, headers }) => {
      if (++done % 500 === 0) figures.progress(`${done} of ${count} bodies`);
      const { status } = await ask(server.port, method, path, body, headers).catch(
        (error: unknown) => {
          server.expectAlive();
          // A server may cut off who misbehaves.
          if (!/ECONNRESET|EPIPE|socket hang up|Parse Error/.test(String(error))) throw error;
          return { status: 0 };
        },
      );
      seen(status, `${method} ${path} ${JSON.stringify(headers)} ${body.toString()}`);
    },
  );
}

const rawBytes = fc.oneof(
  fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(
      fc.constantFrom('POST', 'GET', 'PRI', 'post', ''),
      fc.constantFrom('/v1/candidates', '*', 'http://h/v1/candidates', '', '/%ff%fe'),
      fc.constantFrom('HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/9', ''),
      fc.array(
        fc.constantFrom(
          ...['Host: h', 'Content-Length: 5', 'Content-Length: -1', 'Content-Length: 1e9', ': x'],
          ...['Content-Length: 99999999999999999999', 'Transfer-Encoding: chunked', 'X: \0', 'A'],
          ...['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: x', ' folded: y'],
        ),
        { maxLength: 6 },
      ),
      fc.constantFrom('', '{"a"', '5\r\nabcde\r\n0\r\n\r\n', 'ffffffffffffffff\r\n', '-1\r\n'),
      fc.constantFrom('\r\n', '\n', '\r'),
    )
    .map(([method, path, version, lines, body, end]) =>
      Buffer.from([`${method} ${path} ${version}`, ...lines, '', body].join(end), 'latin1'),
    ),
);

async function fuzzBytes(
  server: ServerChild,
  count: number,
  seen: Seen,
  figures: Figures,
): Promise<void> {
  let done = 0;
  await inParallel(fc.sample(rawBytes, { numRuns: count, seed: SEED }), async (bytes) => {
    if (++done % 500 === 0) figures.progress(`${done} of ${count} raw requests`);
    seen(await statusOf(server.port, bytes), bytes.toString('latin1'));
  });
  server.expectAlive();
}

/** @returns 0 when nothing came that begins like an answer. */
function statusOf(port: number, bytes: Buffer): Promise<number> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    let text = '';
    const end = (): void => {
      socket.destroy();
      resolve(Number(/^HTTP\/1\.[01] (\d+)/.exec(text)?.[1] ?? 0));
    };
    socket.setTimeout(SILENCE_MS, end);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (text.length > 12) end();
    });
    socket.on('error', end);
    socket.on('close', end);
    socket.write(bytes);
  });
}

const frame = fc.oneof(
  { weight: 2, arbitrary: nonsense.map((value) => JSON.stringify(value)) },
  fc
    .tuple(fc.constantFrom('hello', 'subject'), nearlyRight, odd)
    .map(([type, body, id]) => JSON.stringify({ type, id, ...body })),
  fc
    .tuple(fc.integer({ min: 0, max: 99 }), subject)
    .map(([id, value]) =>
      JSON.stringify({ type: 'subject', id, surface: 'related', subject: value }),
    ),
  fc.constant(JSON.stringify({ type: 'hello', user: 'user-1' })),
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
);

async function fuzzFrames(
  server: ServerChild,
  count: number,
  seen: Seen,
  figures: Figures,
): Promise<void> {
  const frames = fc.sample(frame, { numRuns: count, seed: SEED });
  for (let begin = 0; begin < count; begin += FRAMES_A_SOCKET) {
    if (begin % 500 === 0) figures.progress(`${begin} of ${count} frames`);
    const some = frames.slice(begin, begin + FRAMES_A_SOCKET);
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/v1/stream`);
    let answers = 0;
    socket.on('error', () => undefined);
    socket.on('message', (data: Buffer) => {
      answers++;
      const text = data.toString();
      const { error } = JSON.parse(text) as { error?: { code: ErrorCode } };
      seen(error === undefined ? 200 : ERROR_TABLE[error.code].status, text);
    });
    await new Promise((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
    });
    for (const text of some) socket.send(text);
    for (
      let waited = 0;
      answers < some.length && waited < PATIENCE_MS && socket.readyState === 1;
      waited += 5
    )
      await sleep(5);
    if (answers < some.length && socket.readyState === 1)
      seen(500, `${some.length - answers} frames without an answer`);
    socket.terminate();
  }
  server.expectAlive();
}

async function inParallel<T>(cases: readonly T[], run: (one: T) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < cases.length) await run(cases[next++]!);
    }),
  );
}
