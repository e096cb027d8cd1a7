// One WebSocket session: the client sends a hello frame, then a subject whenever the user moves on.
// Answers may come in any order; each carries the id of its subject.

import { randomUUID } from 'node:crypto';
import { TandemError } from '../../errors.ts';
import type { ApiKeys, Client } from '../admission/api-keys.ts';
import type { AnswerFacts } from '../answer/answer-parts.ts';
import type { Answer } from '../answer/pending.ts';
import type { SentAnswer } from '../answer/sent-answer.ts';
import type { Pipeline } from '../pipeline.ts';
import { describeError } from '../request/error-body.ts';
import { parseFrame } from '../request/frames.ts';
import { invalid } from '../request/parse-body.ts';
import {
  DEFAULT_CANDIDATES,
  type CandidatesRequest,
  type HelloFrame,
  type SubjectFrame,
} from '../request/request-types.ts';
import type { AccessLog } from './access-log.ts';
import { errorReply, requestIdOf } from './error-reply.ts';
import { STREAM_PATH, STREAM_ROLE } from './routes/stream.ts';
import { STREAM_ENDPOINTS, answerFrame, type StreamAnswer } from './stream-frames.ts';
import type { SocketConnection, SocketSession, UpgradeHandler } from './transport.ts';

export interface StreamOptions {
  /** Unanswered subjects per socket. The server answers further subjects with an error frame. */
  readonly maxInFlight: number;
  readonly accessLog: AccessLog | undefined;
}

/**
 * A peer with this many unread bytes gets error frames instead of answers. A peer with twice as
 * many is disconnected.
 */
const MAX_UNREAD_BYTES = 1024 * 1024;
/** "Try again later" in IANA's registry of WebSocket close codes. */
const TRY_AGAIN_LATER = 1013;

type FrameId = string | number | null;

/**
 * Accepts upgrade requests whose API key allows to ask for candidates. The key holds for the life
 * of the socket, or until it is revoked.
 */
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
  /** Tells the pipeline when nobody waits for answers any more. */
  readonly #caller = { aborted: false };
  #hello: HelloFrame | undefined;
  /**
   * The last answer since the last hello, even if it answers a subject of an earlier hello. Deltas
   * are against this answer.
   */
  #sent: SentAnswer | undefined;
  #inFlight = 0;
  /** Subjects accepted so far. It numbers the request ids. */
  #accepted = 0;

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

  /** A second hello starts over as another user. Subjects already sent are still of the first. */
  #greet(hello: HelloFrame): void {
    this.#hello = hello;
    this.#sent = undefined;
    this.#send(JSON.stringify({ type: 'ready', session_id: this.#sessionId }));
  }

  #ask(frame: SubjectFrame, parseMs: number): void {
    const hello = this.#checkSubject(frame);
    this.#client.require(STREAM_ROLE);
    this.#pipeline.admission.admit(1, this.#client);
    const requestId = `${this.#sessionId}:${this.#accepted++}`;
    const startedMs = performance.now() - parseMs;
    this.#inFlight += 1;
    this.#pipeline
      .submit(
        STREAM_ENDPOINTS[hello.encoding],
        requestOf(hello, frame),
        requestId,
        this.#caller,
        parseMs,
        frame.timeout_ms,
      )
      .then(
        (answer) => {
          this.#sendAnswer(hello, frame, answer, requestId, startedMs);
        },
        (error: unknown) => {
          const { status, text } = this.#sendError(frame.id, error, requestId);
          this.#log(requestId, status, text, startedMs, undefined);
        },
      )
      .finally(() => {
        this.#inFlight -= 1;
      });
  }

  /**
   * @returns the hello that the subject belongs to.
   * @throws TandemError ERR_INVALID_REQUEST, ERR_OVERLOADED.
   */
  #checkSubject(frame: SubjectFrame): HelloFrame {
    const hello = this.#hello;
    if (hello === undefined)
      throw invalid('Expected a hello frame before the first subject.', 'type');
    if (this.#inFlight >= this.#options.maxInFlight)
      throw new TandemError(
        'ERR_OVERLOADED',
        `Expected at most ${this.#options.maxInFlight} unanswered subjects on one socket. ` +
          'Wait for answers.',
      );
    if (this.#connection.bufferedBytes() > MAX_UNREAD_BYTES)
      throw new TandemError(
        'ERR_OVERLOADED',
        `Expected at most ${MAX_UNREAD_BYTES} bytes of unread answers on one socket. ` +
          'Read the answers before you send more subjects.',
      );
    if (frame.explain && hello.encoding === 'binary')
      throw invalid(
        'Expected explain only with JSON answers, received it in a session of encoding "binary".',
        'explain',
      );
    return hello;
  }

  #sendAnswer(
    hello: HelloFrame,
    frame: SubjectFrame,
    { body, facts }: Answer<StreamAnswer>,
    requestId: string,
    startedMs: number,
  ): void {
    const base = hello.deltas && !frame.explain ? this.#sent : undefined;
    const answer = answerFrame(frame.id, body, base);
    this.#send(answer);
    const { bundleId, itemsVersion, rows } = body;
    this.#sent = { id: frame.id, bundleId, itemsVersion, rows };
    this.#log(requestId, 200, answer, startedMs, facts);
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
    facts: AnswerFacts | undefined,
  ): void {
    this.#options.accessLog?.write({
      method: 'WS',
      route: STREAM_PATH,
      status,
      ms: performance.now() - startedMs,
      requestId,
      bytes: Buffer.byteLength(sent),
      traceparent: '',
      facts,
    });
  }

  #send(frame: string | Uint8Array): void {
    if (this.#caller.aborted) return;
    if (this.#connection.bufferedBytes() > 2 * MAX_UNREAD_BYTES)
      this.#connection.close(TRY_AGAIN_LATER, 'answers are not read');
    else this.#connection.send(frame);
  }
}

function requestOf(hello: HelloFrame, frame: SubjectFrame): CandidatesRequest {
  return {
    kind: 'candidates',
    user: hello.user,
    surface: frame.surface,
    subject: frame.subject,
    demographics: hello.demographics,
    k: frame.k ?? hello.k ?? DEFAULT_CANDIDATES,
    filter: hello.filter,
    explain: frame.explain,
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(`Expected a JSON frame, but: ${(cause as Error).message}.`, null);
  }
}

/** The id for an error frame about a frame that may be malformed in other ways. */
function idOf(value: unknown): FrameId {
  const id: unknown = (value as { id?: unknown } | null | undefined)?.id;
  return (typeof id === 'string' && id.length <= 128) || typeof id === 'number' ? id : null;
}
