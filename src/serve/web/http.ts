// Routes: from a path and a body to an answer. What an answer is made of is in pipeline.ts.

import { MAX_REQUEST_TIMEOUT_MS } from '../../config.ts';
import { TandemError, nearestName } from '../../errors.ts';
import { packageVersion } from '../../version.ts';
import type { AccessLog } from './access-log.ts';
import type { ApiKeys, Client } from '../admission/api-keys.ts';
import { BINARY_TYPE } from '../answer/encode-binary.ts';
import {
  BINARY_CANDIDATES,
  CANDIDATES,
  EMBEDDINGS,
  JSON_TYPE,
  SCORE,
} from '../answer/endpoints.ts';
import type { Engine } from '../engine/engine.ts';
import { describeError } from '../request/error-body.ts';
import { describeItem } from '../answer/item-answer.ts';
import { parseJson } from './json-body.ts';
import type { Role } from '../admission/key-file.ts';
import { KSERVE_PATH, MODEL_PATH, describeModel, describeServer, infer } from './kserve/kserve.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { Pipeline } from '../pipeline.ts';
import { Refusals } from './refusals.ts';
import type { IngestReport } from '../ingest/fresh-events.ts';
import type { ItemsReport } from '../ingest/fresh-items.ts';
import {
  invalid,
  parseBatch,
  parseDeleteItems,
  parseIngest,
  parsePutItems,
} from '../request/schemas.ts';
import type { HeadHandler, HttpReply, HttpRequest, RequestHandler } from './transport.ts';
import type { AnswerFacts } from '../answer/answer-parts.ts';
import type { Endpoint } from '../answer/endpoint.ts';
import { errorReply, requestIdOf } from './error-reply.ts';
import type { Answer } from '../answer/pending.ts';
import type { ChangedItem, IngestedEvent, PipelineRequest } from '../request/request-types.ts';

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
  /** Undefined where the server takes no items. */
  readonly changeItems: ((items: readonly ChangedItem[]) => Promise<ItemsReport>) | undefined;
  /** The metrics of the server, as Prometheus reads them. */
  readonly scrape: () => Promise<string>;
  /** False from the first signal to stop. */
  readonly isReady: () => boolean;
  readonly openApi: () => string;
  readonly version: () => object;
}

/** A request as metrics and access log know it. */
interface Answered {
  readonly method: string;
  /** One of the known paths, or "other". */
  readonly route: string;
  readonly requestId: string;
  /** As it was given, empty string when absent. */
  readonly traceparent: string;
}

/** A reply, and what the access log says of it. */
type LoggedReply = HttpReply & { readonly facts?: AnswerFacts };

interface Route {
  /** Whether its requests count against the limit of open ones: while that is reached they are refused at their head. */
  readonly admitted?: true;
  /** What a client must be allowed to; undefined = open to everybody, as probes and the documentation are. */
  readonly role?: Role;
  readonly handle: (
    request: HttpRequest,
    requestId: string,
    client: Client,
  ) => LoggedReply | Promise<LoggedReply>;
}

