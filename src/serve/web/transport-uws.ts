// The transport on uWebSockets.js, and the only file that imports it.
// Misuse of it ends the process from C++, so Response and Connection below own "aborted" and "ended" and nobody else does.

import { STATUS_CODES } from 'node:http';
import type * as Uws from 'uWebSockets.js';
import { TandemError } from '../../errors.ts';
import {
  BodyCollector,
  HEAD_TOO_LARGE,
  HeadSize,
  ReceivedRequest,
  copyHeaders,
  isBounded,
  type HttpReply,
  type HttpRequest,
  type RequestHandler,
  type SocketConnection,
  type SocketHandler,
  type SocketSession,
  type Transport,
  type TransportOptions,
} from './transport.ts';

const MAX_SOCKET_BACKPRESSURE_BYTES = 16 * 1024 * 1024;
/** What uWebSockets calls LIBUS_LISTEN_DEFAULT: SO_REUSEPORT, the kernel spreads connections over those who listen. */
const LISTEN_SHARED = 0;

/**
 * Listens with uWebSockets.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE when its native build does not load here; ERR_CONFIG_INVALID when the
 *   port is taken.
 */
export async function listenUws(options: TransportOptions): Promise<Transport> {
  const uws = await loadUws();
  const { tls } = options;
  const app =
    tls === undefined
      ? uws.App()
      : uws.SSLApp({ cert_file_name: tls.certFile, key_file_name: tls.keyFile });
  const open = new Set<Response>();
  const sockets = new Set<Connection>();
  const shared = { draining: false };

  app.ws<SocketData>(options.socketPath, {
    maxPayloadLength: options.maxFrameBytes,
    idleTimeout: options.socketIdleSeconds,
    maxBackpressure: MAX_SOCKET_BACKPRESSURE_BYTES,
    upgrade(response, request, context) {
      const handler = headFits(request)
        ? options.handleUpgrade(copyHeaders((name) => request.getHeader(name)))
        : HEAD_TOO_LARGE;
      if (typeof handler !== 'function') {
        new Response(response, shared, open).send(handler, true);
        return;
      }
      response.upgrade<SocketData>(
        { handler },
        request.getHeader('sec-websocket-key'),
        request.getHeader('sec-websocket-protocol'),
        request.getHeader('sec-websocket-extensions'),
        context,
      );
    },
    open(socket) {
      const connection = new Connection(socket);
      sockets.add(connection);
      const data = socket.getUserData();
      data.connection = connection;
      data.session = data.handler(connection);
    },
    message(socket, message, isBinary) {
      const text = isBinary ? undefined : Buffer.from(message).toString('utf8');
      socket.getUserData().session?.message(text);
    },
    close(socket) {
      const { connection, session } = socket.getUserData();
      if (connection !== undefined) {
        connection.markClosed();
        sockets.delete(connection);
      }
      session?.closed();
    },
  });

  app.any('/*', (raw, request) => {
    const method = request.getCaseSensitiveMethod();
    const path = request.getUrl();
    const header = (name: string): string => request.getHeader(name);
    const refusal = options.handleHead(method, path, header);
    if (refusal !== undefined && isBounded(header, options.maxBodyBytes)) {
      // uWebSockets throws away what comes of a body that nobody listens to, and has corked the socket while it is in here.
      write(raw, refusal, shared.draining, method === 'HEAD');
      return;
    }
    const response = new Response(raw, shared, open);
    response.withoutBody = method === 'HEAD';
    if (!headFits(request)) {
      response.send(HEAD_TOO_LARGE, true);
      return;
    }
    // The request object dies when this function returns; all that is needed of it is copied here.
    const headers = copyHeaders(header);
    const body = new BodyCollector(options.maxBodyBytes);
    raw.onData((chunk, isLast) => {
      if (response.done) return;
      if (!body.add(new Uint8Array(chunk))) {
        response.cut();
        return;
      }
      if (!isLast) return;
      if (refusal !== undefined) {
        response.send(refusal);
        return;
      }
      const parts = { method, path, headers, body: body.finish() };
      answer(options.handleRequest, new ReceivedRequest(parts, response), response);
    });
  });

  /** Listeners and connections, idle ones, too: a thread ends when its event loop has nothing left. */
  const closeAll = (): void => {
    (app as Uws.TemplatedApp & Closable).close();
  };
  const listen = (port: number, how: number): Promise<Uws.us_listen_socket | false> =>
    new Promise((resolve) => {
      (app.listen as unknown as Listen).call(app, options.host, port, how, resolve);
    });
  // Without "exclusive" the socket is opened with SO_REUSEPORT, and a second server on the port goes unnoticed. The first of
  // several event loops looks for one before it opens the port to the others.
  const { portSharing } = options;
  let listenSocket = await listen(
    options.port,
    portSharing === 'joined' ? LISTEN_SHARED : uws.LIBUS_LISTEN_EXCLUSIVE_PORT,
  );
  if (portSharing === 'first' && listenSocket !== false) {
    const port = uws.us_socket_local_port(listenSocket);
    uws.us_listen_socket_close(listenSocket);
    listenSocket = await listen(port, LISTEN_SHARED);
  }
  if (listenSocket === false) {
    closeAll();
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected to listen on ${options.host}:${options.port}, but the address is in use or not ours. Choose another with --port or TANDEM_PORT.`,
      { details: { setting: 'port' } },
    );
  }
  let listening = true;
  const stopAccepting = (): void => {
    shared.draining = true;
    if (listening) uws.us_listen_socket_close(listenSocket);
    listening = false;
  };
  return {
    name: 'uws',
    port: uws.us_socket_local_port(listenSocket),
    openRequests: () => open.size,
    stopAccepting,
    close: () => {
      stopAccepting();
      for (const connection of [...sockets]) connection.close(1001, 'server is stopping');
      for (const response of [...open]) response.cut();
      closeAll();
      return Promise.resolve();
    },
  };
}

interface SocketData {
  readonly handler: SocketHandler;
  connection?: Connection;
  session?: SocketSession;
}

/** listen() takes options after host and port as well; the package's types leave that form out. */
type Listen = (
  host: string,
  port: number,
  options: number,
  callback: (socket: Uws.us_listen_socket | false) => void,
) => Uws.TemplatedApp;

/** Closes listeners and connections; missing in the package's types. */
interface Closable {
  close(): void;
}

export interface NativeUws extends Pick<
  typeof Uws,
  'App' | 'SSLApp' | 'us_listen_socket_close' | 'us_socket_local_port'
> {
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number;
}

/**
 * The package falls back to a slow JavaScript imitation with no more than a console warning; that one lacks SSLApp.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE.
 */
export async function loadUws(): Promise<NativeUws> {
  const { default: uws } = (await import('uWebSockets.js')) as unknown as { default: NativeUws };
  if ('SSLApp' in uws && String(uws.App).includes('[native code]')) return uws;
  throw new TandemError(
    'ERR_NATIVE_UNAVAILABLE',
    `Expected the native build of uWebSockets.js for Node ${process.version} on ${process.platform}-${process.arch}, but only its JavaScript fallback loads. ` +
      'Use Node 20 with glibc 2.34 or newer, or choose the node:http transport with --transport node.',
    { details: { node: process.version } },
  );
}

/** A head that arrives in one piece passes uWebSockets at any size. */
function headFits(request: Uws.HttpRequest): boolean {
  const query = request.getQuery();
  const url = query === '' ? request.getUrl() : `${request.getUrl()}?${query}`;
  const head = new HeadSize(request.getCaseSensitiveMethod(), url);
  request.forEach((name, value) => {
    head.add(name, value);
  });
  return head.fits;
}

function answer(handle: RequestHandler, request: HttpRequest, response: Response): void {
  let reply: HttpReply | Promise<HttpReply>;
  try {
    reply = handle(request);
  } catch {
    response.send(FAILED);
    return;
  }
  if (reply instanceof Promise)
    reply.then(
      (value) => {
        response.send(value);
      },
      () => {
        response.send(FAILED);
      },
    );
  else response.send(reply);
}

const FAILED: HttpReply = { status: 500, contentType: 'text/plain', body: '' };

/** @param last - whether the connection closes after it. */
function write(raw: Uws.HttpResponse, reply: HttpReply, last: boolean, withoutBody: boolean): void {
  const { status, contentType, body, headers } = reply;
  raw.writeStatus(STATUS_LINES.get(status) ?? String(status));
  raw.writeHeader('Content-Type', contentType);
  for (const name in headers) raw.writeHeader(name, headers[name]!);
  if (withoutBody) {
    // Told a length, endWithoutBody() waits for a body of it: the idle timeout never comes, and the next request on the
    // connection is cut off. Told nothing it cannot close, so that is left to the client or the idle timeout.
    raw.writeHeader('Content-Length', String(Buffer.byteLength(body)));
    if (last) raw.writeHeader('Connection', 'close');
    raw.endWithoutBody();
  }
  // It says "Connection: close" itself when it is the last, and closes once the body is out.
  else raw.end(body, last);
}

const STATUS_LINES = new Map(
  Object.entries(STATUS_CODES).map(([status, text]) => [Number(status), `${status} ${text ?? ''}`]),
);

/** A response that is written at most once, and never after the client has gone. */
class Response {
  done = false;
  withoutBody = false;
  readonly #raw: Uws.HttpResponse;
  readonly #shared: { readonly draining: boolean };
  readonly #open: Set<Response>;

  constructor(raw: Uws.HttpResponse, shared: { readonly draining: boolean }, open: Set<Response>) {
    this.#raw = raw;
    this.#shared = shared;
    this.#open = open;
    open.add(this);
    raw.onAborted(() => {
      this.#finish();
    });
  }

  /** @param last - whether the connection closes after it, also when the server is not stopping. */
  send(reply: HttpReply, last: boolean = this.#shared.draining): void {
    if (this.done) return;
    this.#finish();
    const raw = this.#raw;
    raw.cork(() => {
      write(raw, reply, last, this.withoutBody);
    });
  }

  /** Closes the connection without an answer. */
  cut(): void {
    if (this.done) return;
    this.#finish();
    this.#raw.close();
  }

  #finish(): void {
    this.done = true;
    this.#open.delete(this);
  }
}

class Connection implements SocketConnection {
  #socket: Uws.WebSocket<unknown> | undefined;

  constructor(socket: Uws.WebSocket<unknown>) {
    this.#socket = socket;
  }

  markClosed(): void {
    this.#socket = undefined;
  }

  send(frame: string | Uint8Array): void {
    this.#socket?.send(frame, typeof frame !== 'string');
  }

  bufferedBytes(): number {
    return this.#socket?.getBufferedAmount() ?? 0;
  }

  close(code: number, reason: string): void {
    // end() runs the close handler before it returns, which clears the field.
    this.#socket?.end(code, reason);
  }
}
