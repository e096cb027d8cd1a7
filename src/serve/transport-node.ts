// The transport on node:http and ws, for machines where uWebSockets' binary does not load.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type RawData, type WebSocket } from 'ws';
import { TandemError } from '../errors.ts';
import {
  BodyCollector,
  type HttpReply,
  type HttpRequest,
  type SocketConnection,
  type Transport,
  type TransportOptions,
} from './transport.ts';

/** A client gets this long to send a request: the same protection against slow senders that uWebSockets has built in. */
const REQUEST_TIMEOUT_MS = 10_000;

/** Listens with node:http. @throws TandemError ERR_CONFIG_INVALID when the port is taken. */
export async function listenNode(options: TransportOptions): Promise<Transport> {
  let draining = false;
  let openRequests = 0;
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS },
    (incoming, outgoing) => {
      const body = new BodyCollector(options.maxBodyBytes);
      let aborted = false;
      openRequests += 1;
      outgoing.on('close', () => {
        aborted = true;
        openRequests -= 1;
      });
      // Without a listener an ECONNRESET in the middle of a body would end the process.
      incoming.on('error', () => {
        aborted = true;
      });
      incoming.on('data', (chunk: Buffer) => {
        if (!body.add(chunk)) incoming.destroy();
      });
      incoming.on('end', () => {
        if (aborted) return;
        const request: HttpRequest = {
          method: incoming.method ?? 'GET',
          path: pathOf(incoming),
          headers: {
            'x-request-id': headerOf(incoming, 'x-request-id'),
            traceparent: headerOf(incoming, 'traceparent'),
            accept: headerOf(incoming, 'accept'),
          },
          body: body.finish(),
          get aborted() {
            return aborted;
          },
        };
        answer(options, request).then(
          (reply) => {
            if (!aborted) write(outgoing, reply, draining, request.method === 'HEAD');
          },
          () => {
            if (!aborted) write(outgoing, FAILED, true, false);
          },
        );
      });
    },
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
      stream.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    sockets.handleUpgrade(incoming, stream, head, (socket) => {
      attach(socket, options);
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

function attach(socket: WebSocket, options: TransportOptions): void {
  let closed = false;
  let heardMs = performance.now();
  const connection: SocketConnection = {
    send(text) {
      if (!closed) socket.send(text);
    },
    bufferedBytes: () => (closed ? 0 : socket.bufferedAmount),
    close(code, reason) {
      if (!closed) socket.close(code, reason);
    },
  };
  const session = options.handleSocket(connection);
  const idleMs = options.socketIdleSeconds * 1000;
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

function pathOf(incoming: IncomingMessage): string {
  const url = incoming.url ?? '/';
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}

function headerOf(incoming: IncomingMessage, name: string): string {
  const value = incoming.headers[name];
  return typeof value === 'string' ? value : '';
}
