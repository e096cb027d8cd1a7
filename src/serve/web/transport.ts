// What the server needs of a web server, and nothing else: one handler for requests, one for WebSocket upgrades.
// transport-uws.ts and transport-node.ts implement it; test/transport-conformance.test.ts holds them to the same behaviour.

/** Headers that are copied off a request; uWebSockets frees the rest when its handler returns. */
export const COPIED_HEADERS = [
  'x-request-id',
  'traceparent',
  'accept',
  'authorization',
  'x-request-timeout-ms',
  'content-encoding',
  'inference-header-content-length',
] as const;
export type CopiedHeader = (typeof COPIED_HEADERS)[number];
/** Empty string when absent. */
export type CopiedHeaders = Readonly<Record<CopiedHeader, string>>;

/**
 * Largest head of a request, from the request line to the empty line, and most headers in it.
 *
 * These are what uWebSockets has compiled in for a head that arrives in pieces; the transports hold every head to them that is not refused.
 */
export const MAX_HEAD_BYTES = 4096;
export const MAX_HEADERS = 48;

export interface HttpRequest {
  /** Upper case. */
  readonly method: string;
  /** Without the query string. */
  readonly path: string;
  readonly headers: CopiedHeaders;
  /** Owned by the handler; undefined when the client sent more than the limit (it was read and thrown away). */
  readonly body: Buffer | undefined;
  /** Whether the client has gone: what is computed for it is wasted. */
  readonly aborted: boolean;
}

/**
 * A request, and whether its response has ended. A class: V8 gives every object literal with a getter a hidden class of its own, and those keep
 * what the request was made of alive until the next full collection.
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
 * ResolvedQuery when a head has arrived, and before anything else is made of it: the reply to a request that is not let in, undefined to read on. The body of one that is refused is
 * thrown away as it comes; where its head sets no bound to it, it is read before the reply, within the limits of any body.
 *
 * @param header - empty string when absent.
 */
export type HeadHandler = (
  method: string,
  path: string,
  header: (name: CopiedHeader) => string,
) => HttpReply | undefined;

/** Answers every request, also unknown paths; should not throw (a transport answers 500 without a body then). */
export type RequestHandler = (request: HttpRequest) => HttpReply | Promise<HttpReply>;

/** The server's end of a WebSocket; every method is safe after the socket closed. */
export interface SocketConnection {
  /** Queues a frame: text, or binary. */
  send(frame: string | Uint8Array): void;
  /** Bytes queued here that the peer has not taken yet. */
  bufferedBytes(): number;
  close(code: number, reason: string): void;
}

export interface SocketSession {
  /** @param text - a text frame, or undefined for a binary one. */
  message(text: string | undefined): void;
  /** Called once, whoever closed. */
  closed(): void;
}

export type SocketHandler = (connection: SocketConnection) => SocketSession;

/** Decides on an upgrade at the socket path: the maker of its session, or the reply that refuses it. */
export type UpgradeHandler = (headers: CopiedHeaders) => SocketHandler | HttpReply;

/** Paths of PEM files that fit together; serve/tls.ts checks them. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface TransportOptions {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  /** Whether event loops of this process share the port: none do, this is the first of them, or it joins the first. */
  readonly portSharing: 'none' | 'first' | 'joined';
  readonly maxBodyBytes: number;
  readonly socketPath: string;
  readonly maxFrameBytes: number;
  /** A peer that neither sends nor answers pings for this long is dropped; a multiple of 4 (uWebSockets' clock). */
  readonly socketIdleSeconds: number;
  readonly handleHead: HeadHandler;
  readonly handleRequest: RequestHandler;
  readonly handleUpgrade: UpgradeHandler;
  /** Undefined = no TLS. */
  readonly tls: TlsFiles | undefined;
}

export interface Transport {
  readonly name: 'uws' | 'node';
  /** The port it listens on. */
  readonly port: number;
  /** Requests that arrived, at least in part, and are not answered yet. */
  openRequests(): number;
  /** Takes no new connections and asks clients, reply by reply, to leave. Requests on open connections still arrive. */
  stopAccepting(): void;
  /** Drops what is still open. */
  close(): Promise<void>;
}

/** The copied headers, from a transport's way to read one (empty string when absent). */
export function copyHeaders(read: (name: CopiedHeader) => string): CopiedHeaders {
  const headers = {} as Record<CopiedHeader, string>;
  for (const name of COPIED_HEADERS) headers[name] = read(name);
  return headers;
}

/** Counts a head as it was on the wire. */
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

/** What a head over the limits is answered with, before the connection closes (RFC 6585). */
export const HEAD_TOO_LARGE: HttpReply = { status: 431, contentType: 'text/plain', body: '' };

/** Past this multiple of the body limit the connection is cut instead of read to its end. */
const HARD_LIMIT_FACTOR = 16;

/**
 * Whether a head says that its body will not pass the hard limit: what a refused request sends of it may be thrown away unseen.
 *
 * @param header - empty string when absent.
 */
export function isBounded(header: (name: string) => string, maxBodyBytes: number): boolean {
  const length = Number(header('content-length'));
  return header('transfer-encoding') === '' && length <= maxBodyBytes * HARD_LIMIT_FACTOR;
}

/**
 * Gathers a body up to a limit.
 *
 * A body over the limit is read on and thrown away, because answering and closing while the client still sends makes
 * the kernel reset the connection, and the client never sees the 413.
 */
export class BodyCollector {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** @param chunk - copied. @returns false when the client sends so much that the connection should be cut. */
  add(chunk: Uint8Array): boolean {
    this.#bytes += chunk.byteLength;
    if (this.#bytes <= this.#limit) this.#chunks.push(Buffer.from(chunk));
    else this.#chunks = [];
    return this.#bytes <= this.#limit * HARD_LIMIT_FACTOR;
  }

  /** The body, or undefined when it was over the limit. */
  finish(): Buffer | undefined {
    if (this.#bytes > this.#limit) return undefined;
    return this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
  }
}
