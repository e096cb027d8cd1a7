// Requests of the public port: finds the route, checks the API key, admits, and turns failures into
// replies. Every request ends in the metrics and in the access log, whatever its reply.

import type { Client } from '../admission/api-keys.ts';
import { Refusals } from './refusals.ts';
import { errorReply, requestIdOf } from './error-reply.ts';
import { KSERVE_PATH } from './kserve/kserve.ts';
import { Router } from './router.ts';
import type { HttpServices, LoggedReply, Route } from './routes/route.ts';
import { ROUTES } from './routes/routes.ts';
import type {
  CopiedHeader,
  HeadHandler,
  HttpReply,
  HttpRequest,
  RequestHandler,
} from './transport.ts';

/** The status that nginx logs for a client that left. Metrics have it; no client sees it. */
const CLIENT_CLOSED_REQUEST = 499;
/** W3C trace context, version 00. Other values are dropped, as the recommendation demands. */
const TRACE_PARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** What metrics and access log record about a request. */
interface Answered {
  readonly method: string;
  /** The pattern of a known path, or "other". */
  readonly route: string;
  readonly requestId: string;
  /** The header as the client sent it, empty when it sent none. */
  readonly traceparent: string;
  /** The header as the client sent it, empty when it sent none. */
  readonly origin: string;
}

/** The server's handlers of requests. They answer every request, and the promise never rejects. */
export function httpHandlers(services: HttpServices): {
  readonly handleHead: HeadHandler;
  readonly handleRequest: RequestHandler;
} {
  const http = new HttpAnswers(services);
  return {
    handleHead: (method, path, header) => http.refuseAtHead(method, path, header),
    handleRequest: (request) => http.answer(request),
  };
}

class HttpAnswers {
  readonly #services: HttpServices;
  readonly #router = new Router(ROUTES);
  readonly #refusals = new Refusals(failureReply);

  constructor(services: HttpServices) {
    this.#services = services;
  }

  /** Refuses a request from its head while the limit of open requests is reached. */
  refuseAtHead(
    method: string,
    path: string,
    header: (name: CopiedHeader) => string,
  ): HttpReply | undefined {
    if (!this.#router.isAdmitted(method, path)) return undefined;
    const refused = this.#services.pipeline.admission.refuseAll(1);
    if (refused === undefined) return undefined;
    const requestId = requestIdOf(header('x-request-id'));
    const traceparent = header('traceparent');
    const reply = this.#refusals.reply(path, refused, requestId);
    const origin = this.#services.cors === undefined ? '' : header('origin');
    const answered = { method, route: path, requestId, traceparent, origin };
    return this.#finish(answered, reply, reply.status, 0);
  }

  async answer(request: HttpRequest): Promise<HttpReply> {
    const startedMs = performance.now();
    const { method, path, headers } = request;
    const requestId = requestIdOf(headers['x-request-id']);
    const pattern = this.#router.patternOf(path);
    let reply: LoggedReply;
    try {
      reply =
        method === 'OPTIONS'
          ? optionsReply(this.#router.methodsOf(path, pattern))
          : await this.#handle(request, pattern, requestId);
    } catch (error) {
      reply = failureReply(path, error, requestId);
    }
    const status = request.aborted ? CLIENT_CLOSED_REQUEST : reply.status;
    const { traceparent, origin } = headers;
    const answered = { method, route: pattern, requestId, traceparent, origin };
    return this.#finish(answered, reply, status, performance.now() - startedMs);
  }

  #handle(
    request: HttpRequest,
    pattern: string,
    requestId: string,
  ): LoggedReply | Promise<LoggedReply> {
    const route = this.#router.routeOf(request.method, request.path, pattern);
    const client = this.#clientOf(route, request.headers.authorization);
    if (route.admits === 'one') this.#services.pipeline.admission.admit(1, client);
    return route.handle(this.#services, request, requestId, client);
  }

  /** @throws TandemError ERR_UNAUTHENTICATED, ERR_FORBIDDEN. */
  #clientOf(route: Route, authorization: string): Client {
    const { keys } = this.#services;
    if (route.role === 'open' || route.isUpgrade === true) return keys.anonymous;
    const client = keys.authenticate(authorization);
    client.require(route.role);
    return client;
  }

  /** Records a reply and adds the headers that every reply has. */
  #finish(
    { method, route, requestId, traceparent, origin }: Answered,
    reply: LoggedReply,
    status: number,
    ms: number,
  ): HttpReply {
    const { metrics, accessLog, cors } = this.#services;
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
    // No spread: V8 makes a new hidden class for a spread object that gets more properties, and
    // those classes keep a request alive until the next full collection.
    const headers: Record<string, string> = {};
    for (const name in reply.headers) headers[name] = reply.headers[name]!;
    headers['X-Request-Id'] = requestId;
    if (isTraced) headers['traceparent'] = traceparent;
    if (cors?.addTo(headers, origin) === true && method === 'OPTIONS')
      cors.addPreflight(headers, headers['Allow'] ?? '');
    return { status: reply.status, contentType, body, headers };
  }
}

/**
 * The answer to OPTIONS needs no API key: browsers send none with a preflight request.
 *
 * @param methods - the methods of the path, separated by commas.
 */
function optionsReply(methods: string): HttpReply {
  return { status: 200, contentType: 'text/plain', body: '', headers: { Allow: methods } };
}

/** Below /v2 an error is one text, as KServe defines it. */
function failureReply(path: string, error: unknown, requestId: string): HttpReply {
  const isKserve = path === KSERVE_PATH || path.startsWith(`${KSERVE_PATH}/`);
  return isKserve
    ? errorReply(error, requestId, ({ message }) => ({ error: message }))
    : errorReply(error, requestId);
}
