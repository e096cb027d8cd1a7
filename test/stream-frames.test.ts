// Tests encodings and deltas of a WebSocket session, on both transports. In every form of frame,
// examples/stream-reader.ts reads the answer that HTTP gives.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, test } from 'node:test';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import type { Answer } from '../examples/binary-candidates.ts';
import { StreamReader, type StreamFrame } from '../examples/stream-reader.ts';
import { loadBundle } from '../src/bundle/load.ts';
import { resolveServerSettings } from '../src/config.ts';
import { Engine } from '../src/serve/engine/engine.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { STREAM_ENDPOINTS, answerFrame } from '../src/serve/web/stream-frames.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { publishTinyBundle, tinyItem } from './support/tiny-bundle.ts';
import { until } from './support/until.ts';
import type { AnswerParts } from '../src/serve/answer/answer-parts.ts';
import type { CandidatesRequest } from '../src/serve/request/request-types.ts';

const ITEMS = 60;
const folder = mkdtempSync(join(tmpdir(), 'tandem-frames-'));

before(() => publishTinyBundle(folder, { items: ITEMS }));
after(() => {
  rmSync(folder, { recursive: true });
});

function kindOf(data: Buffer, isBinary: boolean): string {
  if (!isBinary) return `json ${(JSON.parse(data.toString('utf8')) as { type: string }).type}`;
  const magic = data.toString('latin1', 2 + data.readUInt16LE(0)).slice(0, 4);
  return `binary ${magic === 'TNDD' ? 'delta' : 'candidates'}`;
}

