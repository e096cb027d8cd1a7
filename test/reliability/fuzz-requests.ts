// Requests for the fuzz row: valid HTTP of every path and method, binary inferences, and bytes that
// are almost HTTP.

import fc, { type Arbitrary } from 'fast-check';
import { tinyItem } from '../support/tiny-bundle.ts';
import {
  KNOWN,
  MOST_ITEMS,
  bodyOf,
  jsonBytes,
  odd,
  scarred,
  spoilt,
  type OpenApi,
} from './fuzz-values.ts';

export interface HttpCase {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const METHODS = ['GET', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'TRACE', 'POST'] as const;

const headers = fc.dictionary(
  fc.constantFrom(
    'x-request-id',
    'x-request-timeout-ms',
    'traceparent',
    'accept',
    'authorization',
    'content-type',
    'content-encoding',
    'if-none-match',
    'origin',
    'cookie',
  ),
  fc.oneof(
    fc.constantFrom('application/x-tandem', '0', '1', '-1', '1e3', '99999999999', 'Bearer x', ','),
    fc.string({ maxLength: 200 }).map((text) => text.replace(/[^\x20-\x7e]/g, '~').trim()),
  ),
  { maxKeys: 3 },
);

/**
 * Requests that are valid HTTP, so that each must be answered. They have every path and method,
 * most of them the body that the path expects.
 */
export function httpCases(api: OpenApi): Arbitrary<HttpCase> {
  const schemaOf = (path: string): string => {
    const text = JSON.stringify(api.paths[path]!['post'] ?? {});
    return /"requestBody":.*?schemas\/(\w+)"/.exec(text)?.[1] ?? 'CandidatesRequest';
  };
  const ofPath = (path: string): Arbitrary<HttpCase> =>
    fc.record({
      method: fc.oneof(
        {
          weight: 3,
          arbitrary: fc.constantFrom(...Object.keys(api.paths[path]!).map((m) => m.toUpperCase())),
        },
        fc.constantFrom(...METHODS),
      ),
      path: fc
        .oneof(fc.constantFrom(tinyItem(1).id, '%', '%ff', '__proto__', '..%2f'), fc.webSegment())
        .map((id) => path.replace('{id}', id)),
      headers,
      body: bodyOf(schemaOf(path), api),
    });
  const posts = Object.keys(api.paths).filter((path) => 'post' in api.paths[path]!);
  const unknown = fc.record({
    method: fc.constantFrom(...METHODS),
    path: fc.string({ maxLength: 200 }).map((text) => `/${text.replace(/[^\x21-\x7e]/g, '%')}`),
    headers,
    body: bodyOf('CandidatesRequest', api),
  });
  return fc.oneof(
    { weight: 3, arbitrary: fc.oneof(...posts.map(ofPath)) },
    { weight: 1, arbitrary: fc.oneof(...Object.keys(api.paths).map(ofPath)) },
    { weight: 2, arbitrary: inferCases() },
    unknown,
  );
}

/**
 * KServe v2 requests with inputs as JSON and as bytes: valid ones, and ones whose bytes, sizes or
 * header disagree.
 */
function inferCases(): Arbitrary<HttpCase> {
  const rows = fc.array(
    fc.record({ user: fc.constantFrom(...KNOWN), age: fc.float({ noNaN: false }) }),
    { minLength: 1, maxLength: MOST_ITEMS },
  );
  const right = rows.map((all) => {
    const users = Buffer.concat(
      all.flatMap(({ user }) => [uint32(Buffer.byteLength(user)), Buffer.from(user)]),
    );
    const ages = Buffer.from(Float32Array.from(all, ({ age }) => age).buffer);
    const input = (name: string, datatype: string, bytes: Buffer): object => ({
      name,
      datatype,
      shape: [all.length],
      parameters: { binary_data_size: bytes.length },
    });
    const inputs = [input('user', 'BYTES', users), input('age', 'FP32', ages)];
    const values = (name: string, datatype: string, data: unknown[]): object => ({
      name,
      datatype,
      shape: [all.length],
      data,
    });
    const asJson = [
      values(
        'user',
        'BYTES',
        all.map(({ user }) => user),
      ),
      values(
        'age',
        'FP32',
        all.map(({ age }) => (Number.isFinite(age) ? age : null)),
      ),
    ];
    return {
      json: { inputs },
      bytes: Buffer.concat([users, ages]),
      whole: { inputs: asJson, parameters: { binary_data_output: all.length > 2 } },
    };
  });
  const sent = (json: unknown, bytes: Buffer, length: (bytes: number) => string): HttpCase => {
    const head = jsonBytes(json);
    return {
      method: 'POST',
      path: '/v2/models/tandem/infer',
      headers: { 'inference-header-content-length': length(head.length) },
      body: Buffer.concat([head, bytes]),
    };
  };
  return fc
    .tuple(
      right,
      fc.nat(),
      fc.constantFrom('right', 'whole', 'whole', 'json', 'bytes', 'short', 'header'),
      fc.constantFrom('0', '-1', '1e9', '999999999', 'x', '2147483648'),
    )
    .chain(([{ json, bytes, whole }, draw, how, header]) => {
      if (how === 'whole')
        return spoilt(fc.constant(whole)).map((value) => sent(value, Buffer.alloc(0), String));
      if (how === 'json')
        return spoilt(fc.constant(json)).map((value) => sent(value, bytes, String));
      if (how === 'bytes')
        return scarred(fc.constant(bytes)).map((value) => sent(json, value, String));
      if (how === 'header') return fc.constant(sent(json, bytes, () => header));
      const kept = how === 'short' ? bytes.subarray(0, draw % bytes.length) : bytes;
      return fc.constant(sent(json, kept, String));
    });
}

function repeated(value: string, times: number): string[] {
  return Array.from({ length: times }, () => value);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Requests to the admin port, without /drain, after which a server answers no more. */
export const adminCases: Arbitrary<HttpCase> = fc.record({
  method: fc.constantFrom('POST', 'PUT', ...METHODS),
  path: fc.constantFrom('/bundles', '/bundles/activate', '/bundles/rollback', '/log-level', '/'),
  headers,
  body: fc
    .record(
      { bundle: fc.oneof(odd, fc.constantFrom('..', '../..', 'current')), level: odd },
      { requiredKeys: [] },
    )
    .map(jsonBytes),
});

/**
 * Bytes that are almost HTTP: wrong lines, lengths and chunks. Without an answer the connection
 * must be closed.
 */
export const rawCases: Arbitrary<Buffer> = fc.oneof(
  fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(
      fc.constantFrom('POST', 'POST', 'GET', 'HEAD', 'HEAD', 'PUT', 'CONNECT', 'post', '', '\xe9'),
      fc.constantFrom(
        '/v1/score',
        '/version',
        '/v1/candidates',
        '/%ff',
        '*',
        'http://h/',
        '',
        '/\xff',
      ),
      fc.constantFrom(...repeated('HTTP/1.1', 8), 'HTTP/1.0', 'HTTP/2.0', 'HTTP/9', ''),
      fc.array(
        fc.constantFrom(
          'Content-Length: 5',
          'Content-Length: -1',
          'Content-Length: 1e9',
          ': x',
          'A',
          '',
          'Content-Length: 99999999999999999999',
          'Content-Length: 6',
          'X: \0',
          ' folded: y',
          'Transfer-Encoding: chunked',
          'Transfer-Encoding: identity',
          'Expect: 100-continue',
          'Upgrade: websocket',
          'Connection: Upgrade',
          'Sec-WebSocket-Key: x',
          'Expect: x',
          `X: ${'y'.repeat(5000)}`,
          'X: 1\r\n'.repeat(60).trim(),
          'Connection: close',
        ),
        { maxLength: 3 },
      ),
      fc.constantFrom(
        '',
        '{"a"',
        '{"a b": "\xfc"}',
        '5\r\nabcde\r\n0\r\n\r\n',
        '5;x=y\r\nabcde\r\n0\r\n\r\n',
        'ffffffffffffffff\r\n',
        '-1\r\n',
        '5\r\nabcdefgh',
        'zz\r\n',
        '\r\n\r\n',
        '0\r\n\r\n',
      ),
      fc.constantFrom(...repeated('\r\n', 8), '\n', '\r'),
    )
    .map(([method, path, version, lines, body, end]) =>
      Buffer.from(
        [`${method} ${path} ${version}`, 'Host: h', ...lines, '', body].join(end),
        'latin1',
      ),
    ),
);
