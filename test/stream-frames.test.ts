// Encodings of a WebSocket session, on both transports: whatever the frames look like, what examples/stream-reader.ts makes of them
// is the answer of HTTP.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import type { Answer } from '../examples/binary-candidates.ts';
import { readFrame, type StreamFrame } from '../examples/stream-reader.ts';
import { resolveServerSettings } from '../src/config.ts';
import { startServer, type RunningServer } from '../src/serve/server.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { publishTinyBundle, tinyItem } from './support/tiny-bundle.ts';

const ITEMS = 60;
const folder = mkdtempSync(join(tmpdir(), 'tandem-frames-'));

before(() => publishTinyBundle(folder, { items: ITEMS }));
after(() => {
  rmSync(folder, { recursive: true });
});

/** A socket that keeps what it receives. */
class Client {
  readonly frames: StreamFrame[] = [];
  readonly binary: boolean[] = [];
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data: Buffer, isBinary) => {
      this.frames.push(readFrame(data, isBinary));
      this.binary.push(isBinary);
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
    for (let i = 0; i < 2000 && this.frames.length < frames; i++) await sleep(5);
    assert.equal(this.frames.length, frames);
  }

  close(): void {
    this.#socket.close();
  }
}

const subject = (id: string | number, item: string, more: object = {}): object => ({
  ...{ type: 'subject', id, surface: 'related', subject: { item } },
  ...more,
});

/** What all encodings have in common: JSON has six decimals of a score, and each request its own id. */
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
      it(`has answers in ${encoding}, errors in JSON`, async () => {
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
          assert.equal(client.binary[i], isAnswer && encoding === 'binary');
          if (isAnswer) answers.set(frame.id, comparable(frame.answer));
          else if (frame.type === 'error')
            assert.deepEqual([frame.id, frame.error.code], ['lost', 'ERR_UNKNOWN_ITEM']);
        }
        for (const [i, id] of ids.entries())
          assert.deepEqual(answers.get(id), await asked(tinyItem(i).id, 12));
        assert.deepEqual(answers.get('all'), await asked(tinyItem(9).id, 1000));
        assert.equal(answers.get('all')!.truncated, true);
      });

    it('explains in JSON alone, and names an encoding that it does not have', async () => {
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
