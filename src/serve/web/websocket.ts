// One WebSocket session: hello, then subjects as the user moves; answers carry the id of their subject, in any order.

import { randomUUID } from 'node:crypto';
import { TandemError } from '../../errors.ts';
import type { AccessLog } from './access-log.ts';
import type { ApiKeys, Client } from '../admission/api-keys.ts';
import { describeError } from '../request/error-body.ts';
import type { Pipeline } from '../pipeline.ts';
import { parseFrame } from '../request/frames.ts';
import { invalid } from '../request/parse-body.ts';
import type { SentAnswer } from '../answer/sent-answer.ts';
import { STREAM_ENDPOINTS, answerFrame } from './stream-frames.ts';
import type { SocketConnection, SocketSession, UpgradeHandler } from './transport.ts';
import type { AnswerFacts } from '../answer/answer-parts.ts';
import { errorReply, requestIdOf } from './error-reply.ts';
import { STREAM_PATH, STREAM_ROLE } from './routes/stream.ts';
import {
  DEFAULT_CANDIDATES,
  type HelloFrame,
  type SubjectFrame,
} from '../request/request-types.ts';

export interface StreamOptions {
  /** Unanswered subjects of one socket; more are refused with an error frame. */
  readonly maxInFlight: number;
  readonly accessLog: AccessLog | undefined;
}

/** With this much unread the peer gets errors instead of answers; with twice as much it is disconnected. */
const MAX_UNREAD_BYTES = 1024 * 1024;
/** RFC 6455 names 1013 "try again later" (IANA registry). */
const TRY_AGAIN_LATER = 1013;

type FrameId = string | number | null;

/** Lets clients in by the key of their upgrade request; the key stays theirs for the life of the socket, or until it is revoked. */
export function streamHandler(
  pipeline: Pipeline,
  keys: ApiKeys,
  options: StreamOptions,
): UpgradeHandler {
  return ({ authorization, 'x-request-id': givenId }) => {
    let client: Client;
    try {
      client = keys.authenticate(authorization);
      client.require(STREAM_ROLE);
    } catch (error) {
      return errorReply(error, requestIdOf(givenId));
    }
    return (connection) => new StreamSession(connection, client, pipeline, options);
  };
}

class StreamSession implements SocketSession {
  readonly #connection: SocketConnection;
  readonly #client: Client;
  readonly #pipeline: Pipeline;
  readonly #options: StreamOptions;
  readonly #sessionId = randomUUID();
  /** What the pipeline asks to learn that nobody waits any more. */
  readonly #caller = { aborted: false };
  #hello: HelloFrame | undefined;
  /** The last answer since the last hello, whatever hello it belongs to: deltas are against it. */
  #sent: SentAnswer | undefined;
  #inFlight = 0;
  #answered = 0;

  constructor(
    connection: SocketConnection,
    client: Client,
    pipeline: Pipeline,
    options: StreamOptions,
  ) {
    this.#connection = connection;
    this.#client = client;
    this.#pipeline = pipeline;
    this.#options = options;
  }

  message(text: string | undefined): void {
    const parseStartedMs = performance.now();
    let id: FrameId = null;
    try {
      if (text === undefined) throw invalid('Expected a text frame, received a binary one.', null);
      const value = parseJson(text);
      id = idOf(value);
      const frame = parseFrame(value);
      if (frame.type === 'hello') this.#greet(frame);
      else this.#ask(frame, performance.now() - parseStartedMs);
    } catch (error) {
      this.#sendError(id, error, this.#sessionId);
    }
  }

  closed(): void {
    this.#caller.aborted = true;
  }

  /** A second hello starts over as another user; answers under way still belong to the first. */
  #greet(hello: HelloFrame): void {
    this.#hello = hello;
    this.#sent = undefined;
    this.#send(JSON.stringify({ type: 'ready', session_id: this.#sessionId }));
  }

  #ask(frame: SubjectFrame, parseMs: number): void {
    const hello = this.#hello;
    if (hello === undefined)
      throw invalid('Expected a hello frame before the first subject.', 'type');
    if (this.#inFlight >= this.#options.maxInFlight)
      throw new TandemError(
        'ERR_OVERLOADED',
        `Expected at most ${this.#options.maxInFlight} unanswered subjects on one socket. Wait for answers.`,
      );
    if (this.#connection.bufferedBytes() > MAX_UNREAD_BYTES)
      throw new TandemError(
        'ERR_OVERLOADED',
        'Expected answers to be read as they come. Read first, then ask.',
      );
    if (frame.explain && hello.encoding === 'binary')
      throw invalid(
        'Expected explain only with JSON answers, received it in a session of encoding "binary".',
        'explain',
      );
    this.#client.require(STREAM_ROLE);
    this.#pipeline.admission.admit(1, this.#client);
    const requestId = `${this.#sessionId}:${this.#answered++}`;
    const startedMs = performance.now() - parseMs;
    this.#inFlight += 1;
    this.#pipeline
      .submit(
        STREAM_ENDPOINTS[hello.encoding],
        {
          kind: 'candidates',
          user: hello.user,
          surface: frame.surface,
          subject: frame.subject,
          demographics: hello.demographics,
          k: frame.k ?? hello.k ?? DEFAULT_CANDIDATES,
          filter: hello.filter,
          explain: frame.explain,
        },
        requestId,
        this.#caller,
        parseMs,
        frame.timeout_ms,
      )
      .then(
        ({ body, facts }) => {
          const base = hello.deltas && !frame.explain ? this.#sent : undefined;
          const answer = answerFrame(frame.id, body, base);
          this.#send(answer);
          const { bundleId, itemsVersion, rows } = body;
          this.#sent = { id: frame.id, bundleId, itemsVersion, rows };
          this.#log(requestId, 200, answer, startedMs, facts);
        },
        (error: unknown) => {
          const { status, text } = this.#sendError(frame.id, error, requestId);
          this.#log(requestId, status, text, startedMs);
        },
      )
      .finally(() => {
        this.#inFlight -= 1;
      });
  }

  #sendError(id: FrameId, error: unknown, requestId: string): { status: number; text: string } {
    const { status, body } = describeError(error, requestId);
    const text = JSON.stringify({ type: 'error', id, error: body });
    this.#send(text);
    return { status, text };
  }

  #log(
    requestId: string,
    status: number,
    sent: string | Uint8Array,
    startedMs: number,
    facts?: AnswerFacts,
  ): void {
    this.#options.accessLog?.write({
      ...{ method: 'WS', route: STREAM_PATH, status, requestId, traceparent: '', facts },
      bytes: Buffer.byteLength(sent),
      ms: performance.now() - startedMs,
    });
  }

  #send(frame: string | Uint8Array): void {
    if (this.#caller.aborted) return;
    if (this.#connection.bufferedBytes() > 2 * MAX_UNREAD_BYTES)
      this.#connection.close(TRY_AGAIN_LATER, 'answers are not read');
    else this.#connection.send(frame);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(`Expected a JSON frame, but: ${(cause as Error).message}.`, null);
  }
}

/** The id to put on an error about a frame that may be wrong in other ways. */
function idOf(value: unknown): FrameId {
  const id: unknown = (value as { id?: unknown } | null | undefined)?.id;
  return (typeof id === 'string' && id.length <= 128) || typeof id === 'number' ? id : null;
}
