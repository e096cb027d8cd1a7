// Parts of OpenAPI operations that several routes share.

import { ERROR_TABLE, type ErrorCode } from '../../../errors.ts';

/** An OpenAPI 3.1 operation object without `security`. */
export interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters?: readonly object[];
  readonly requestBody?: object;
  /** By status. */
  readonly responses: Readonly<Record<string, object>>;
}

export interface QueryOperation {
  readonly operationId: string;
  readonly summary: string;
  /** Name of the schema of the request body. */
  readonly body: string;
  /** Name of the schema of the answer. */
  readonly answer: string;
  /** Media types of the answer besides JSON. */
  readonly otherTypes?: Readonly<Record<string, object>>;
  /** Name of the schema of errors. */
  readonly error?: string;
}

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

const HEADERS = [
  header(
    'X-Request-Id',
    'Echoed when it has 1 to 128 characters of A-Z a-z 0-9 . _ : - and replaced otherwise.',
  ),
  header(
    'X-Request-Timeout-Ms',
    'Timeout in milliseconds. A request that is not started in time gets 504.',
  ),
  header('traceparent', 'W3C trace context. Echoed when it is valid.'),
];

/** Schema of a body of bytes. */
export const BYTES_SCHEMA: object = { schema: { type: 'string', format: 'binary' } };

/** An operation that takes a JSON body and is subject to admission control. */
export function queryOperation({
  operationId,
  summary,
  body,
  answer,
  otherTypes = {},
  error = 'Error',
}: QueryOperation): Operation {
  const errors: Partial<Record<string, ErrorCode[]>> = {};
  for (const code of REQUEST_ERRORS) (errors[ERROR_TABLE[code].status] ??= []).push(code);
  return {
    operationId,
    summary,
    parameters: HEADERS,
    requestBody: {
      required: true,
      content: { 'application/json': { schema: reference(body) } },
    },
    responses: {
      200: {
        description: 'The answer.',
        content: { 'application/json': { schema: reference(answer) }, ...otherTypes },
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

/** An operation without parameters that always succeeds, once the client is authorised. */
export function plainOperation(operationId: string, summary: string): Operation {
  return { operationId, summary, responses: { 200: jsonResponse(summary, {}) } };
}

/** @param error - name of the schema of errors. */
export function readinessOperation(operationId: string, error: string): Operation {
  return {
    operationId,
    summary: 'Checks that the server accepts requests.',
    responses: {
      200: jsonResponse('The server accepts requests.', {}),
      503: errorResponse('The server is stopping.', error),
    },
  };
}

/**
 * The errors that a missing or a wrong API key causes.
 *
 * @param error - name of the schema of errors.
 */
export function accessErrors(error: string): Readonly<Record<string, object>> {
  return {
    401: errorResponse('ERR_UNAUTHENTICATED', error),
    403: errorResponse('ERR_FORBIDDEN', error),
  };
}

/** @param error - name of the schema of errors. */
export function errorResponse(description: string, error: string): object {
  return jsonResponse(description, reference(error));
}

export function jsonResponse(description: string, schema: object): object {
  return { description, content: { 'application/json': { schema } } };
}

/** Refers to a schema of the document by its name. */
export function reference(name: string): object {
  return { $ref: `#/components/schemas/${name}` };
}

function header(name: string, description: string): object {
  return { name, in: 'header', required: false, description, schema: { type: 'string' } };
}
