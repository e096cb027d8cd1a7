// Nonsense of every kind, drawn from a seed that is printed: requests of every path and method, bytes near HTTP, WebSocket frames. The
// server says what is wrong (4xx), or that it has too much to do; it never fails, never ends, and leaves nobody waiting.
// FUZZ_SEED replays a run. What is no HTTP is closed without an answer when uWebSockets' idle timeout of 10 s is over, whose clock ticks every 4 s.

import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc, { type Arbitrary } from 'fast-check';
import { WebSocket } from 'ws';
import { ERROR_TABLE, type ErrorCode } from '../../src/errors.ts';
import { ask, get, post } from './ask.ts';
import { frameTexts, wireFrames } from './fuzz-frames.ts';
import { adminCases, httpCases, rawCases, type HttpCase } from './fuzz-requests.ts';
import type { OpenApi } from './fuzz-values.ts';
import type { Figures, Row, Scale } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions, questionOf } from './versions.ts';

interface Counts {
  readonly requests: number;
  readonly admin: number;
  /** Bytes near HTTP: each waits for the idle timeout. */
  readonly raw: number;
  readonly frames: number;
}
const COUNTS_AT: Readonly<Record<Scale, Counts>> = {
  quick: { requests: 2500, admin: 100, raw: 500, frames: 1500 },
  long: { requests: 500_000, admin: 5000, raw: 20_000, frames: 200_000 },
};
/** Cases that are drawn together, from a seed of their own. */
const CHUNK = 500;
const AT_ONCE = 16;
const FRAMES_A_SOCKET = 25;
/** For a whole request. */
const ANSWER_MS = 10_000;
/** For a connection to be closed on which there is no whole request. */
const CLOSED_MS = 14_000;
const SHOWN = 300;
const HANDSHAKE =
  'GET /v1/stream HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

