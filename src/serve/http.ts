// Routes: from a path and a body to an answer. What an answer is made of is in pipeline.ts.

import { MAX_REQUEST_TIMEOUT_MS } from '../config.ts';
import { TandemError, nearestName } from '../errors.ts';
import { packageVersion } from '../version.ts';
import type { AccessLog, AnswerFacts } from './access-log.ts';
import type { ApiKeys, Client } from './api-keys.ts';
import { BINARY_TYPE } from './encode-binary.ts';
import {
  BINARY_CANDIDATES,
  CANDIDATES,
  EMBEDDINGS,
  JSON_TYPE,
  SCORE,
  type Endpoint,
} from './endpoints.ts';
import type { Engine } from './engine.ts';
import { describeError, errorReply, requestIdOf } from './error-body.ts';
import { describeItem } from './item-answer.ts';
import { parseJson } from './json-body.ts';
import type { Role } from './key-file.ts';
import { KSERVE_PATH, MODEL_PATH, describeModel, describeServer, infer } from './kserve.ts';
import type { ServerMetrics } from './metrics.ts';
import type { Answer, Pipeline } from './pipeline.ts';
import type { IngestReport } from './fresh-events.ts';
import {
  invalid,
  parseBatch,
  parseIngest,
  type IngestedEvent,
  type PipelineRequest,
} from './schemas.ts';
import type { HttpReply, HttpRequest, RequestHandler } from './transport.ts';

export const STREAM_PATH = '/v1/stream';
/** Every path below it is the one route with this pattern. */
const ITEM_PREFIX = '/v1/items/';
const ITEM_PATTERN = `${ITEM_PREFIX}{id}`;
/** Nginx's number for a client that left; it is a label of a metric, no client sees it. */
const CLIENT_CLOSED_REQUEST = 499;
/** W3C trace context, version 00; other values are dropped, as the recommendation asks. */
const TRACE_PARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

export interface HttpServices {
  readonly engine: () => Engine;
  readonly pipeline: Pipeline;
  readonly keys: ApiKeys;
  readonly metrics: ServerMetrics;
  readonly accessLog: AccessLog | undefined;
  /** Undefined where the server takes no events. */
  readonly ingest: ((events: readonly IngestedEvent[]) => Promise<IngestReport>) | undefined;
  /** The metrics of the server, as Prometheus reads them. */
  readonly scrape: () => Promise<string>;
  /** False from the first signal to stop. */
  readonly isReady: () => boolean;
  readonly openApi: () => string;
  readonly version: () => object;
}

/** A reply, and what the access log says of it. */
type LoggedReply = HttpReply & { readonly facts?: AnswerFacts };

interface Route {
  readonly method: 'GET' | 'POST';
  /** What a client must be allowed to; undefined = open to everybody, as probes and the documentation are. */
  readonly role?: Role;
  readonly handle: (
    request: HttpRequest,
    requestId: string,
    client: Client,
  ) => LoggedReply | Promise<LoggedReply>;
}

