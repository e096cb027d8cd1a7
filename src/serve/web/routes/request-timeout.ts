// The header X-Request-Timeout-Ms.

import { MAX_REQUEST_TIMEOUT_MS } from '../../../config.ts';
import { invalid } from '../../request/parse-body.ts';
import type { HttpRequest } from '../transport.ts';

/**
 * @returns the milliseconds in the header, or undefined when the request has no such header.
 * @throws TandemError ERR_INVALID_REQUEST.
 */
export function timeoutOf({ headers }: HttpRequest): number | undefined {
  const text = headers['x-request-timeout-ms'];
  if (text === '') return undefined;
  const timeoutMs = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (timeoutMs >= 1 && timeoutMs <= MAX_REQUEST_TIMEOUT_MS) return timeoutMs;
  throw invalid(
    `Expected a whole number of milliseconds from 1 to ${MAX_REQUEST_TIMEOUT_MS} in the header ` +
      `X-Request-Timeout-Ms, received ${JSON.stringify(text.slice(0, 64))}.`,
    'X-Request-Timeout-Ms',
  );
}