/** The server's handlers of requests; they answer everything, and the promise never rejects. */
export function httpHandlers(services: HttpServices): {
  readonly handleHead: HeadHandler;
  readonly handleRequest: RequestHandler;
} {
  const { pipeline, keys, metrics, accessLog } = services;
  const serverMetadata = JSON.stringify(describeServer(packageVersion()));
  const ready = (body: string): HttpReply => {
    if (services.isReady()) return jsonReply(200, body);
    throw new TandemError('ERR_DRAINING', 'Expected a serving process, but this one is stopping.');
  };
  const routes: Readonly<Record<string, Route>> = {
    'POST /v1/candidates': {
      admitted: true,
      role: 'candidates',
      handle: (request, requestId, client) => {
        const endpoint = acceptsBinary(request) ? BINARY_CANDIDATES : CANDIDATES;
        return answerOne(pipeline, endpoint, request, requestId, client);
      },
    },
    'POST /v1/embeddings': {
      admitted: true,
      role: 'candidates',
      handle: (request, requestId, client) =>
        answerOne(pipeline, EMBEDDINGS, request, requestId, client),
    },
    'POST /v1/score': {
      admitted: true,
      role: 'candidates',
      handle: (request, requestId, client) =>
        answerOne(pipeline, SCORE, request, requestId, client),
    },
    [`GET ${ITEM_PATTERN}`]: {
      role: 'candidates',
      handle: ({ path }) =>
        jsonReply(200, describeItem(services.engine(), path.slice(ITEM_PREFIX.length))),
    },
    'POST /v1/candidates:batch': {
      admitted: true,
      role: 'candidates',
      handle: async (request, requestId, client) => {
        pipeline.admission.refuse(1, client);
        const timeoutMs = timeoutOf(request);
        const entries = parseBatch(parseJson(request));
        pipeline.admission.admit(entries.length, client);
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
    'POST /v1/events': {
      admitted: true,
      role: 'ingest',
      handle: async (request, requestId, client) => {
        if (services.ingest === undefined)
          throw new TandemError(
            'ERR_NOT_FOUND',
            'Expected a server that takes events, but this one does not. Start it with --fresh-events on.',
          );
        pipeline.admission.refuse(1, client);
        const events = parseIngest(parseJson(request));
        pipeline.admission.admit(events.length, client);
        const report = await services.ingest(events);
        return jsonReply(200, JSON.stringify({ request_id: requestId, ...report }));
      },
    },
    'PUT /v1/items': {
      admitted: true,
      role: 'ingest',
      handle: (request, requestId, client) =>
        changeItems(services, request, requestId, client, parsePutItems),
    },
    'DELETE /v1/items': {
      admitted: true,
      role: 'ingest',
      handle: (request, requestId, client) =>
        changeItems(services, request, requestId, client, parseDeleteItems),
    },
    [`GET ${STREAM_PATH}`]: {
      handle: () => {
        throw invalid('Expected a WebSocket upgrade (RFC 6455) for /v1/stream.', null);
      },
    },
    'GET /health/live': { handle: () => jsonReply(200, '{"status":"live"}') },
    'GET /health/ready': { handle: () => ready('{"status":"ready"}') },
    'GET /metrics': {
      role: 'metrics',
      handle: async () => ({
        status: 200,
        contentType: metrics.registry.contentType,
        body: await services.scrape(),
      }),
    },
    'GET /openapi.json': { handle: () => jsonReply(200, services.openApi()) },
    'GET /version': {
      role: 'metrics',
      handle: () => jsonReply(200, JSON.stringify(services.version())),
    },
    [`GET ${KSERVE_PATH}`]: {
      role: 'candidates',
      handle: () => jsonReply(200, serverMetadata),
    },
    [`GET ${KSERVE_PATH}/health/live`]: {
      handle: () => jsonReply(200, '{"live":true}'),
    },
    [`GET ${KSERVE_PATH}/health/ready`]: { handle: () => ready('{"ready":true}') },
    [`GET ${MODEL_PATH}`]: {
      role: 'candidates',
      handle: () => jsonReply(200, JSON.stringify(describeModel(services.engine()))),
    },
    [`GET ${MODEL_PATH}/ready`]: {
      handle: () => ready('{"name":"tandem","ready":true}'),
    },
    [`POST ${MODEL_PATH}/infer`]: {
      admitted: true,
      role: 'candidates',
      handle: (request, requestId, client) =>
        infer(pipeline, request, requestId, client, timeoutOf(request)),
    },
  };
  const paths = new Set(Object.keys(routes).map((route) => route.split(' ')[1]!));
  const methodsOf = (pattern: string): string[] =>
    ['GET', 'POST', 'PUT', 'DELETE'].filter((method) =>
      Object.hasOwn(routes, `${method} ${pattern}`),
    );

  const finish = (
    { method, route, requestId, traceparent }: Answered,
    reply: LoggedReply,
    status: number,
    ms: number,
  ): HttpReply => {
    metrics.observeRequest(route, status, ms / 1000);
    const isTraced = TRACE_PARENT.test(traceparent);
    const { contentType, body, facts } = reply;
    accessLog?.write({
      method,
      route,
      status,
      ms,
      requestId,
      bytes: Buffer.byteLength(body),
      traceparent: isTraced ? traceparent : '',
      facts,
    });
    // Written out: V8 makes hidden classes for what is spread and added to, and they keep a request alive until a full collection.
    const headers: Record<string, string> = {};
    for (const name in reply.headers) headers[name] = reply.headers[name]!;
    headers['X-Request-Id'] = requestId;
    if (isTraced) headers['traceparent'] = traceparent;
    return { status: reply.status, contentType, body, headers };
  };

  const refusals = new Refusals(failure);
  const handleHead: HeadHandler = (method, path, header) => {
    const routeKey = `${method} ${path}`;
    if (!Object.hasOwn(routes, routeKey) || routes[routeKey]!.admitted !== true) return undefined;
    const refused = pipeline.admission.refuseAll(1);
    if (refused === undefined) return undefined;
    const requestId = requestIdOf(header('x-request-id'));
    const traceparent = header('traceparent');
    const reply = refusals.reply(path, refused, requestId);
    return finish({ method, route: path, requestId, traceparent }, reply, reply.status, 0);
  };

  const handleRequest: RequestHandler = async (request) => {
    const startedMs = performance.now();
    const requestId = requestIdOf(request.headers['x-request-id']);
    const pattern = request.path.startsWith(ITEM_PREFIX) ? ITEM_PATTERN : request.path;
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const known = paths.has(pattern) ? pattern : 'other';
    const routeKey = `${method} ${pattern}`;
    const route = Object.hasOwn(routes, routeKey) ? routes[routeKey] : undefined;
    let reply: LoggedReply;
    try {
      if (known === 'other') throw unknownPath(request.path, [...paths]);
      if (route === undefined) {
        const allow = methodsOf(pattern);
        throw new TandemError(
          'ERR_METHOD_NOT_ALLOWED',
          `Expected ${allow.join(' or ')} for ${request.path}, received ${request.method}.`,
          { details: { allow: allow.join(', ') } },
        );
      }
      const client =
        route.role === undefined
          ? keys.anonymous
          : keys.authenticate(request.headers.authorization);
      if (route.role !== undefined) client.require(route.role);
      reply = await route.handle(request, requestId, client);
    } catch (error) {
      reply = failure(request.path, error, requestId);
    }
    const status = request.aborted ? CLIENT_CLOSED_REQUEST : reply.status;
    const { traceparent } = request.headers;
    const answered = { method: request.method, route: known, requestId, traceparent };
    return finish(answered, reply, status, performance.now() - startedMs);
  };
  return { handleHead, handleRequest };
}

async function answerOne<R extends PipelineRequest>(
  pipeline: Pipeline,
  endpoint: Endpoint<R, string | Uint8Array>,
  request: HttpRequest,
  requestId: string,
  client: Client,
): Promise<LoggedReply> {
  pipeline.admission.admit(1, client);
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

async function changeItems(
  { pipeline, changeItems: change }: HttpServices,
  request: HttpRequest,
  requestId: string,
  client: Client,
  parse: (value: unknown) => readonly ChangedItem[],
): Promise<LoggedReply> {
  if (change === undefined)
    throw new TandemError(
      'ERR_NOT_FOUND',
      'Expected a server that takes items, but this one does not. Start it with --fresh-items on.',
    );
  pipeline.admission.refuse(1, client);
  const items = parse(parseJson(request));
  pipeline.admission.admit(items.length, client);
  return jsonReply(200, JSON.stringify({ request_id: requestId, ...(await change(items)) }));
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

function failure(path: string, error: unknown, requestId: string): HttpReply {
  return isKServe(path)
    ? errorReply(error, requestId, ({ message }) => ({ error: message }))
    : errorReply(error, requestId);
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
