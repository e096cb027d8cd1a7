// From the bytes of a body to a JSON value, for every route that has a body.

import { isUtf8 } from 'node:buffer';
import { TandemError } from '../../errors.ts';
import { invalid } from '../request/parse-body.ts';
import type { HttpRequest } from './transport.ts';

/** @throws TandemError ERR_PAYLOAD_TOO_LARGE, ERR_INVALID_REQUEST. */
export function parseJson(request: HttpRequest): unknown {
  return jsonOf(receivedBody(request));
}

/** @throws TandemError ERR_PAYLOAD_TOO_LARGE; ERR_INVALID_REQUEST when the body is compressed. */
export function receivedBody({ body, headers }: Pick<HttpRequest, 'body' | 'headers'>): Buffer {
  const encoding = headers['content-encoding'];
  if (encoding !== '' && encoding.toLowerCase() !== 'identity')
    throw invalid(
      'Expected a body without Content-Encoding, received ' +
        `Content-Encoding: ${encoding.slice(0, 64)}. Send it uncompressed.`,
      'Content-Encoding',
    );
  if (body === undefined)
    throw new TandemError(
      'ERR_PAYLOAD_TOO_LARGE',
      'Expected a body within the limit (setting maxBodyBytes). ' +
        'Split a batch into several requests.',
    );
  return body;
}

/** @throws TandemError ERR_INVALID_REQUEST. */
export function jsonOf(body: Buffer): unknown {
  if (!isUtf8(body)) throw invalid('Expected a body in UTF-8.', null);
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw invalid(`Expected a JSON body, but: ${(cause as Error).message}.`, null);
  }
}
