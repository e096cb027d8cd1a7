// Turns errors into HTTP replies, and chooses the request id that client and server log.

import { randomUUID } from 'node:crypto';
import { TandemError } from '../../errors.ts';
import { describeError, type ErrorBody } from '../request/error-body.ts';
import type { HttpReply } from './transport.ts';

/** The value of Retry-After when the error has none. */
const RETRY_AFTER_SECONDS = 1;

/**
 * Returns the reply to a failed request, with the headers that its status demands.
 *
 * @param write - makes the body. The default is `{"error": ErrorBody}`.
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

/** Returns the client's request id if it is safe to echo and log, otherwise a new one. */
export function requestIdOf(given: string): string {
  return /^[A-Za-z0-9._:-]{1,128}$/.test(given) ? given : randomUUID();
}
