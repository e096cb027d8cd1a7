// The transport on uWebSockets. uws-binary.ts loads it.
// Wrong use of its objects ends the process from C++. Therefore only Response and Connection below
// know whether a response was aborted or ended and whether a socket was closed.

import { STATUS_CODES } from 'node:http';
import type * as Uws from 'uWebSockets.js';
import { TandemError } from '../../errors.ts';
import { noNativeUws } from './choose-transport.ts';
import {
  BodyCollector,
  HEAD_TOO_LARGE,
  HeadSize,
  ReceivedRequest,
  answer,
  copyHeaders,
  isBounded,
  type HttpReply,
  type SocketConnection,
  type SocketHandler,
  type SocketSession,
  type Transport,
  type TransportOptions,
} from './transport.ts';
import { findUws, type NativeUws } from './uws-binary.ts';

const MAX_SOCKET_BACKPRESSURE_BYTES = 16 * 1024 * 1024;
/**
 * LIBUS_LISTEN_DEFAULT of uWebSockets. It sets SO_REUSEPORT, and the kernel distributes connections
 * among all sockets that listen on the port.
 */
const LISTEN_SHARED = 0;

/** What is open on one listener. */
interface OpenState {
  draining: boolean;
  readonly responses: Set<Response>;
  readonly sockets: Set<Connection>;
}

/**
 * Listens with uWebSockets.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE when the native build does not load on this machine;
 *   ERR_CONFIG_INVALID when the port is in use.
 */
export async function listenUws(options: TransportOptions): Promise<Transport> {
  const found = findUws();
  if (found.uws === undefined) throw noNativeUws(found.reason);
  const { uws } = found;
  const { tls } = options;
  const app = (
    tls === undefined
      ? uws.App()
      : uws.SSLApp({ cert_file_name: tls.certFile, key_file_name: tls.keyFile })
  ) as ClosableApp;
  const state: OpenState = { draining: false, responses: new Set(), sockets: new Set() };
  app.ws<SocketData>(options.socketPath, socketBehavior(options, state));
  app.any('/*', requestHandler(options, state));
  const listenSocket = await openPort(uws, app, options);
  return new UwsTransport(uws, app, listenSocket, state);
}

class UwsTransport implements Transport {
  readonly name = 'uws';
  readonly port: number;
  readonly #uws: NativeUws;
  readonly #app: ClosableApp;
  readonly #state: OpenState;
  /** Undefined once it is closed. */
  #listenSocket: Uws.us_listen_socket | undefined;

  constructor(
    uws: NativeUws,
    app: ClosableApp,
    listenSocket: Uws.us_listen_socket,
    state: OpenState,
  ) {
    this.port = uws.us_socket_local_port(listenSocket);
    this.#uws = uws;
    this.#app = app;
    this.#listenSocket = listenSocket;
    this.#state = state;
  }

  openRequests(): number {
    return this.#state.responses.size;
  }

  stopAccepting(): void {
    this.#state.draining = true;
    if (this.#listenSocket !== undefined) this.#uws.us_listen_socket_close(this.#listenSocket);
    this.#listenSocket = undefined;
  }

  close(): Promise<void> {
    this.stopAccepting();
    const { responses, sockets } = this.#state;
    for (const connection of [...sockets]) connection.close(1001, 'server is stopping');
    for (const response of [...responses]) response.cut();
    // Also closes idle connections. A thread ends only when nothing is left on its event loop.
    this.#app.close();
    return Promise.resolve();
  }
}

/** @throws TandemError ERR_CONFIG_INVALID when the port is in use; the app is closed then. */
async function openPort(
  uws: NativeUws,
  app: ClosableApp,
  options: TransportOptions,
): Promise<Uws.us_listen_socket> {
  const { host, portSharing } = options;
  const listen = (port: number, flags: number): Promise<Uws.us_listen_socket | false> =>
    new Promise((resolve) => {
      (app.listen as unknown as Listen).call(app, host, port, flags, resolve);
    });
  // Without the exclusive flag the socket has SO_REUSEPORT, and a second server on the port goes
  // unnoticed. The first of several event loops checks for another server with the exclusive flag,
  // then opens the port again for the other event loops to join.
  let listenSocket = await listen(
    options.port,
    portSharing === 'joined' ? LISTEN_SHARED : uws.LIBUS_LISTEN_EXCLUSIVE_PORT,
  );
  if (portSharing === 'first' && listenSocket !== false) {
    const port = uws.us_socket_local_port(listenSocket);
    uws.us_listen_socket_close(listenSocket);
    listenSocket = await listen(port, LISTEN_SHARED);
  }
  if (listenSocket !== false) return listenSocket;
  app.close();
  throw new TandemError(
    'ERR_CONFIG_INVALID',
    `Expected to listen on ${host}:${options.port}, but the address is in use or does not belong ` +
      'to this machine. Choose another with --port or TANDEM_PORT.',
    { details: { setting: 'port' } },
  );
}

function requestHandler(
  options: TransportOptions,
  state: OpenState,
): (raw: Uws.HttpResponse, request: Uws.HttpRequest) => void {
  return (raw, request) => {
    const method = request.getCaseSensitiveMethod();
    const path = request.getUrl();
    const header = (name: string): string => request.getHeader(name);
    const refusal = options.handleHead(method, path, header);
    if (refusal !== undefined && isBounded(header, options.maxBodyBytes)) {
      // uWebSockets discards a body that nobody listens to. The socket is corked in this handler.
      write(raw, refusal, state.draining, method === 'HEAD');
      return;
    }
    const response = new Response(raw, state);
    response.withoutBody = method === 'HEAD';
    if (!headFits(request)) {
      response.send(HEAD_TOO_LARGE, true);
      return;
    }
    // The request object is invalid after this function returns, so the headers are copied.
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
      answer(options.handleRequest, new ReceivedRequest(parts, response), (reply) => {
        response.send(reply);
      });
    });
  };
}