/** A WebSocket client that stores the frames that it receives. */
class Client {
  readonly frames: StreamFrame[] = [];
  /** The encoding and type of each frame. */
  readonly kinds: string[] = [];
  readonly #reader = new StreamReader();
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data: Buffer, isBinary) => {
      this.frames.push(this.#reader.read(data, isBinary));
      this.kinds.push(kindOf(data, isBinary));
    });
  }

  static async open(port: number): Promise<Client> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`);
    const client = new Client(socket);
    await new Promise((resolve, reject) => {
      socket.on('open', resolve);
      socket.on('error', reject);
    });
    return client;
  }

  send(...frames: readonly object[]): void {
    for (const frame of frames) this.#socket.send(JSON.stringify(frame));
  }

  async received(frames: number): Promise<void> {
    await until(`${frames} frames`, () => this.frames.length >= frames);
    assert.equal(this.frames.length, frames);
  }

  close(): void {
    this.#socket.close();
  }
}

const subject = (id: string | number, item: string, more: object = {}): object => ({
  type: 'subject',
  id,
  surface: 'related',
  subject: { item },
  ...more,
});

/** Makes answers comparable: JSON has six decimals of a score, and each request has its own id. */
function comparable({ candidates, ...answer }: Answer): Answer {
  return {
    ...answer,
    request_id: 'each its own',
    candidates: candidates.map(({ item, score }) => ({
      item,
      score: Math.round(score * 1e6) / 1e6,
    })),
  };
}

const answer = fc.record({
  id: fc.oneof(fc.integer(), fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 })),
  rows: fc.uniqueArray(fc.nat(ITEMS - 1)),
  seed: fc.float({ min: -1, max: 1, noNaN: true }),
  state: fc.constantFrom(
    { status: 'missing', ageSeconds: null },
    { status: 'stale', ageSeconds: 7 },
  ),
  degraded: fc.constantFrom(undefined, { mode: 'popular', reason: 'store_corrupt' }),
  query: fc.constantFrom('shoes', 'zzz'),
});

type Drawn = typeof answer extends fc.Arbitrary<infer T> ? T : never;

function partsOf(
  engine: Engine,
  { id, rows, seed, state, degraded, query }: Drawn,
): AnswerParts<CandidatesRequest> {
  const subject = { query };
  return {
    request: { kind: 'candidates', user: 'u', surface: 'search', subject, k: 30, explain: false },
    requestId: `request-${id}`,
    subject: engine.resolveSubject(subject),
    filter: undefined,
    state: state,
    degraded: degraded,
    embedding: new Float32Array(engine.width),
    hits: {
      plan: 'exact',
      planReason: 'forced',
      rows: Int32Array.from(rows),
      scores: Float32Array.from(rows, (row) => Math.cos(row * seed)),
    },
    batchSize: 1,
    stagesMs: {},
  };
}

for (const encoding of ['json', 'binary'] as const)
  test(`a delta between any two answers gives the second one, in ${encoding}`, async () => {
    const engine = await Engine.open(await loadBundle(folder), 'exact');
    const endpoint = STREAM_ENDPOINTS[encoding];
    const isBinary = encoding === 'binary';
    fc.assert(
      fc.property(answer, answer, (first, second) => {
        const [a, b] = [first, second].map((parts) =>
          endpoint.encode(engine, partsOf(engine, parts)),
        );
        const whole = Buffer.from(answerFrame(second.id, b!, undefined));
        const before = Buffer.from(answerFrame(first.id, a!, undefined));
        const next = answerFrame(second.id, b!, { ...a!, id: first.id });
        assert.ok(next.length <= whole.length);
        const reader = new StreamReader();
        reader.read(before, isBinary);
        const read = reader.read(Buffer.from(next), isBinary);
        assert.deepEqual(read, new StreamReader().read(whole, isBinary));
        const other = { ...b!, bundleId: 'of another bundle' };
        const swapped = answerFrame(second.id, other, { ...a!, id: first.id });
        assert.deepEqual(Buffer.from(swapped), whole);
      }),
    );
  });

test('the reader rejects a delta that is not against the previous answer', async () => {
  const engine = await Engine.open(await loadBundle(folder), 'exact');
  const [sample] = fc.sample(answer, 1);
  const parts = partsOf(engine, { ...sample!, rows: Array.from({ length: 30 }, (_, i) => i) });
  for (const encoding of ['json', 'binary'] as const) {
    const answered = STREAM_ENDPOINTS[encoding].encode(engine, parts);
    const delta = Buffer.from(answerFrame(2, answered, { ...answered, id: 1 }));
    const reader = new StreamReader();
    const isBinary = encoding === 'binary';
    assert.throws(() => reader.read(delta, isBinary), RangeError);
    reader.read(Buffer.from(answerFrame(3, answered, undefined)), isBinary);
    assert.throws(() => reader.read(delta, isBinary), RangeError);
  }
});

for (const transport of ['uws', 'node'] as const)
  describe(`a WebSocket session on ${transport}`, () => {
    let server: RunningServer;

    before(async () => {
      const { settings } = resolveServerSettings({
        flags: { bundles: folder, store: join(folder, 'unused'), port: '0', transport },
      });
      server = await startServer(settings, new MemoryStore());
    });
    after(() => server.close());

    async function asked(item: string, k: number): Promise<Answer> {
      const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
        method: 'POST',
        body: JSON.stringify({ user: 'u', surface: 'related', subject: { item }, k }),
      });
      return comparable({ ignored: [], ...((await response.json()) as Omit<Answer, 'ignored'>) });
    }

    for (const encoding of ['json', 'binary'])
      it(`sends answers in ${encoding} and errors in JSON`, async () => {
        const client = await Client.open(server.port);
        const ids = [1, -7, 'two "quoted" ü\u{1f600}\ud800', 'x'.repeat(128)];
        client.send({ type: 'hello', user: 'u', k: 12, encoding });
        for (const [i, id] of ids.entries()) client.send(subject(id, tinyItem(i).id));
        client.send(subject('lost', 'nothing'), subject('all', tinyItem(9).id, { k: 1000 }));
        await client.received(ids.length + 3);
        client.close();
        const answers = new Map<string | number, Answer>();
        for (const [i, frame] of client.frames.entries()) {
          const isAnswer = frame.type === 'candidates';
          assert.equal(
            client.kinds[i],
            isAnswer && encoding === 'binary' ? 'binary candidates' : `json ${frame.type}`,
          );
          if (isAnswer) answers.set(frame.id, comparable(frame.answer));
          else if (frame.type === 'error')
            assert.deepEqual([frame.id, frame.error.code], ['lost', 'ERR_UNKNOWN_ITEM']);
        }
        for (const [i, id] of ids.entries())
          assert.deepEqual(answers.get(id), await asked(tinyItem(i).id, 12));
        assert.deepEqual(answers.get('all'), await asked(tinyItem(9).id, 1000));
        assert.equal(answers.get('all')!.truncated, true);
      });

    for (const encoding of ['json', 'binary'])
      it(`sends deltas in ${encoding}, and a whole answer after a hello`, async () => {
        const client = await Client.open(server.port);
        const hello = { type: 'hello', user: 'u', k: 40, encoding, deltas: true };
        const subjects = Array.from({ length: 20 }, (_, i) => subject(i, tinyItem(i).id));
        client.send(hello, ...subjects);
        await client.received(21);
        client.send(hello, subject('again', tinyItem(0).id));
        await client.received(23);
        client.close();
        assert.deepEqual(client.kinds, [
          ...['json ready', `${encoding} candidates`],
          ...Array<string>(19).fill(`${encoding} delta`),
          ...['json ready', `${encoding} candidates`],
        ]);
        for (const frame of client.frames) {
          if (frame.type !== 'candidates') continue;
          const item = tinyItem(frame.id === 'again' ? 0 : Number(frame.id)).id;
          assert.deepEqual(comparable(frame.answer), await asked(item, 40));
        }
      });

    it('explains only in JSON, and rejects an unknown encoding by name', async () => {
      const client = await Client.open(server.port);
      const explained = subject(1, tinyItem(1).id, { explain: true });
      client.send({ type: 'hello', user: 'u', encoding: 'protobuf' });
      client.send({ type: 'hello', user: 'u', encoding: 'binary' }, explained);
      client.send({ type: 'hello', user: 'u', encoding: 'json' }, explained);
      await client.received(5);
      client.close();
      assert.deepEqual(
        client.frames.map((frame) => ('error' in frame ? frame.error.message : frame.type)),
        [
          'Expected one of "json", "binary" for encoding.',
          'ready',
          'Expected explain only with JSON answers, received it in a session of encoding "binary".',
          'ready',
          'candidates',
        ],
      );
    });
  });
