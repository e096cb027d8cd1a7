// The type of a row in the table of routes. The router, the check of API keys, admission control
// and /openapi.json are all derived from the table in routes.ts.

import type { ApiKeys, Client } from '../../admission/api-keys.ts';
import type { Role } from '../../admission/key-file.ts';
import type { AnswerFacts } from '../../answer/answer-parts.ts';
import { JSON_TYPE } from '../../answer/endpoints.ts';
import type { Engine } from '../../engine/engine.ts';
import type { IngestReport } from '../../ingest/fresh-events.ts';
import type { ItemsReport } from '../../ingest/fresh-items.ts';
import type { ServerMetrics } from '../../metrics/metrics.ts';
import type { Pipeline } from '../../pipeline.ts';
import type { ChangedItem, IngestedEvent } from '../../request/request-types.ts';
import type { AccessLog } from '../access-log.ts';
import type { Cors } from '../cors.ts';
import type { HttpReply, HttpRequest } from '../transport.ts';
import type { Operation } from './operation.ts';

export interface HttpServices {
  readonly engine: () => Engine;
  readonly pipeline: Pipeline;
  readonly keys: ApiKeys;
  readonly metrics: ServerMetrics;
  readonly accessLog: AccessLog | undefined;
  /** Undefined when pages of other origins may read no answer. */
  readonly cors: Cors | undefined;
  /** Undefined when the server does not accept events. */
  readonly ingest: ((events: readonly IngestedEvent[]) => Promise<IngestReport>) | undefined;
  /** Undefined when the server does not accept changes of items. */
  readonly changeItems: ((items: readonly ChangedItem[]) => Promise<ItemsReport>) | undefined;
  /** Returns the metrics of all event loops in the Prometheus text format. */
  readonly scrape: () => Promise<string>;
  /** Becomes false when the server starts to drain. */
  readonly isReady: () => boolean;
  readonly openApi: () => string;
  readonly version: () => object;
}

/** A reply, and what the access log records about it. */
export type LoggedReply = HttpReply & { readonly facts?: AnswerFacts };

export type RouteHandler = (
  services: HttpServices,
  request: HttpRequest,
  requestId: string,
  client: Client,
) => LoggedReply | Promise<LoggedReply>;

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** An exact path, or one that ends in "{id}", which stands for the rest of a path. */
  readonly path: string;
  /** The role that an API key needs here. An open route needs no key. */
  readonly role: Role | 'open';
  /**
   * How many requests a call counts as in admission control:
   *
   * - none: no limit applies. Probes, metrics and descriptions are answered also under overload.
   * - one: the server admits one request before it calls `handle`.
   * - entries: the body holds many requests. `handle` admits them after it has parsed the body.
   *
   * While the limit of open requests is reached, the server refuses calls that count as one or more
   * as soon as it has read their headers.
   */
  readonly admits: 'none' | 'one' | 'entries';
  /** The operation in /openapi.json. Its `security` follows from `role`. */
  readonly operation: Operation;
  readonly handle: RouteHandler;
  /** The role is checked when the connection is upgraded. A plain request gets an error anyway. */
  readonly isUpgrade?: true;
}

export function jsonReply(status: number, body: string): HttpReply {
  return { status, contentType: JSON_TYPE, body };
}
