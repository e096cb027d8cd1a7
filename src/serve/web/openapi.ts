// The OpenAPI 3.1 document: paths by hand, bodies from the zod schemas that validate them.

import { ERROR_TABLE, type ErrorCode } from '../../errors.ts';
import { BINARY_TYPE } from '../answer/encode-binary.ts';
import type { Role } from '../admission/key-file.ts';
import { OCTETS_TYPE } from './kserve/kserve.ts';
import { jsonSchemas } from '../request/schemas.ts';

const REQUEST_ERRORS: readonly ErrorCode[] = [
  'ERR_INVALID_REQUEST',
  'ERR_UNAUTHENTICATED',
  'ERR_FORBIDDEN',
  'ERR_UNKNOWN_ITEM',
  'ERR_PAYLOAD_TOO_LARGE',
  'ERR_RATE_LIMITED',
  'ERR_OVERLOADED',
  'ERR_DRAINING',
  'ERR_DEADLINE_EXCEEDED',
  'ERR_INTERNAL',
];

/** A server without keys needs none: hence the empty alternative. */
function needs(role: Role): object[] {
  return [{ apiKey: [role] }, {}];
}

/** @param version - of the package. */
export function openApiDocument(version: string): Record<string, unknown> {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tandem',
      version,
      description: 'Candidates for a user and what the user is looking at now.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    // Wherever this document was read.
    servers: [{ url: '/' }],
    paths: {
      '/v1/candidates': {
        post: operation(
          'candidates',
          'Candidates of one request.',
          'CandidatesRequest',
          'CandidatesResponse',
          { [BINARY_TYPE]: { schema: { type: 'string', format: 'binary' } } },
        ),
      },
      '/v1/candidates:batch': {
        post: operation(
          'candidatesBatch',
          'Candidates of up to 1,024 requests; a request that fails has its error in its place.',
          'BatchRequest',
          'BatchResponse',
        ),
      },
      '/v1/embeddings': {
        post: operation(
          'embeddings',
          'The query embedding of a request, instead of candidates.',
          'EmbeddingsRequest',
          'EmbeddingsResponse',
        ),
      },
      '/v1/score': {
        post: operation(
          'score',
          'Exact scores of given items; an item that the bundle lacks has its error in its place.',
          'ScoreRequest',
          'ScoreResponse',
        ),
      },
      '/v1/events': {
        post: {
          ...operation(
            'ingest',
            'Appends conversions to histories, durably, and encodes the users at once; of a server with freshEvents alone.',
            'IngestRequest',
            'IngestResponse',
          ),
          security: needs('ingest'),
        },
      },
      '/v1/items': {
        put: itemsOperation(
          'putItems',
          'Adds items, or replaces them; of a server with freshItems alone.',
          'PutItemsRequest',
        ),
        delete: itemsOperation(
          'deleteItems',
          'Removes items for good; of a server with freshItems alone.',
          'DeleteItemsRequest',
        ),
      },
      '/v1/items/{id}': {
        get: {
          operationId: 'item',
          security: needs('candidates'),
          summary: 'What is known of an item.',
          parameters: [
            {
              ...{ name: 'id', in: 'path', required: true, schema: { type: 'string' } },
              description: 'Percent-encoded.',
            },
          ],
          responses: {
            200: json('Known.', { $ref: '#/components/schemas/ItemResponse' }),
            404: errorResponse('ERR_UNKNOWN_ITEM'),
            ...ACCESS_ERRORS,
          },
        },
      },
      '/v1/stream': {
        get: {
          operationId: 'stream',
          security: needs('candidates'),
          summary:
            'WebSocket session: HelloFrame, then SubjectFrame; answers carry the id of their subject, in JSON or binary frames.',
          responses: {
            101: { description: 'Switching protocols.' },
            400: errorResponse('Not a WebSocket upgrade.'),
            ...ACCESS_ERRORS,
          },
        },
      },
      '/health/live': { get: probe('live', 'The process runs.') },
      '/health/ready': {
        get: {
          ...probe('ready', 'Requests are welcome.'),
          responses: { 200: json('Ready.', {}), 503: errorResponse('Stopping.') },
        },
      },
      '/metrics': {
        get: {
          operationId: 'metrics',
          security: needs('metrics'),
          summary: 'Metrics in the Prometheus text format.',
          responses: {
            200: {
              description: 'Metrics.',
              content: { 'text/plain': { schema: { type: 'string' } } },
            },
            ...ACCESS_ERRORS,
          },
        },
      },
      '/openapi.json': { get: probe('openapi', 'This document.') },
      '/version': {
        get: {
          ...probe('version', 'Versions of program, native code and bundle.'),
          security: needs('metrics'),
        },
      },
      ...kservePaths(),
    },
    components: {
      schemas: jsonSchemas(),
      securitySchemes: {
        apiKey: {
          type: 'http',
          scheme: 'bearer',
          description: 'A key of `tandem keys add`; a server without a key file needs none.',
        },
      },
    },
  };
}