/** The server's request handler; it answers everything, and its promise never rejects. */
export function httpHandler(services: HttpServices): RequestHandler {
  const { pipeline, keys, metrics, accessLog } = services;
  const serverMetadata = JSON.stringify(describeServer(packageVersion()));
  const ready = (body: string): HttpReply => {
    if (services.isReady()) return jsonReply(200, body);
    throw new TandemError('ERR_DRAINING', 'Expected a serving process, but this one is stopping.');
  };
  const routes: Readonly<Record<string, Route>> = {
    '/v1/candidates': {
      method: 'POST',
      role: 'candidates',
      handle: (request, requestId, client) => {
        const endpoint = acceptsBinary(request) ? BINARY_CANDIDATES : CANDIDATES;
        return answerOne(pipeline, endpoint, request, requestId, client);
      },
    },
    '/v1/embeddings': {
      method: 'POST',
      role: 'candidates',
      handle: (request, requestId, client) =>
        answerOne(pipeline, EMBEDDINGS, request, requestId, client),
    },
    '/v1/score': {
      method: 'POST',
      role: 'candidates',
      handle: (request, requestId, client) =>
        answerOne(pipeline, SCORE, request, requestId, client),
    },
    [ITEM_PATTERN]: {
      method: 'GET',
      role: 'candidates',
      handle: ({ path }) =>
        jsonReply(200, describeItem(services.engine(), path.slice(ITEM_PREFIX.length))),
    },
    '/v1/candidates:batch': {
      method: 'POST',
      role: 'candidates',
      handle: async (request, requestId, client) => {
        pipeline.refuse(1, client);
        const timeoutMs = timeoutOf(request);
        const entries = parseBatch(parseJson(request));
        pipeline.admit(entries.length, client);
        const results = await Promise.all(
          entries.map(async (entry, i) => {
            const entryId = `${requestId}:${i}`;
            try {
              return (await pipeline.answer(CANDIDATES, () => entry, entryId, request, timeoutMs))
                .body;
            } catch (error) {
              return JSON.stringify({ error: describeError(error, entryId).body });
            }
          }),
        );
        return jsonReply(
          200,
          `{"request_id":${JSON.stringify(requestId)},"results":[${results.join()}]}`,
        );
      },
    },
    '/v1/events': {
      method: 'POST',
      role: 'ingest',
      handle: async (request, requestId, client) => {
        if (services.ingest === undefined)
          throw new TandemError(
            'ERR_NOT_FOUND',
            'Expected a server that takes events, but this one does not. Start it with --fresh-events on.',
          );
        pipeline.refuse(1, client);
        const events = parseIngest(parseJson(request));
        pipeline.admit(events.length, client);
        const report = await services.ingest(events);
        return jsonReply(200, JSON.stringify({ request_id: requestId, ...report }));
      },
    },
    [STREAM_PATH]: {
      method: 'GET',
      handle: () => {
        throw invalid('Expected a WebSocket upgrade (RFC 6455) for /v1/stream.', null);
      },
    },
    '/health/live': { method: 'GET', handle: () => jsonReply(200, '{"status":"live"}') },
    '/health/ready': { method: 'GET', handle: () => ready('{"status":"ready"}') },
    '/metrics': {
      method: 'GET',
      role: 'metrics',
      handle: async () => ({
        status: 200,
        contentType: metrics.registry.contentType,
        body: await services.scrape(),
      }),
    },
    '/openapi.json': { method: 'GET', handle: () => jsonReply(200, services.openApi()) },
    '/version': {
      method: 'GET',
      role: 'metrics',
      handle: () => jsonReply(200, JSON.stringify(services.version())),
    },
    [KSERVE_PATH]: {
      method: 'GET',
      role: 'candidates',
      handle: () => jsonReply(200, serverMetadata),
    },
    [`${KSERVE_PATH}/health/live`]: {
      method: 'GET',
      handle: () => jsonReply(200, '{"live":true}'),
    },
    [`${KSERVE_PATH}/health/ready`]: { method: 'GET', handle: () => ready('{"ready":true}') },
    [MODEL_PATH]: {
      method: 'GET',
      role: 'candidates',
      handle: () => jsonReply(200, JSON.stringify(describeModel(services.engine()))),
    },
    [`${MODEL_PATH}/ready`]: {
      method: 'GET',
      handle: () => ready('{"name":"tandem","ready":true}'),
    },
    [`${MODEL_PATH}/infer`]: {
      method: 'POST',
      role: 'candidates',
      handle: (request, requestId, client) =>
        infer(pipeline, request, requestId, client, timeoutOf(request)),
    },
  };
  const paths = Object.keys(routes);

  return async (request) => {
    const startedMs = performance.now();
    const requestId = requestIdOf(request.headers['x-request-id']);
    const pattern = request.path.startsWith(ITEM_PREFIX) ? ITEM_PATTERN : request.path;
    const route = Object.hasOwn(routes, pattern) ? routes[pattern] : undefined;
    const headers: Record<string, string> = { 'X-Request-Id': requestId };
    if (TRACE_PARENT.test(request.headers.traceparent))
      headers['traceparent'] = request.headers.traceparent;
    let reply: LoggedReply;
    try {
      if (route === undefined) throw unknownPath(request.path, paths);
      if (route.method !== (request.method === 'HEAD' ? 'GET' : request.method)) {
        headers['Allow'] = route.method;
        throw new TandemError(
          'ERR_METHOD_NOT_ALLOWED',
          `Expected ${route.method} for ${request.path}, received ${request.method}.`,
        );
      }
      const client =
        route.role === undefined
          ? keys.anonymous
          : keys.authenticate(request.headers.authorization);
      if (route.role !== undefined) client.require(route.role);
      reply = await route.handle(request, requestId, client);
    } catch (error) {
      reply = isKServe(request.path)
        ? errorReply(error, requestId, ({ message }) => ({ error: message }))
        : errorReply(error, requestId);
    }
    const known = route === undefined ? 'other' : pattern;
    const status = request.aborted ? CLIENT_CLOSED_REQUEST : reply.status;
    const ms = performance.now() - startedMs;
    metrics.observeRequest(known, status, ms / 1000);
    accessLog?.write({
      ...{ method: request.method, route: known, status, ms, requestId },
      bytes: Buffer.byteLength(reply.body),
      traceparent: headers['traceparent'] ?? '',
      facts: reply.facts,
    });
    return { ...reply, headers: { ...headers, ...reply.headers } };
  };
}

