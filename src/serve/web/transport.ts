// The interface between the server and a web server: one handler for requests, one for WebSocket
// upgrades. transport-uws.ts and transport-node.ts implement it, and the tests in
// test/transport-conformance.test.ts hold both to the same behaviour.

/** The headers that handlers see. They are copied: uWebSockets frees all of them on return. */
export const COPIED_HEADERS = [
  'x-request-id',
  'traceparent',
  'accept',
  'authorization',
  'origin',
  'x-request-timeout-ms',
  'content-encoding',
  'inference-header-content-length',
] as const;
export type CopiedHeader = (typeof COPIED_HEADERS)[number];
/** A header that the request does not have is an empty string. */
export type CopiedHeaders = Readonly<Record<CopiedHeader, string>>;

/**
 * Limits on the head of a request, from the request line to the empty line.
 *
 * uWebSockets has these limits compiled in for a head that arrives in pieces. The transports apply
 * them to every head, except to those of requests that are refused anyway.
 */
export const MAX_HEAD_BYTES = 4096;
export const MAX_HEADERS = 48;

export interface HttpRequest {
  /** Upper case. */
  readonly method: string;
  /** Without the query string. */
  readonly path: string;
  readonly headers: CopiedHeaders;
  /** Owned by the handler. Undefined when the body was over the limit and was discarded. */
  readonly body: Buffer | undefined;
  /** Whether the client has left, so that nobody would receive an answer. */
  readonly aborted: boolean;
}

/**
 * A request, and whether its response has ended.
 *
 * It is a class because V8 gives every object literal with a getter its own hidden class. Those
 * hidden classes would keep the request's objects alive until the next full collection.
 */
export class ReceivedRequest implements HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: CopiedHeaders;
  readonly body: Buffer | undefined;
  readonly #response: { readonly done: boolean };

  constructor(
    { method, path, headers, body }: Omit<HttpRequest, 'aborted'>,
    response: { readonly done: boolean },
  ) {
    this.method = method;
    this.path = path;
    this.headers = headers;
    this.body = body;
    this.#response = response;
  }

  get aborted(): boolean {
    return this.#response.done;
  }
}

export interface HttpReply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Decides on a request when its head has arrived, before the transport allocates anything for it.
 *
 * The transport discards the body of a refused request as it arrives, and replies at once when the
 * head bounds the length of the body (see isBounded). Otherwise it reads the body first, within the
 * limits that hold for every body.
 *
 * @param header - reads a header; returns an empty string when the request does not have it.
 * @returns the reply that refuses the request, or undefined to read on.
 */
export type HeadHandler = (
  method: string,
  path: string,
  header: (name: CopiedHeader) => string,
) => HttpReply | undefined;

/**
 * Answers every request, also those with an unknown path.
 *
 * It should not throw. If it does, the transport answers 500 without a body.
 */
export type RequestHandler = (request: HttpRequest) => HttpReply | Promise<HttpReply>;

/** The server's end of a WebSocket. Every method may be called after the socket has closed. */
export interface SocketConnection {
  /** Queues a text frame (string) or a binary frame (bytes). */
  send(frame: string | Uint8Array): void;
  /** Returns how many queued bytes the peer has not read yet. */
  bufferedBytes(): number;
  close(code: number, reason: string): void;
}

export interface SocketSession {
  /** @param text - a text frame, or undefined for a binary one. */
  message(text: string | undefined): void;
  /** Called once, whichever side closed the socket. */
  closed(): void;
}

export type SocketHandler = (connection: SocketConnection) => SocketSession;

/**
 * Decides on an upgrade request at the socket path.
 *
 * @returns what opens the session, or the reply that refuses the upgrade.
 */
export type UpgradeHandler = (headers: CopiedHeaders) => SocketHandler | HttpReply;