function socketBehavior(
  options: TransportOptions,
  state: OpenState,
): Uws.WebSocketBehavior<SocketData> {
  return {
    maxPayloadLength: options.maxFrameBytes,
    idleTimeout: options.socketIdleSeconds,
    maxBackpressure: MAX_SOCKET_BACKPRESSURE_BYTES,
    upgrade(response, request, context) {
      const handler = headFits(request)
        ? options.handleUpgrade(copyHeaders((name) => request.getHeader(name)))
        : HEAD_TOO_LARGE;
      if (typeof handler !== 'function') {
        new Response(response, state).send(handler, true);
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
      state.sockets.add(connection);
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
        state.sockets.delete(connection);
      }
      session?.closed();
    },
  };
}

interface SocketData {
  readonly handler: SocketHandler;
  connection?: Connection;
  session?: SocketSession;
}

/** The form of listen() with flags after host and port, which the package's types do not have. */
type Listen = (
  host: string,
  port: number,
  flags: number,
  callback: (socket: Uws.us_listen_socket | false) => void,
) => Uws.TemplatedApp;

/** The package's types do not have close(), which closes listeners and connections. */
interface ClosableApp extends Uws.TemplatedApp {
  close(): this;
}

/** uWebSockets accepts a head of any size when it arrives in one piece, so the size is checked. */
function headFits(request: Uws.HttpRequest): boolean {
  const query = request.getQuery();
  const url = query === '' ? request.getUrl() : `${request.getUrl()}?${query}`;
  const head = new HeadSize(request.getCaseSensitiveMethod(), url);
  request.forEach((name, value) => {
    head.add(name, value);
  });
  return head.fits;
}

/** @param last - whether the connection closes after this reply. */
function write(raw: Uws.HttpResponse, reply: HttpReply, last: boolean, withoutBody: boolean): void {
  const { status, contentType, body, headers } = reply;
  raw.writeStatus(STATUS_LINES.get(status) ?? String(status));
  raw.writeHeader('Content-Type', contentType);
  for (const name in headers) raw.writeHeader(name, headers[name]!);
  if (withoutBody) {
    // With a length as argument, endWithoutBody() waits for a body of that length: the idle timeout
    // does not run, and the next request on the connection is cut off. Without the argument it
    // cannot close the connection. The client or the idle timeout does.
    raw.writeHeader('Content-Length', String(Buffer.byteLength(body)));
    if (last) raw.writeHeader('Connection', 'close');
    raw.endWithoutBody();
  }
  // end() itself writes "Connection: close" when `last` is true, and closes after the body.
  else raw.end(inUtf8(body), last);
}

const encoder = new TextEncoder();
/** uWebSockets copies what it is given, so one buffer serves every answer of this thread. */
const scratch = new Uint8Array(256 * 1024);
/** The largest number of bytes of UTF-8 for one unit of a JavaScript string. */
const MAX_UTF8_BYTES = 3;

/** The build for Node 24 writes a string with characters up to U+00FF as Latin-1. */
const WRITES_UTF8 = Number(process.versions.modules) < 137;

/**
 * Encodes text as UTF-8 where uWebSockets does not.
 *
 * @returns content that is valid until the next call.
 */
function inUtf8(content: string | Uint8Array): string | Uint8Array {
  if (typeof content !== 'string' || WRITES_UTF8) return content;
  if (content.length * MAX_UTF8_BYTES > scratch.length) return encoder.encode(content);
  return scratch.subarray(0, encoder.encodeInto(content, scratch).written);
}

const STATUS_LINES = new Map(
  Object.entries(STATUS_CODES).map(([status, text]) => [Number(status), `${status} ${text ?? ''}`]),
);

/** A response that is written at most once, and never after the client has left. */
class Response {
  done = false;
  withoutBody = false;
  readonly #raw: Uws.HttpResponse;
  readonly #state: OpenState;

  constructor(raw: Uws.HttpResponse, state: OpenState) {
    this.#raw = raw;
    this.#state = state;
    state.responses.add(this);
    raw.onAborted(() => {
      this.#finish();
    });
  }

  /** @param last - whether the connection closes after this reply; true while the server drains. */
  send(reply: HttpReply, last: boolean = this.#state.draining): void {
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
    this.#state.responses.delete(this);
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
    this.#socket?.send(inUtf8(frame), typeof frame !== 'string');
  }

  bufferedBytes(): number {
    return this.#socket?.getBufferedAmount() ?? 0;
  }

  close(code: number, reason: string): void {
    // end() calls the close handler before it returns, and that handler clears the field.
    this.#socket?.end(code, reason);
  }
}
