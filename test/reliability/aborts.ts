// Clients that misbehave on plain TCP: they leave before the answer, do not read it, say half a request, or one byte a second.

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
/** Half open, silent, or slow at one time. */
const CROWD_AT = { quick: 200, long: 2000 } as const;
/** A batch whose answer nobody reads: of 1,000 candidates each, several megabytes, more than socket buffers take. */
const UNREAD_BATCH = 100;
const READERS = 4;
/** An answer that waits for its reader is a text and a send buffer, which grows by doubling. */
const UNREAD_COPIES = 3;
const SLOW_SECONDS = 12;
/** Memory that may stay, whatever the number of clients: an allocator's arenas, not something a client. */
const BOUND_MIB = 64;
const random = new Random(5);

export const ABORTS: Row = {
  name: 'aborts',
  target:
    '1,000,000 client aborts (quick: 6,000), slow readers, half-open sockets, slowloris: 0 exits, bounded memory',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-aborts-'));
    const { bundles, store, users } = await makeVersions(folder, {
      ...{ versions: 1, items: 2000, users: 100 },
    });
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
      figures.note(`${ABORTS_AT[scale]} aborts`);
      figures.atMost('memory grown in the first half', mebibytes(half - before), BOUND_MIB, ' MiB');
      figures.atMost('in the second', mebibytes(whole - half), BOUND_MIB, ' MiB');
      await crowds(server, scale, figures);
      server.expectAlive();
      const { status } = await post(server.port, '/v1/candidates', questionOf(users[0]!));
      figures.atMost('status of an honest request after all that', status, 200);
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};

type RequestText = (i: number) => string;

/** A third leave within the head or body, a third at once after it, a third while the answer is made or sent. */
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
    // Half of them with a reset, as a phone that is switched off seldom says goodbye.
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
  // The same batches, read to their end: the room that the server makes them in is not the crowd's.
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
  figures.note(
    `${sockets.length} bad sockets, ${closed} of them closed by the server within ${SLOW_SECONDS} s; honest requests beside them took ${latestMs.toFixed(0)} ms at most`,
  );
  figures.atMost(
    'memory for the crowd and its unread answers',
    mebibytes(peak - before),
    BOUND_MIB + Math.ceil(unreadMiB),
    ' MiB',
  );
  for (const socket of sockets) socket.destroy();
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.once('connect', () => {
      socket.off('error', reject);
      // A server may cut off who misbehaves.
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