/** Paths of a certificate and its private key as PEM files; tls.ts has checked them. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface TransportOptions {
  readonly host: string;
  /** 0 means any free port. */
  readonly port: number;
  /** Whether event loops of this process share the port, and whether this one is the first. */
  readonly portSharing: 'none' | 'first' | 'joined';
  readonly maxBodyBytes: number;
  readonly socketPath: string;
  readonly maxFrameBytes: number;
  /**
   * A peer that neither sends nor answers pings for this long is disconnected. It must be a
   * multiple of 4, the resolution of uWebSockets' clock.
   */
  readonly socketIdleSeconds: number;
  readonly handleHead: HeadHandler;
  readonly handleRequest: RequestHandler;
  readonly handleUpgrade: UpgradeHandler;
  /** Undefined means no TLS. */
  readonly tls: TlsFiles | undefined;
}

/**
 * A connection without a request is closed after this time. uWebSockets has it compiled in. A load
 * balancer must close its idle connections earlier.
 */
export const KEEP_ALIVE_MS = 10_000;

export interface Transport {
  readonly name: 'uws' | 'node';
  /** The port it listens on. */
  readonly port: number;
  /** Returns how many requests have arrived, at least in part, and have no answer yet. */
  openRequests(): number;
  /**
   * Accepts no new connections. Requests on open connections still arrive; each reply asks the
   * client to close its connection.
   */
  stopAccepting(): void;
  /** Closes everything that is still open. */
  close(): Promise<void>;
}

/** @param read - reads a header; returns an empty string when the request does not have it. */
export function copyHeaders(read: (name: CopiedHeader) => string): CopiedHeaders {
  const headers = {} as Record<CopiedHeader, string>;
  for (const name of COPIED_HEADERS) headers[name] = read(name);
  return headers;
}

/** Counts the bytes and headers of a head as they were on the wire. */
export class HeadSize {
  #bytes: number;
  #headers = 0;

  constructor(method: string, url: string) {
    this.#bytes = `${method} ${url} HTTP/1.1\r\n\r\n`.length;
  }

  add(name: string, value: string): void {
    this.#bytes += name.length + value.length + ': \r\n'.length;
    this.#headers += 1;
  }

  get fits(): boolean {
    return this.#bytes <= MAX_HEAD_BYTES && this.#headers <= MAX_HEADERS;
  }
}

/** Sends the reply of the handler, at once if the handler returns no promise. */
export function answer(
  handle: RequestHandler,
  request: HttpRequest,
  send: (reply: HttpReply) => void,
): void {
  let reply: HttpReply | Promise<HttpReply>;
  try {
    reply = handle(request);
  } catch {
    send(FAILED);
    return;
  }
  if (reply instanceof Promise)
    reply.then(send, () => {
      send(FAILED);
    });
  else send(reply);
}

const FAILED: HttpReply = { status: 500, contentType: 'text/plain', body: '' };

/** The answer to a head over the limits (RFC 6585). The connection closes after it. */
export const HEAD_TOO_LARGE: HttpReply = { status: 431, contentType: 'text/plain', body: '' };

/** A body over the limit is read to its end, up to this multiple of the limit. */
const HARD_LIMIT_FACTOR = 16;

/**
 * Whether a head bounds its body to the hard limit. The body of a refused request can then be
 * discarded without counting its bytes.
 *
 * @param header - reads a header; returns an empty string when the request does not have it.
 */
export function isBounded(header: (name: string) => string, maxBodyBytes: number): boolean {
  const length = Number(header('content-length'));
  return header('transfer-encoding') === '' && length <= maxBodyBytes * HARD_LIMIT_FACTOR;
}

/**
 * Collects a body up to a limit.
 *
 * A body over the limit is still read, and discarded. If the server answered and closed while the
 * client sends, the kernel would reset the connection and the client would never see the 413.
 */
export class BodyCollector {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * @param chunk - copied.
   * @returns false when the body passes the hard limit and the connection should be cut.
   */
  add(chunk: Uint8Array): boolean {
    this.#bytes += chunk.byteLength;
    if (this.#bytes <= this.#limit) this.#chunks.push(Buffer.from(chunk));
    else this.#chunks = [];
    return this.#bytes <= this.#limit * HARD_LIMIT_FACTOR;
  }

  /** Returns the body, or undefined when it was over the limit. */
  finish(): Buffer | undefined {
    if (this.#bytes > this.#limit) return undefined;
    return this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
  }
}
