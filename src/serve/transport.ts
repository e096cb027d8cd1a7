// What the server needs of a web server, and nothing else: one handler for requests, one for WebSocket sessions.
// transport-uws.ts and transport-node.ts implement it; test/transport-conformance.test.ts holds them to the same behaviour.

/** Headers that are copied off a request; uWebSockets frees the rest when its handler returns. */
export const COPIED_HEADERS = ['x-request-id', 'traceparent', 'accept'] as const;
export type CopiedHeader = (typeof COPIED_HEADERS)[number];

export interface HttpRequest {
  /** Upper case. */
  readonly method: string;
  /** Without the query string. */
  readonly path: string;
  /** Empty string when absent. */
  readonly headers: Readonly<Record<CopiedHeader, string>>;
  /** Owned by the handler; undefined when the client sent more than the limit (it was read and thrown away). */
  readonly body: Buffer | undefined;
  /** Whether the client has gone: what is computed for it is wasted. */
  readonly aborted: boolean;
}

export interface HttpReply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Answers every request, also unknown paths; should not throw (a transport answers 500 without a body then). */
export type RequestHandler = (request: HttpRequest) => HttpReply | Promise<HttpReply>;

/** The server's end of a WebSocket; every method is safe after the socket closed. */
export interface SocketConnection {
  /** Queues a text frame. */
  send(text: string): void;
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

export interface TransportOptions {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  readonly maxBodyBytes: number;
  readonly socketPath: string;
  readonly maxFrameBytes: number;
  /** A peer that neither sends nor answers pings for this long is dropped; a multiple of 4 (uWebSockets' clock). */
  readonly socketIdleSeconds: number;
  readonly handleRequest: RequestHandler;
  readonly handleSocket: SocketHandler;
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

/** Past this multiple of the body limit the connection is cut instead of read to its end. */
const HARD_LIMIT_FACTOR = 16;

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
