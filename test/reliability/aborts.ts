// Clients that misbehave on plain TCP: they close before the answer, do not read it, send half a
// request, or send one byte a second.

import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../src/random.ts';
import { post, postUntilTaken } from './ask.ts';
import type { Figures, Row, Scale } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions, questionOf } from './versions.ts';

const ABORTS_AT = { quick: 6000, long: 1_000_000 } as const;
const AT_ONCE = 64;
/** Sockets of each kind at one time: half open, silent, slow. */
const CROWD_AT = { quick: 200, long: 2000 } as const;
/**
 * Requests in a batch whose answer nobody reads. With 1,000 candidates each, the answer has several
 * megabytes, which is more than socket buffers hold.
 */
const UNREAD_BATCH = 100;
const READERS = 4;
/** An answer that waits for its reader takes a text and a send buffer, which grows by doubling. */
const UNREAD_COPIES = 3;
const SLOW_SECONDS = 12;
/**
 * Memory that may remain, whatever the number of clients: arenas of the allocator, nothing per
 * client.
 */
const BOUND_MIB = 64;
const random = new Random(5);

export const ABORTS: Row = {
  name: 'aborts',
  fault: 'Clients disconnect early, do not read answers, or send slowly or only in part',
  method:
    'A third of the aborting clients disconnect inside the request head or body, a third right ' +
    'after the request, a third while the answer is computed or sent; half of them with a TCP ' +
    'reset. Then half-open, silent and slow sockets (slowloris), and readers that never read, ' +
    'are open at once.',
  targets: [
    'The server never exits.',
    'Memory stays bounded over 1,000,000 aborts (quick form: 6,000).',
    'A normal request is answered afterwards.',
  ],
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-aborts-'));
    const size = { versions: 1, items: 2000, users: 100 };
    const { bundles, store, users } = await makeVersions(folder, size);
    const server = await ServerChild.start({ bundles, store, 'max-queue': '512' });
    try {
      const requestText = (i: number): string =>
        textOf('/v1/candidates', questionOf(users[i % users.length]!, 100));
      await abort(server, 500, requestText);
      const before = server.rssBytes();
      await abort(server, ABORTS_AT[scale] / 2, requestText, figures);
      const half = server.rssBytes();
      await abort(server, ABORTS_AT[scale] / 2, requestText, figures);
      const whole = server.rssBytes();
      figures.report('requests aborted', ABORTS_AT[scale]);
      const growth = 'memory growth';
      figures.atMost(`${growth} in the first half`, mebibytes(half - before), BOUND_MIB, 'MiB');
      figures.atMost(`${growth} in the second half`, mebibytes(whole - half), BOUND_MIB, 'MiB');
      await crowds(server, scale, figures);
      server.expectAlive();
      const { status } = await post(server.port, '/v1/candidates', questionOf(users[0]!));
      figures.equals('status of a normal request afterwards', status, 200);
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};

type RequestText = (i: number) => string;

/**
 * Sends `count` requests and abandons each: a third inside the head or body, a third right after
 * it, a third while the answer is computed or sent.
 */
async function abort(
  server: ServerChild,
  count: number,
  requestText: RequestText,
  figures?: Figures,
): Promise<void> {
  let next = 0;
  const one = async (i: number): Promise<void> => {
    const socket = await open(server.port);
    const text = requestText(i);
    if (i % 3 === 0) socket.write(text.slice(0, random.integer(text.length)));
    else socket.write(text);
    if (i % 3 === 2) await sleep(random.integer(4));
    // Half of them end with a reset: a phone that is switched off does not close its connections.
    if (i % 2 === 0) socket.resetAndDestroy();
    else socket.destroy();
  };
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) {
        if (next % 2000 === 0) figures?.progress(`${next} of ${count} aborts`);
        await one(next++);
      }
    }),
  );
  server.expectAlive();
}

async function crowds(server: ServerChild, scale: Scale, figures: Figures): Promise<void> {
  const requests = Array.from({ length: UNREAD_BATCH }, (_, i) => questionOf(`user-${i}`, 1000));
  // The same batches are first read to their end, so that buffers that the server keeps are not
  // counted below.
  let answerBytes = 0;
  for (let round = 0; round < 2; round++) {
    const read = Array.from({ length: READERS }, async () => {
      const { body } = await post(server.port, '/v1/candidates:batch', { requests });
      answerBytes = JSON.stringify(body).length;
    });
    await Promise.all(read);
  }
  const unreadMiB = mebibytes(READERS * UNREAD_COPIES * answerBytes);
  const before = server.rssBytes();
  const sockets: Socket[] = [];
  let closed = 0;
  const enter = async (): Promise<Socket> => {
    const socket = await open(server.port);
    socket.once('close', () => closed++);
    sockets.push(socket);
    return socket;
  };
  const crowd = CROWD_AT[scale];
  figures.progress(`${3 * crowd} sockets half open, silent or slow, ${READERS} that do not read`);
  const slow: Socket[] = [];
  for (let i = 0; i < crowd; i++) {
    (await enter()).write(
      'POST /v1/candidates HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{"us',
    );
    await enter();
    const socket = await enter();
    socket.write('GET /health/live HTTP/1.1\r\nX-Slow: ');
    slow.push(socket);
  }
  for (let reader = 0; reader < READERS; reader++) {
    const socket = await enter();
    socket.pause();
    socket.write(textOf('/v1/candidates:batch', { requests }));
  }
  let latestMs = 0;
  let peak = before;
  for (let second = 0; second < SLOW_SECONDS; second++) {
    for (const socket of slow) if (socket.writable) socket.write('a');
    const startedMs = performance.now();
    await postUntilTaken(server.port, '/v1/candidates', questionOf('user-1'));
    latestMs = Math.max(latestMs, performance.now() - startedMs);
    peak = Math.max(peak, server.rssBytes());
    await sleep(1000);
  }
  figures.report('misbehaving sockets', sockets.length);
  figures.report(`of these, closed by the server within ${SLOW_SECONDS} s`, closed);
  figures.report('slowest normal request meanwhile', Math.round(latestMs), 'ms');
  figures.atMost(
    'memory growth with these sockets and their unread answers',
    mebibytes(peak - before),
    BOUND_MIB + Math.ceil(unreadMiB),
    'MiB',
  );
  for (const socket of sockets) socket.destroy();
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.once('connect', () => {
      socket.off('error', reject);
      // The server may reset a connection that misbehaves.
      socket.on('error', () => undefined);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

function textOf(path: string, value: object): string {
  const body = JSON.stringify(value);
  return `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

function mebibytes(bytes: number): number {
  return bytes / 2 ** 20;
}