export const FUZZ: Row = {
  name: 'fuzz',
  target:
    'fuzz of HTTP, JSON and binary bodies, WebSocket frames: 0 exits, 0 x 500, an answer to every request within 10 s, every other connection closed at the idle timeout (10 s, in ticks of 4 s)',
  run: async (scale, figures) => {
    const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
    figures.note(`seed ${seed}`);
    const folder = mkdtempSync(join(tmpdir(), 'tandem-fuzz-'));
    const versions = await makeVersions(folder, { versions: 2, items: 60, users: 10 });
    const server = await ServerChild.start({
      ...{ bundles: versions.bundles, store: versions.store },
      ...{ 'admin-port': '0', 'fresh-events': 'on', 'fresh-items': 'on' },
    });
    const run = new FuzzRun(server, seed, figures);
    try {
      const api = (await get(server.port, '/openapi.json')).body as OpenApi;
      const { requests, admin, raw, frames } = COUNTS_AT[scale];
      await Promise.all([
        run.each('raw bytes', rawCases, raw, CHUNK, (bytes) => run.raw(bytes)),
        (async (): Promise<void> => {
          await run.each('requests', httpCases(api), requests, AT_ONCE, (one) =>
            run.request(server.port, one),
          );
          await run.each('requests to the admin port', adminCases, admin, AT_ONCE, (one) =>
            run.request(server.adminPort, one),
          );
          const several = { minLength: FRAMES_A_SOCKET, maxLength: FRAMES_A_SOCKET };
          const sockets = frames / FRAMES_A_SOCKET / 2;
          await run.each(
            'sockets of texts',
            fc.array(frameTexts(api), several),
            sockets,
            4,
            (all) => run.texts(all),
          );
          await run.each(
            'sockets of frames',
            fc.array(wireFrames(api), several),
            sockets,
            4,
            (all) => run.wire(all),
          );
        })(),
      ]);
      server.expectAlive();
      run.report();
      const { status } = await post(server.port, '/v1/candidates', questionOf('user-1'));
      figures.atMost('status of an honest request after all that', status, 200);
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};

class FuzzRun {
  readonly #server: ServerChild;
  readonly #seed: number;
  readonly #figures: Figures;
  readonly #statuses = new Map<number, number>();
  readonly #failed: string[] = [];
  readonly #unanswered: string[] = [];
  readonly #open: string[] = [];

  constructor(server: ServerChild, seed: number, figures: Figures) {
    this.#server = server;
    this.#seed = seed;
    this.#figures = figures;
  }

  /** Tries `count` cases, `atOnce` at a time; an exit of the server is reported with the seed of the cases around it. */
  async each<T>(
    what: string,
    cases: Arbitrary<T>,
    count: number,
    atOnce: number,
    attempt: (one: T) => Promise<void>,
  ): Promise<void> {
    for (let begin = 0; begin < count; begin += CHUNK) {
      this.#figures.progress(`${begin} of ${count} ${what}`);
      const seed = this.#seed + begin;
      const drawn = fc.sample(cases, { numRuns: Math.min(CHUNK, count - begin), seed });
      let next = 0;
      const worker = async (): Promise<void> => {
        while (next < drawn.length && !this.#server.gone) await attempt(drawn[next++]!);
      };
      await Promise.all(Array.from({ length: atOnce }, worker));
      if (this.#server.gone) this.#figures.note(`ended among ${what} of seed ${seed}`);
      this.#server.expectAlive();
    }
  }

  async request(port: number, { method, path, headers, body }: HttpCase): Promise<void> {
    const text = `${method} ${path} ${JSON.stringify(headers)} ${body.toString('latin1')}`;
    try {
      this.#saw((await ask(port, method, path, body, headers, ANSWER_MS)).status, text);
    } catch (error) {
      this.#unanswered.push(`${String(error)}: ${text}`);
    }
  }

  /** Bytes on a connection of their own, which must not stay open. */
  raw(bytes: Buffer): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect({ port: this.#server.port, host: '127.0.0.1' });
      let answer = '';
      const timer = setTimeout(() => {
        this.#open.push(bytes.toString('latin1'));
        socket.destroy();
      }, CLOSED_MS);
      socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
      socket.on('error', () => undefined);
      socket.on('close', () => {
        clearTimeout(timer);
        const statuses = [...answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)];
        for (const [, status] of statuses) this.#saw(Number(status), bytes.toString('latin1'));
        if (statuses.length === 0) this.#saw(0, '');
        resolve();
      });
      socket.write(bytes);
    });
  }

  /** Texts on one socket: each has an answer. */
  async texts(texts: readonly Buffer[]): Promise<void> {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#server.port}/v1/stream`);
    let answers = 0;
    socket.on('error', () => undefined);
    socket.on('message', (data: Buffer, isBinary) => {
      answers++;
      const text = data.toString();
      const { error } = isBinary ? {} : (JSON.parse(text) as { error?: { code: ErrorCode } });
      this.#saw(error === undefined ? 200 : ERROR_TABLE[error.code].status, text);
    });
    await new Promise((resolve) => {
      socket.once('open', resolve);
      socket.once('close', resolve);
    });
    // Without the bytes that are no UTF-8, which end a socket: those are for wire().
    for (const text of texts) socket.send(text.toString('utf8'));
    for (let waited = 0; answers < texts.length && waited < ANSWER_MS; waited += 5) await sleep(5);
    if (answers < texts.length)
      this.#unanswered.push(`${texts.length - answers} of the texts ${texts.join('\n')}`);
    socket.terminate();
  }

  /** Frames that may break the protocol: the server may close, and must not answer that it failed. */
  wire(frames: readonly Buffer[]): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect({ port: this.#server.port, host: '127.0.0.1' });
      let answer = '';
      socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
      socket.on('error', () => undefined);
      // A server that still listens has nothing to close: after a while the next socket has its turn.
      socket.setTimeout(500, () => socket.destroy());
      socket.on('close', () => {
        const failed = answer.includes('ERR_INTERNAL');
        this.#saw(failed ? 500 : answer.startsWith('HTTP/1.1 101') ? 101 : 0, answer);
        resolve();
      });
      socket.write(Buffer.concat([Buffer.from(HANDSHAKE), ...frames]));
    });
  }

  report(): void {
    const statuses = [...this.#statuses].sort(([a], [b]) => a - b);
    this.#figures.note(
      `answers by status: ${statuses.map(([code, times]) => `${code || 'none'} x ${times}`).join(', ')}`,
    );
    for (const [what, cases] of [
      ['answers of status 500', this.#failed],
      ['requests without an answer', this.#unanswered],
      ['connections left open', this.#open],
    ] as const) {
      this.#figures.atMost(what, cases.length, 0);
      for (const text of cases.slice(0, 3))
        this.#figures.misses.push(`${what}: ${JSON.stringify(text.slice(0, SHOWN))}`);
    }
  }

  #saw(status: number, text: string): void {
    this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
    if (status === 500) this.#failed.push(text);
  }
}
