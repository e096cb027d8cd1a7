// The transport on node:http and ws, for machines on which the native build of uWebSockets does not
// load, and for the admin port.

import { readFileSync } from 'node:fs';
import {
  STATUS_CODES,
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type RawData, type WebSocket } from 'ws';
import { TandemError } from '../../errors.ts';
import {
  BodyCollector,
  HEAD_TOO_LARGE,
  HeadSize,
  KEEP_ALIVE_MS,
  MAX_HEAD_BYTES,
  ReceivedRequest,
  answer,
  copyHeaders,
  isBounded,
  type HttpReply,
  type SocketConnection,
  type SocketHandler,
  type Transport,
  type TransportOptions,
} from './transport.ts';

/** A client must send its request within this time. uWebSockets has the same limit built in. */
const REQUEST_TIMEOUT_MS = 10_000;
/** How often node:http checks that time. Its own default is 30 s. */
const TIMEOUT_CHECK_MS = 1000;

/** Whether the server drains, and how many requests are open on one listener. */
interface OpenState {
  draining: boolean;
  requests: number;
}

/**
 * Listens with node:http.
 *
 * @throws TandemError ERR_CONFIG_INVALID when the port is in use.
 */
export async function listenNode(options: TransportOptions): Promise<Transport> {
  const state: OpenState = { draining: false, requests: 0 };
  const server = createHttpServer(options, requestListener(options, state));
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: options.maxFrameBytes,
    perMessageDeflate: false,
    clientTracking: true,
  });
  server.on('upgrade', upgradeListener(options, state, sockets));
  server.on('connect', (_incoming, stream) => {
    stream.on('error', () => stream.destroy());
    refuse(stream, NO_CONNECT);
  });
  await openPort(server, options);
  return new NodeTransport(server, sockets, state);
}

class NodeTransport implements Transport {
  readonly name = 'node';
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: WebSocketServer;
  readonly #state: OpenState;

  constructor(server: Server, sockets: WebSocketServer, state: OpenState) {
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#sockets = sockets;
    this.#state = state;
  }

  openRequests(): number {
    return this.#state.requests;
  }

  stopAccepting(): void {
    if (this.#state.draining) return;
    this.#state.draining = true;
    this.#server.close();
    this.#server.closeIdleConnections();
  }

  close(): Promise<void> {
    this.stopAccepting();
    for (const socket of this.#sockets.clients) socket.close(1001, 'server is stopping');
    this.#server.closeAllConnections();
    return Promise.resolve();
  }
}

function createHttpServer({ tls }: TransportOptions, listener: RequestListener): Server {
  const limits = {
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    maxHeaderSize: MAX_HEAD_BYTES,
  };
  if (tls === undefined) return createServer(limits, listener);
  const [cert, key] = [readFileSync(tls.certFile), readFileSync(tls.keyFile)];
  return createTlsServer({ ...limits, cert, key }, listener);
}

/** @throws TandemError ERR_CONFIG_INVALID. */
function openPort(server: Server, { host, port }: TransportOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new TandemError(
          'ERR_CONFIG_INVALID',
          `Expected to listen on ${host}:${port}, but: ${cause.message}. ` +
            'Choose another with --port or TANDEM_PORT.',
          { cause, details: { setting: 'port' } },
        ),
      );
    });
    server.listen(port, host, resolve);
  });
}

function requestListener(options: TransportOptions, state: OpenState): RequestListener {
  return (incoming, outgoing) => {
    const { method = 'GET' } = incoming;
    const path = pathOf(incoming);
    const header = (name: string): string => headerOf(incoming, name);
    const refusal = options.handleHead(method, path, header);
    if (refusal !== undefined && isBounded(header, options.maxBodyBytes)) {
      incoming.on('error', () => undefined);
      incoming.resume();
      write(outgoing, refusal, state.draining, method === 'HEAD');
      return;
    }
    if (!headFits(incoming)) {
      write(outgoing, HEAD_TOO_LARGE, true, false);
      return;
    }
    const body = new BodyCollector(options.maxBodyBytes);
    const response = { done: false };
    state.requests += 1;
    outgoing.on('close', () => {
      response.done = true;
      state.requests -= 1;
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
        write(outgoing, refusal, state.draining, method === 'HEAD');
        return;
      }
      const parts = { method, path, headers: copyHeaders(header), body: body.finish() };
      answer(options.handleRequest, new ReceivedRequest(parts, response), (reply) => {
        if (!response.done) write(outgoing, reply, state.draining, method === 'HEAD');
      });
    });
  };
}

function upgradeListener(
  options: TransportOptions,
  state: OpenState,
  sockets: WebSocketServer,
): (incoming: IncomingMessage, stream: Duplex, head: Buffer) => void {
  return (incoming, stream, head) => {
    stream.on('error', () => {
      stream.destroy();
    });
    if (pathOf(incoming) !== options.socketPath || state.draining) {
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
  };
}

const NOT_FOUND: HttpReply = { status: 404, contentType: 'text/plain', body: '' };
/** The server is no proxy. */
const NO_CONNECT: HttpReply = { status: 405, contentType: 'text/plain', body: '' };

/** @param last - whether the connection closes after this reply. */
function write(
  outgoing: ServerResponse,
  reply: HttpReply,
  last: boolean,
  withoutBody: boolean,
): void {
  const { status, contentType, body, headers } = reply;
  // node:http writes a flat array as it is, and copies an object into a map first.
  const lines = ['Content-Type', contentType, 'Content-Length', String(Buffer.byteLength(body))];
  for (const name in headers) lines.push(name, headers[name]!);
  if (last) lines.push('Connection', 'close');
  outgoing.writeHead(status, lines);
  outgoing.end(withoutBody ? undefined : body);
}

/** Answers an upgrade request without an upgrade. node:http gives only the bare stream for it. */
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

/** Connects a WebSocket to a new session, and drops a peer that is silent for `idleSeconds`. */
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
  // Emitted for an oversize or malformed frame. ws closes the socket itself.
  socket.on('error', () => undefined);
  socket.on('close', () => {
    closed = true;
    clearInterval(watch);
    session.closed();
  });
}

/**
 * Whether a head is within the limits of transport.ts. node:http does not count the separators of a
 * head, and silently drops headers over its own limit on their number.
 */
function headFits({ method = '', url = '', rawHeaders }: IncomingMessage): boolean {
  const head = new HeadSize(method, url);
  for (let i = 0; i < rawHeaders.length; i += 2) head.add(rawHeaders[i]!, rawHeaders[i + 1]!);
  return head.fits;
}

/** The path of a request target, which proxies may send as an absolute URI (RFC 9112, 3.2.2). */
function pathOf({ url = '/' }: IncomingMessage): string {
  if (!url.startsWith('/') && URL.canParse(url)) return new URL(url).pathname;
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}

function headerOf(incoming: IncomingMessage, name: string): string {
  const value = incoming.headers[name];
  return typeof value === 'string' ? value : '';
}
