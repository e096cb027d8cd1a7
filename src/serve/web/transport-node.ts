// The transport on node:http and ws, for machines where uWebSockets' binary does not load.

import { readFileSync } from 'node:fs';
import {
  STATUS_CODES,
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type RawData, type WebSocket } from 'ws';
import { TandemError } from '../../errors.ts';
import type { Duplex } from 'node:stream';
import {
  BodyCollector,
  HEAD_TOO_LARGE,
  HeadSize,
  ReceivedRequest,
  MAX_HEAD_BYTES,
  copyHeaders,
  isBounded,
  type HttpReply,
  type HttpRequest,
  type SocketConnection,
  type SocketHandler,
  type Transport,
  type TransportOptions,
} from './transport.ts';

/** A client gets this long to send a request: the same protection against slow senders that uWebSockets has built in. */
const REQUEST_TIMEOUT_MS = 10_000;
/** How often node:http looks for those who are over it; by itself it looks every 30 s. */
const TIMEOUT_CHECK_MS = 1000;

/** Listens with node:http. @throws TandemError ERR_CONFIG_INVALID when the port is taken. */
export async function listenNode(options: TransportOptions): Promise<Transport> {
  let draining = false;
  let openRequests = 0;
  const listener: RequestListener = (incoming, outgoing) => {
    const { method = 'GET' } = incoming;
    const path = pathOf(incoming);
    const header = (name: string): string => headerOf(incoming, name);
    const refusal = options.handleHead(method, path, header);
    if (refusal !== undefined && isBounded(header, options.maxBodyBytes)) {
      incoming.on('error', () => undefined);
      incoming.resume();
      write(outgoing, refusal, draining, method === 'HEAD');
      return;
    }
    if (!headFits(incoming)) {
      write(outgoing, HEAD_TOO_LARGE, true, false);
      return;
    }
    const body = new BodyCollector(options.maxBodyBytes);
    const response = { done: false };
    openRequests += 1;
    outgoing.on('close', () => {
      response.done = true;
      openRequests -= 1;
    });
    // Without a listener an ECONNRESET in the middle of a body would end the process.
    incoming.on('error', () => {
      response.done = true;
    });
    incoming.on('data', (chunk: Buffer) => {
      if (!body.add(chunk)) incoming.destroy();
    });
    incoming.on('end', () => {
      if (response.done) return;
      if (refusal !== undefined) {
        write(outgoing, refusal, draining, method === 'HEAD');
        return;
      }
      const parts = { method, path, headers: copyHeaders(header), body: body.finish() };
      const request = new ReceivedRequest(parts, response);
      answer(options, request).then(
        (reply) => {
          if (!response.done) write(outgoing, reply, draining, method === 'HEAD');
        },
        () => {
          if (!response.done) write(outgoing, FAILED, true, false);
        },
      );
    });
  };
  const limits = {
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    maxHeaderSize: MAX_HEAD_BYTES,
  };
  const { tls } = options;
  const server =
    tls === undefined
      ? createServer(limits, listener)
      : createTlsServer(
          { ...limits, cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) },
          listener,
        );

  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: options.maxFrameBytes,
    perMessageDeflate: false,
    clientTracking: true,
  });
  server.on('upgrade', (incoming, stream, head) => {
    stream.on('error', () => {
      stream.destroy();
    });
    if (pathOf(incoming) !== options.socketPath || draining) {
      refuse(stream, NOT_FOUND);
      return;
    }
    const handler = headFits(incoming)
      ? options.handleUpgrade(copyHeaders((name) => headerOf(incoming, name)))
      : HEAD_TOO_LARGE;
    if (typeof handler !== 'function') {
      refuse(stream, handler);
      return;
    }
    sockets.handleUpgrade(incoming, stream, head, (socket) => {
      attach(socket, handler, options.socketIdleSeconds);
    });
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new TandemError(
          'ERR_CONFIG_INVALID',
          `Expected to listen on ${options.host}:${options.port}, but: ${cause.message}. Choose another with --port or TANDEM_PORT.`,
          { cause, details: { setting: 'port' } },
        ),
      );
    });
    server.listen(options.port, options.host, resolve);
  });
  const stopAccepting = (): void => {
    if (draining) return;
    draining = true;
    server.close();
    server.closeIdleConnections();
  };
  return {
    name: 'node',
    port: (server.address() as AddressInfo).port,
    openRequests: () => openRequests,
    stopAccepting,
    close: () => {
      stopAccepting();
      for (const socket of sockets.clients) socket.close(1001, 'server is stopping');
      server.closeAllConnections();
      return Promise.resolve();
    },
  };
}

const FAILED: HttpReply = { status: 500, contentType: 'text/plain', body: '' };
const NOT_FOUND: HttpReply = { status: 404, contentType: 'text/plain', body: '' };

async function answer(options: TransportOptions, request: HttpRequest): Promise<HttpReply> {
  return options.handleRequest(request);
}

function write(
  outgoing: ServerResponse,
  reply: HttpReply,
  last: boolean,
  withoutBody: boolean,
): void {
  outgoing.writeHead(reply.status, {
    'Content-Type': reply.contentType,
    'Content-Length': Buffer.byteLength(reply.body),
    ...reply.headers,
    ...(last && { Connection: 'close' }),
  });
  outgoing.end(withoutBody ? undefined : reply.body);
}

/** Answers an upgrade request that becomes no WebSocket: node:http hands over the bare stream for it. */
function refuse(stream: Duplex, { status, contentType, body, headers }: HttpReply): void {
  const lines = Object.entries({
    'Content-Type': contentType,
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  stream.write(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n`);
  stream.end(body);
}

function attach(socket: WebSocket, handler: SocketHandler, idleSeconds: number): void {
  let closed = false;
  let heardMs = performance.now();
  const connection: SocketConnection = {
    send(frame) {
      if (!closed) socket.send(frame);
    },
    bufferedBytes: () => (closed ? 0 : socket.bufferedAmount),
    close(code, reason) {
      if (!closed) socket.close(code, reason);
    },
  };
  const session = handler(connection);
  const idleMs = idleSeconds * 1000;
  const watch = setInterval(() => {
    if (performance.now() - heardMs > idleMs) socket.terminate();
    else socket.ping();
  }, idleMs / 3);
  socket.on('pong', () => {
    heardMs = performance.now();
  });
  socket.on('message', (data: RawData, isBinary) => {
    heardMs = performance.now();
    session.message(isBinary ? undefined : (data as Buffer).toString('utf8'));
  });
  // An oversize or malformed frame arrives here; ws closes the socket itself.
  socket.on('error', () => undefined);
  socket.on('close', () => {
    closed = true;
    clearInterval(watch);
    session.closed();
  });
}

/** node:http counts a head without its separators, and drops headers over a count without a word. */
function headFits({ method = '', url = '', rawHeaders }: IncomingMessage): boolean {
  const head = new HeadSize(method, url);
  for (let i = 0; i < rawHeaders.length; i += 2) head.add(rawHeaders[i]!, rawHeaders[i + 1]!);
  return head.fits;
}

function pathOf(incoming: IncomingMessage): string {
  const url = incoming.url ?? '/';
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}

function headerOf(incoming: IncomingMessage, name: string): string {
  const value = incoming.headers[name];
  return typeof value === 'string' ? value : '';
}
