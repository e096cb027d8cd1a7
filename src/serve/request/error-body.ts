// What a client sees of an error: code, message, field and request id. Unexpected errors are logged
// here, once.

import { TandemError } from '../../errors.ts';
import { logger } from '../../telemetry.ts';

export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  /** Path of the member of the request that is wrong; null when it is the request as a whole. */
  readonly field: string | null;
  readonly request_id: string;
}

/**
 * Turns anything that was thrown into a status and an error body.
 *
 * An error that the client did not cause is logged, and the client is not told what it was.
 */
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
      'Expected to answer, but an unexpected error occurred. ' +
        `The log of the server has it under request ${requestId}.`,
    ),
    requestId,
  );
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