async function answerOne<R extends PipelineRequest>(
  pipeline: Pipeline,
  endpoint: Endpoint<R, string | Uint8Array>,
  request: HttpRequest,
  requestId: string,
  client: Client,
): Promise<LoggedReply> {
  pipeline.admit(1, client);
  const answer = await pipeline.answer(
    endpoint,
    () => parseJson(request),
    requestId,
    request,
    timeoutOf(request),
  );
  return {
    status: 200,
    contentType: endpoint.contentType,
    body: answer.body,
    headers: { 'Server-Timing': serverTiming(answer) },
    facts: answer.facts,
  };
}

/** Whoever names the type wants it: no client would list it below JSON by a quality value. */
function acceptsBinary({ headers }: HttpRequest): boolean {
  const { accept } = headers;
  return accept
    .split(',')
    .some((range) => range.split(';')[0]!.trim().toLowerCase() === BINARY_TYPE);
}

function jsonReply(status: number, body: string): HttpReply {
  return { status, contentType: JSON_TYPE, body };
}

/** @returns what X-Request-Timeout-Ms says, undefined without it. @throws TandemError ERR_INVALID_REQUEST. */
function timeoutOf({ headers }: HttpRequest): number | undefined {
  const text = headers['x-request-timeout-ms'];
  if (text === '') return undefined;
  const timeoutMs = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (timeoutMs >= 1 && timeoutMs <= MAX_REQUEST_TIMEOUT_MS) return timeoutMs;
  throw invalid(
    `Expected a whole number of milliseconds from 1 to ${MAX_REQUEST_TIMEOUT_MS} in the header X-Request-Timeout-Ms, received ${JSON.stringify(text.slice(0, 64))}.`,
    'X-Request-Timeout-Ms',
  );
}

/** KServe says all that is wrong in one text. */
function isKServe(path: string): boolean {
  return path === KSERVE_PATH || path.startsWith(`${KSERVE_PATH}/`);
}

function unknownPath(path: string, known: readonly string[]): TandemError {
  const shown = path.slice(0, 128);
  const near = nearestName(shown, known);
  return new TandemError(
    'ERR_NOT_FOUND',
    `Expected a known path, received ${shown}. ${near === undefined ? 'GET /openapi.json lists them.' : `Did you mean ${near}?`}`,
  );
}

/** @see https://www.w3.org/TR/server-timing/ : durations in milliseconds. */
function serverTiming(answer: Answer): string {
  let text = '';
  for (const stage in answer.stagesMs)
    text += `${text === '' ? '' : ', '}${stage};dur=${answer.stagesMs[stage as keyof typeof answer.stagesMs].toFixed(3)}`;
  return text;
}