function kservePaths(): object {
  const octets = { [OCTETS_TYPE]: { schema: { type: 'string', format: 'binary' } } };
  const accessErrors = {
    401: errorResponse('ERR_UNAUTHENTICATED', 'KserveError'),
    403: errorResponse('ERR_FORBIDDEN', 'KserveError'),
  };
  const metadata = (operationId: string, summary: string, schema: string): object => ({
    operationId,
    summary,
    security: needs('candidates'),
    responses: {
      200: json('Known.', { $ref: `#/components/schemas/${schema}` }),
      ...accessErrors,
    },
  });
  const ready = (operationId: string, summary: string): object => ({
    operationId,
    summary,
    security: [],
    responses: { 200: json('Ready.', {}), 503: errorResponse('Stopping.', 'KserveError') },
  });
  const infer = operation(
    'kserveInfer',
    'Query embeddings of up to 1,024 rows; with Inference-Header-Content-Length JSON and then bytes.',
    'InferRequest',
    'InferResponse',
    octets,
    'KserveError',
  );
  return {
    '/v2': { get: metadata('kserveServer', 'The server, as KServe v2 has it.', 'ServerMetadata') },
    '/v2/health/live': { get: probe('kserveLive', 'The process runs.') },
    '/v2/health/ready': { get: ready('kserveReady', 'Requests are welcome.') },
    '/v2/models/tandem': {
      get: metadata('kserveModel', 'Inputs and outputs of the query tower.', 'ModelMetadata'),
    },
    '/v2/models/tandem/ready': { get: ready('kserveModelReady', 'Requests are welcome.') },
    '/v2/models/tandem/infer': { post: infer },
  };
}

/**
 * @param otherTypes - contents of the answer besides JSON.
 * @param error - schema of an answer that is none.
 */
function operation(
  operationId: string,
  summary: string,
  body: string,
  answer: string,
  otherTypes: object = {},
  error = 'Error',
): object {
  const errors: Partial<Record<string, ErrorCode[]>> = {};
  for (const code of REQUEST_ERRORS) (errors[ERROR_TABLE[code].status] ??= []).push(code);
  return {
    operationId,
    summary,
    security: needs('candidates'),
    parameters: [
      header(
        'X-Request-Id',
        'Echoed when it has 1 to 128 characters of A-Z a-z 0-9 . _ : -, else replaced.',
      ),
      header(
        'X-Request-Timeout-Ms',
        'Milliseconds that the answer is worth waiting for; a request whose turn comes later gets 504.',
      ),
      header('traceparent', 'W3C trace context; echoed when it is valid.'),
    ],
    requestBody: {
      required: true,
      content: { 'application/json': { schema: { $ref: `#/components/schemas/${body}` } } },
    },
    responses: {
      200: {
        description: 'Answered.',
        content: {
          'application/json': { schema: { $ref: `#/components/schemas/${answer}` } },
          ...otherTypes,
        },
      },
      ...Object.fromEntries(
        Object.entries(errors).map(([status, codes]) => [
          status,
          errorResponse((codes ?? []).join(', '), error),
        ]),
      ),
    },
  };
}

function itemsOperation(operationId: string, summary: string, body: string): object {
  return {
    ...operation(operationId, summary, body, 'ItemsResponse'),
    security: needs('ingest'),
  };
}

const ACCESS_ERRORS = {
  401: errorResponse('ERR_UNAUTHENTICATED'),
  403: errorResponse('ERR_FORBIDDEN'),
};

/** Open to everybody. */
function probe(operationId: string, summary: string): object {
  return { operationId, summary, security: [], responses: { 200: json(summary, {}) } };
}

function header(name: string, description: string): object {
  return { name, in: 'header', required: false, description, schema: { type: 'string' } };
}

function errorResponse(description: string, schema = 'Error'): object {
  return json(description, { $ref: `#/components/schemas/${schema}` });
}

function json(description: string, schema: object): object {
  return { description, content: { 'application/json': { schema } } };
}
