// Errors as HTTP replies, and the request id that both sides log.

import { randomUUID } from 'node:crypto';
import { TandemError } from '../../errors.ts';
import { describeError, type ErrorBody } from '../request/error-body.ts';
import type { HttpReply } from './transport.ts';

/** After a refusal that does not know better. */
const RETRY_AFTER_SECONDS = 1;

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

/** The client's request id where it is safe to echo and log, else a new one. */
export function requestIdOf(given: string): string {
  return /^[A-Za-z0-9._:-]{1,128}$/.test(given) ? given : randomUUID();
}
