// Random input, drawn from a seed that is printed: requests of every path and method, bytes that
// are almost HTTP, and WebSocket frames. The server must answer wrong input with an error that says
// why (4xx), or say that it is overloaded. It must never fail, never exit, and leave no client
// waiting. FUZZ_SEED replays a run.
// uWebSockets closes a connection without a complete request at its idle timeout of 10 s, on a
// clock with 4 s ticks.

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
  /** Connections with bytes that are almost HTTP: each waits for the idle timeout. */
  readonly raw: number;
  readonly frames: number;
}
const COUNTS_AT: Readonly<Record<Scale, Counts>> = {
  quick: { requests: 2500, admin: 100, raw: 500, frames: 1500 },
  long: { requests: 500_000, admin: 5000, raw: 20_000, frames: 200_000 },
};
/** The quick form has the same verdict everywhere. The long form draws a seed. */
const QUICK_SEED = 836591640;
/** Cases that are drawn together, from one seed. */
const CHUNK = 500;
const AT_ONCE = 16;
const FRAMES_A_SOCKET = 25;
/** How long the answer to a complete request may take. */
const ANSWER_MS = 10_000;
/** How long a connection without a complete request may stay open. */
const CLOSED_MS = 14_000;
const SHOWN = 300;
const HANDSHAKE =
  'GET /v1/stream HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

export const FUZZ: Row = {
  name: 'fuzz',
  fault: 'Random HTTP, JSON and binary bodies, bytes that are almost HTTP, random frames',
  method:
    'Cases are drawn from the schemas of /openapi.json, and most of them are then damaged. ' +
    'Answers to all cases are counted together. FUZZ_SEED repeats a run with the seed it printed.',
  targets: [
    'The server never exits and never answers with status 500.',
    'Every complete request is answered within 10 s.',
    'Every other connection is closed at the idle timeout: 10 s, on a clock with 4 s ticks.',
  ],
  run: async (scale, figures) => {
    const drawn = scale === 'quick' ? QUICK_SEED : Math.floor(Math.random() * 2 ** 31);
    const seed = Number(process.env['FUZZ_SEED'] ?? drawn);
    figures.report('seed', String(seed));
    const folder = mkdtempSync(join(tmpdir(), 'tandem-fuzz-'));
    const versions = await makeVersions(folder, { versions: 2, items: 60, users: 10 });
    const server = await ServerChild.start({
      bundles: versions.bundles,
      store: versions.store,
      'admin-port': '0',
      'fresh-events': 'on',
      'fresh-items': 'on',
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
      figures.equals('status of a normal request afterwards', status, 200);
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

  /**
   * Tries `count` cases, `atOnce` at a time. An exit of the server is reported with the seed of
   * these cases.
   */
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
        while (next < drawn.length && !this.#server.hasEnded) await attempt(drawn[next++]!);
      };
      await Promise.all(Array.from({ length: atOnce }, worker));
      if (this.#server.hasEnded)
        this.#figures.report(`seed of the ${what} at the exit`, String(seed));
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

  /** Sends bytes on a new connection, which must not stay open. */
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

  /** Sends texts on one WebSocket; each must be answered. */
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
    // toString() replaces invalid UTF-8, which would close the socket: wire() sends that.
    for (const text of texts) socket.send(text.toString('utf8'));
    for (let waited = 0; answers < texts.length && waited < ANSWER_MS; waited += 5) await sleep(5);
    if (answers < texts.length)
      this.#unanswered.push(`${texts.length - answers} of the texts ${texts.join('\n')}`);
    socket.terminate();
  }

  /**
   * Sends frames that may break the protocol: the server may close, but must not answer with a
   * failure.
   */
  wire(frames: readonly Buffer[]): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect({ port: this.#server.port, host: '127.0.0.1' });
      let answer = '';
      socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
      socket.on('error', () => undefined);
      // A server may go on to wait for frames: then the test closes the socket.
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
    for (const [status, times] of statuses)
      if (status !== 500)
        this.#figures.report(
          status === 0 ? 'connections closed without an answer' : `answers with status ${status}`,
          times,
        );
    for (const [what, cases] of [
      ['answers with status 500', this.#failed],
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
