// The conformance suite of transports: both web servers give the same answers to the same bytes.

import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { TandemError } from '../src/errors.ts';
import { listenNode } from '../src/serve/web/transport-node.ts';
import { listenUws } from '../src/serve/web/transport-uws.ts';
import { MAX_HEADERS, MAX_HEAD_BYTES } from '../src/serve/web/transport.ts';
import type {
  HttpReply,
  HttpRequest,
  SocketConnection,
  SocketHandler,
  Transport,
  TransportOptions,
} from '../src/serve/web/transport.ts';
import { findUws } from '../src/serve/web/uws-binary.ts';
import { raw } from './support/raw-http.ts';

const MAX_BODY = 2000;
const MAX_FRAME = 1000;
/**
 * The limit is ten seconds; uWebSockets checks it every four seconds, and the test needs time to
 * see it.
 */
const MAX_IDLE_MS = 15_000;

const uws = findUws();
/** Why the suite of uWebSockets is skipped on this machine. */
const whyNoUws = uws.uws === undefined && uws.reason;

for (const [name, listen] of [
  ['uws', listenUws],
  ['node', listenNode],
] as const)
  describe(`transport ${name}`, { skip: name === 'uws' && whyNoUws }, () => {
    let transport: Transport;
    let base = '';
    let release: (() => void) | undefined;
    const seen: HttpRequest[] = [];
    const sockets: SocketConnection[] = [];
    let closedSockets = 0;
    const options: TransportOptions = {
      host: '127.0.0.1',
      port: 0,
      maxBodyBytes: MAX_BODY,
      maxFrameBytes: MAX_FRAME,
      socketPath: '/socket',
      socketIdleSeconds: 8,
      handleHead: (method, path, header) =>
        path === '/closed'
          ? text(503, `${method} closed`, { 'X-Seen': header('x-request-id') })
          : undefined,
      handleRequest(request): HttpReply | Promise<HttpReply> {
        seen.push(request);
        const body = request.body?.toString('utf8') ?? 'too large';
        if (request.path === '/throws') throw new Error('handler failed');
        if (request.path === '/wait')
          return new Promise((resolve) => {
            release = () => {
              resolve(text(200, 'waited '.repeat(300_000)));
            };
          });
        if (request.path === '/big') return text(200, 'x'.repeat(5_000_000));
        return text(201, `${request.method} ${request.path} ${body}`, {
          'X-Seen': request.headers['x-request-id'],
        });
      },
      tls: undefined,
      portSharing: 'none',
      handleUpgrade: ({ authorization }) => {
        if (authorization === 'no') return text(401, 'no key', { 'WWW-Authenticate': 'Bearer' });
        return openSession;
      },
    };
    const openSession: SocketHandler = (connection) => {
      sockets.push(connection);
      return {
        message(message): void {
          connection.send(message === undefined ? 'binary' : `echo ${message}`);
        },
        closed(): void {
          closedSockets++;
          connection.send('after close');
          connection.close(1000, 'again');
        },
      };
    };

    before(async () => {
      transport = await listen(options);
      base = `127.0.0.1:${transport.port}`;
    });
    after(() => transport.close());

    it('passes method, path without query, headers and body to the handler', async () => {
      const response = await fetch(`http://${base}/a/b?c=d`, {
        method: 'POST',
        body: 'bödy',
        headers: { 'X-Request-Id': 'r1' },
      });
      assert.equal(response.status, 201);
      assert.equal(await response.text(), 'POST /a/b bödy');
      assert.equal(response.headers.get('x-seen'), 'r1');
      assert.equal(response.headers.get('content-type'), 'text/plain');
    });

    it('accepts a request without a body, and any method', async () => {
      assert.equal(await (await fetch(`http://${base}/x`)).text(), 'GET /x ');
      assert.equal(
        await (await fetch(`http://${base}/x`, { method: 'DELETE' })).text(),
        'DELETE /x ',
      );
    });

    it('answers HEAD with the length and without the body', async () => {
      const response = await fetch(`http://${base}/x`, { method: 'HEAD' });
      assert.equal(response.headers.get('content-length'), String('HEAD /x '.length));
      assert.equal(await response.text(), '');
    });

    it('answers further requests on a connection after HEAD', async () => {
      const head = 'HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n';
      const answers = await raw(base, [head, head, 'GET /y HTTP/1.1\r\nHost: a\r\n\r\n']);
      assert.equal(answers.match(/^HTTP\/1.1 201 /gm)?.length, 3);
      assert.match(answers, /GET \/y $/);
    });

    it(
      'closes a connection on which bytes that are not a request follow a HEAD',
      { timeout: 2 * MAX_IDLE_MS },
      async () => {
        const startedMs = performance.now();
        const socket = connect(transport.port, '127.0.0.1');
        socket.resume();
        // node:http sends this for a HEAD with a body: it does not send the body's length.
        socket.write('HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n{"a b": "ü"}');
        await new Promise((resolve) => socket.on('close', resolve));
        assert.ok(performance.now() - startedMs < MAX_IDLE_MS);
      },
    );

    it(
      'closes a connection whose head is not finished in time',
      { timeout: 2 * MAX_IDLE_MS },
      async () => {
        const startedMs = performance.now();
        const socket = connect(transport.port, '127.0.0.1');
        socket.resume();
        socket.write('GET /half HTTP/1.1\r\nHost: ');
        await new Promise((resolve) => socket.on('close', resolve));
        assert.ok(performance.now() - startedMs < MAX_IDLE_MS);
      },
    );

    it('joins a body that arrives in parts', async () => {
      const answer = await raw(base, [
        'POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhello',
        'world',
      ]);
      assert.match(answer, /POST \/p helloworld$/);
      const chunked = await raw(base, [
        'POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n' +
          '\r\n5\r\nhello\r\n',
        '5\r\nworld\r\n0\r\n\r\n',
      ]);
      assert.match(chunked, /helloworld/);
    });

    it('refuses a request after its head and discards the body', async () => {
      const before = seen.length;
      const answers = await raw(base, [
        'POST /closed HTTP/1.1\r\nHost: a\r\nX-Request-Id: r2\r\nContent-Length: 10\r\n\r\n',
        'hello',
        'worldPOST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nwhole',
        'POST /closed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
        '0\r\n\r\n',
        `POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: ${4 * MAX_BODY}\r\n\r\n`,
        'x'.repeat(4 * MAX_BODY),
        'HEAD /closed HTTP/1.1\r\nHost: a\r\n\r\n',
        'POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody',
      ]);
      assert.equal(answers.match(/HTTP\/1.1 503 /g)?.length, 5);
      assert.equal(answers.match(/POST closed/g)?.length, 4);
      assert.match(answers, /^x-seen: r2\r$/im);
      assert.match(answers, /POST \/open body$/);
      assert.equal(seen.length, before + 1);
    });

    it('survives a client that disconnects in the body of a refused request', async () => {
      const socket = connect(Number(base.split(':')[1]), '127.0.0.1');
      socket.write('POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf');
      await new Promise((answered) => socket.once('data', answered));
      socket.resetAndDestroy();
      assert.equal((await fetch(`http://${base}/x`)).status, 201);
      assert.equal(transport.openRequests(), 0);
    });

    it('stops reading the body of a refused request at a limit', async () => {
      const chunk = 'x'.repeat(MAX_BODY);
      for (const [head, part] of [
        ['Transfer-Encoding: chunked', `${MAX_BODY.toString(16)}\r\n${chunk}\r\n`],
        ['Content-Length: 1000000000', chunk],
      ] as const) {
        const socket = connect(Number(base.split(':')[1]), '127.0.0.1');
        socket.on('error', () => undefined);
        socket.write(`POST /closed HTTP/1.1\r\nHost: a\r\n${head}\r\n\r\n`);
        for (let sent = 0; !socket.closed; sent++) {
          assert.ok(sent < 1000, `${head}: still open after ${sent} times the limit`);
          socket.write(part);
          await sleep(1);
        }
      }
      assert.equal(transport.openRequests(), 0);
    });

    it('passes a body of the maximum size, and undefined for one byte more', async () => {
      const full = await fetch(`http://${base}/l`, { method: 'POST', body: 'x'.repeat(MAX_BODY) });
      assert.match(await full.text(), /^POST \/l x{2000}$/);
      const over = await fetch(`http://${base}/l`, {
        method: 'POST',
        body: 'x'.repeat(MAX_BODY + 1),
      });
      assert.equal(await over.text(), 'POST /l too large');
    });

    it('closes the connection when a body is many times the limit', async () => {
      await assert.rejects(
        fetch(`http://${base}/l`, { method: 'POST', body: 'x'.repeat(100 * MAX_BODY) }),
      );
    });

    it('answers 500 when the handler throws', async () => {
      assert.equal((await fetch(`http://${base}/throws`)).status, 500);
    });

    it('sends a large answer completely', async () => {
      assert.equal((await (await fetch(`http://${base}/big`)).text()).length, 5_000_000);
    });

    it('tells the handler when a client disconnects before the answer', async () => {
      const socket = connect(transport.port, '127.0.0.1');
      socket.write('GET /wait HTTP/1.1\r\nHost: a\r\n\r\n');
      const answer = await until(() => release);
      assert.equal(transport.openRequests(), 1);
      socket.destroy();
      await until(() => seen.at(-1)?.aborted);
      answer();
      await sleep(20);
      assert.equal(transport.openRequests(), 0);
      assert.equal((await fetch(`http://${base}/x`)).status, 201);
    });

    it('survives a client that disconnects in the middle of its body', async () => {
      const socket = connect(transport.port, '127.0.0.1');
      socket.write('POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf');
      await sleep(50);
      socket.destroy();
      await until(() => transport.openRequests() === 0);
      assert.ok(!seen.some(({ path }) => path === '/half'));
    });

    it('survives bytes that are not HTTP', async () => {
      await raw(base, ['\u0000\u0001 nonsense\r\n\r\n']);
      assert.equal((await fetch(`http://${base}/x`)).status, 201);
    });

    it('carries text frames in both directions and marks binary frames', async () => {
      const client = await open(base, '/socket');
      const frames: string[] = [];
      client.on('message', (data) => frames.push((data as Buffer).toString('utf8')));
      client.send('one ü');
      client.send(Buffer.from([1, 2]));
      await until(() => frames.length === 2);
      assert.deepEqual(frames, ['echo one ü', 'binary']);
      const before = closedSockets;
      client.close();
      await until(() => closedSockets === before + 1);
      assert.equal(sockets.at(-1)!.bufferedBytes(), 0);
    });

    it('closes a WebSocket from the server with code and reason', async () => {
      const client = await open(base, '/socket');
      const closed = new Promise<[number, string]>((resolve) => {
        client.on('close', (code, reason) => {
          resolve([code, reason.toString('utf8')]);
        });
      });
      sockets.at(-1)!.close(1013, 'later');
      assert.deepEqual(await closed, [1013, 'later']);
    });

    it('closes a WebSocket that sends too large a frame', async () => {
      const client = await open(base, '/socket');
      const closed = new Promise((resolve) => client.on('close', resolve));
      client.on('error', () => undefined);
      client.send('x'.repeat(MAX_FRAME + 1));
      await closed;
    });

    it('sends the reply of the handler when it refuses an upgrade', async () => {
      const opened = sockets.length;
      const client = new WebSocket(`ws://${base}/socket`, { headers: { Authorization: 'no' } });
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        client.on('unexpected-response', (_request, incoming) => {
          resolve(incoming);
        });
        client.on('error', reject);
      });
      assert.equal(response.statusCode, 401);
      assert.equal(response.headers['www-authenticate'], 'Bearer');
      assert.equal(await bodyOf(response), 'no key');
      assert.equal(sockets.length, opened);
    });

    it('accepts a head of the maximum size, also in parts', async () => {
      const head = headOf(MAX_HEAD_BYTES);
      assert.match(await raw(base, [head]), /^HTTP\/1.1 201 /);
      assert.match(await raw(base, [head.slice(0, 100), head.slice(100)]), /^HTTP\/1.1 201 /);
      assert.match(await raw(base, [headOf(2000, MAX_HEADERS)]), /^HTTP\/1.1 201 /);
    });

    it('answers 431 or closes when a head is larger or has more headers', async () => {
      const handled = seen.length;
      const [over, many] = [headOf(MAX_HEAD_BYTES + 1), headOf(2000, MAX_HEADERS + 1)];
      assert.match(await raw(base, [over]), /^HTTP\/1.1 431 /);
      assert.match(await raw(base, [headOf(100_000)]), /^(HTTP\/1.1 431 |$)/);
      assert.match(await raw(base, [over.slice(0, 100), over.slice(100)]), /^(HTTP\/1.1 431 |$)/);
      assert.match(await raw(base, [many]), /^(HTTP\/1.1 431 |$)/);
      assert.equal(seen.length, handled);
      assert.equal((await fetch(`http://${base}/x`)).status, 201);
    });

    it('refuses a request before it checks the size of the head', async () => {
      const over = headOf(MAX_HEAD_BYTES + 10).replace('/head?a=b', '/closed');
      // Newer builds of uWebSockets check the size of every head themselves.
      const refusal = name === 'uws' ? /^HTTP\/1.1 (503|431) / : /^HTTP\/1.1 503 /;
      assert.match(await raw(base, [over]), refusal);
    });

    it('rejects a WebSocket on another path', async () => {
      await assert.rejects(open(base, '/elsewhere'));
    });

    it('throws ERR_CONFIG_INVALID when the port is in use', async () => {
      await assert.rejects(
        listen({ ...options, port: transport.port }),
        (error) => error instanceof TandemError && error.code === 'ERR_CONFIG_INVALID',
      );
    });

    it('finishes open requests after it stops accepting connections', async () => {
      release = undefined;
      const pending = fetch(`http://${base}/wait`);
      const answer = await until(() => release);
      transport.stopAccepting();
      await assert.rejects(raw(base, ['GET /x HTTP/1.1\r\nHost: a\r\n\r\n']));
      answer();
      const response = await pending;
      assert.equal((await response.text()).length, 7 * 300_000);
      assert.equal(response.headers.get('connection'), 'close');
    });
  });

/** Makes a GET request whose head has this many bytes and headers. */
function headOf(bytes: number, headers = 2): string {
  let head = 'GET /head?a=b HTTP/1.1\r\nHost: a\r\n';
  for (let i = 2; i < headers; i++) head += `X-${i}: 1\r\n`;
  head += 'X-Fill: ';
  return `${head}${'x'.repeat(bytes - head.length - 4)}\r\n\r\n`;
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of response) body += String(chunk);
  return body;
}

function text(status: number, body: string, headers: Record<string, string> = {}): HttpReply {
  return { status, contentType: 'text/plain', body, headers };
}

/** Waits for a value that is neither undefined nor false. */
async function until<T>(read: () => T | undefined | false): Promise<T> {
  for (let i = 0; i < 400; i++) {
    const value = read();
    if (value !== undefined && value !== false) return value;
    await sleep(5);
  }
  throw new Error('Expected a condition to come true within two seconds.');
}

function open(base: string, path: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const client = new WebSocket(`ws://${base}${path}`);
    client.on('open', () => {
      resolve(client);
    });
    client.on('error', reject);
  });
}
