// What a client sees of an error: the table's code, a message, the field, when to come back. Unexpected errors are logged here, once.

import { randomUUID } from 'node:crypto';
import { TandemError } from '../errors.ts';
import { logger } from '../telemetry.ts';
import type { HttpReply } from './transport.ts';

/** After a refusal that does not know better. */
const RETRY_AFTER_SECONDS = 1;

export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  /** Path of the member of the request that is at fault. */
  readonly field: string | null;
  readonly request_id: string;
}

/** Turns anything thrown into an answer; what is not the client's doing is logged and not described to the client. */
export function describeError(
  error: unknown,
  requestId: string,
): { readonly status: number; readonly body: ErrorBody } {
  if (error instanceof TandemError && error.status < 500) return shown(error, requestId);
  if (error instanceof TandemError && error.retryable) return shown(error, requestId);
  logger.error({ err: error, requestId }, 'request failed');
  return shown(
    new TandemError(
      'ERR_INTERNAL',
      `Expected to answer, but an unexpected failure came in the way. The server's log has it under request ${requestId}.`,
    ),
    requestId,
  );
}

/**
 * The same as an HTTP reply, with the headers that go with its status.
 *
 * @param write - the body, where it is not `{"error": ErrorBody}`.
 */
export function errorReply(
  error: unknown,
  requestId: string,
  write: (body: ErrorBody) => object = (body) => ({ error: body }),
): HttpReply {
  const { status, body } = describeError(error, requestId);
  const headers: Record<string, string> = { 'X-Request-Id': requestId };
  const { allow } = error instanceof TandemError ? error.details : {};
  if (status === 401) headers['WWW-Authenticate'] = 'Bearer';
  if (status === 405 && typeof allow === 'string') headers['Allow'] = allow;
  if (status === 429 || status === 503) {
    const { retryAfterSeconds } = (error as TandemError).details;
    const known = typeof retryAfterSeconds === 'number';
    headers['Retry-After'] = String(known ? retryAfterSeconds : RETRY_AFTER_SECONDS);
  }
  return {
    status,
    contentType: 'application/json',
    body: JSON.stringify(write(body)),
    headers,
  };
}

function shown(error: TandemError, requestId: string): { status: number; body: ErrorBody } {
  const { field } = error.details;
  return {
    status: error.status,
    body: {
      code: error.code,
      message: error.message,
      field: typeof field === 'string' ? field : null,
      request_id: requestId,
    },
  };
}

/** The client's request id where it is safe to echo and log, else a new one. */
export function requestIdOf(given: string): string {
  return /^[A-Za-z0-9._:-]{1,128}$/.test(given) ? given : randomUUID();
}
