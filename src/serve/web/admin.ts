// The admin port: bundles, drain and log level. It has its own listener, by default on the loopback
// address, so that clients of the public port cannot change which bundle answers them.

import { z } from 'zod';
import { basename } from 'node:path';
import { listBundles, readHistory } from '../../bundle/current.ts';
import { TandemError } from '../../errors.ts';
import type { ApiKeys } from '../admission/api-keys.ts';
import type { Engine } from '../engine/engine.ts';
import { parseJson } from './json-body.ts';
import { parseBody } from '../request/parse-body.ts';
import type { ServedBundles } from '../engine/served-bundles.ts';
import type { HttpReply, HttpRequest, RequestHandler } from './transport.ts';
import { errorReply, requestIdOf } from './error-reply.ts';

export interface AdminServices {
  readonly keys: ApiKeys;
  readonly bundles: ServedBundles;
  /** The directory of bundles. */
  readonly directory: string;
  /** Makes the server not ready. It still answers requests. */
  readonly drain: () => Promise<void>;
  readonly setLogLevel: (level: LogLevel) => Promise<void>;
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
type LogLevel = (typeof LOG_LEVELS)[number];
const activation = z.strictObject({ bundle: z.string().min(1) });
const logLevel = z.strictObject({ level: z.enum(LOG_LEVELS) });

type Handle = (request: HttpRequest) => object | Promise<object>;

/** Answers requests to the admin port. Every answer is JSON, and the promise never rejects. */
export function adminHandler(services: AdminServices): RequestHandler {
  const { bundles, keys, directory } = services;
  const routes: Readonly<Record<string, Handle>> = {
    'GET /bundles': () => ({
      ...describeServed(bundles),
      history: readHistory(directory),
      published: listBundles(directory),
    }),
    'POST /bundles/activate': async (request) => {
      await bundles.activate(parseBody(activation, parseJson(request)).bundle);
      return describeServed(bundles);
    },
    'POST /bundles/rollback': async () => {
      await bundles.rollback();
      return describeServed(bundles);
    },
    'POST /drain': async () => {
      await services.drain();
      return { ready: false };
    },
    'PUT /log-level': async (request) => {
      const { level } = parseBody(logLevel, parseJson(request));
      await services.setLogLevel(level);
      return { level };
    },
  };
  return async (request) => {
    const requestId = requestIdOf(request.headers['x-request-id']);
    try {
      keys.authenticate(request.headers.authorization).require('admin');
      const name = `${request.method} ${request.path}`;
      const handle = Object.hasOwn(routes, name) ? routes[name] : undefined;
      if (handle === undefined)
        throw new TandemError(
          'ERR_NOT_FOUND',
          `Expected one of ${Object.keys(routes).join(', ')}, received ${name.slice(0, 128)}.`,
        );
      return reply(200, await handle(request));
    } catch (error) {
      return errorReply(error, requestId);
    }
  };
}

function describeServed({ served }: ServedBundles): object {
  return { active: describe(served.active), previous: describe(served.previous) };
}

function describe(engine: Engine | undefined): object | null {
  if (engine === undefined) return null;
  const { manifest, directory } = engine.bundle;
  return {
    name: basename(directory),
    bundle_id: manifest.bundleId,
    encoder_id: manifest.encoderId,
    head_id: manifest.headId,
    index_id: manifest.indexId,
    items: manifest.counts.items,
    data_until: manifest.dataUntilSeconds,
  };
}

function reply(status: number, body: object): HttpReply {
  return { status, contentType: 'application/json', body: JSON.stringify(body) };
}
