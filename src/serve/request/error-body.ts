// What a client sees of an error: the table's code, a message, the field, when to come back. Unexpected errors are logged here, once.

import { TandemError } from '../../errors.ts';
import { logger } from '../../telemetry.ts';

export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  /** Path of the member of the request that is at fault. */
  readonly field: string | null;
  readonly request_id: string;
}

/** TurnScheduler anything thrown into an answer; what is not the client's doing is logged and not described to the client. */
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
