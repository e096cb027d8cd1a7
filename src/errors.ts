// TandemError and the one table of error codes. docs/errors.md explains each; errors.test.ts holds the two together.

interface ErrorKind {
  /** HTTP status a server answers with when this error reaches a client. */
  readonly status: number;
  /** Whether the same call may succeed later without a change by the caller. */
  readonly retryable: boolean;
}

export type ErrorCode =
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_INVALID_REQUEST'
  | 'ERR_UNAUTHENTICATED'
  | 'ERR_FORBIDDEN'
  | 'ERR_UNKNOWN_ITEM'
  | 'ERR_NOT_FOUND'
  | 'ERR_METHOD_NOT_ALLOWED'
  | 'ERR_PAYLOAD_TOO_LARGE'
  | 'ERR_RATE_LIMITED'
  | 'ERR_OVERLOADED'
  | 'ERR_ITEMS_FULL'
  | 'ERR_DRAINING'
  | 'ERR_DEADLINE_EXCEEDED'
  | 'ERR_STORE_UNAVAILABLE'
  | 'ERR_STORE_CORRUPT'
  | 'ERR_BUNDLE_INVALID'
  | 'ERR_BUNDLE_NOT_FOUND'
  | 'ERR_ENCODER_MISMATCH'
  | 'ERR_CHECKPOINT_INVALID'
  | 'ERR_DATASET_INVALID'
  | 'ERR_DATASET_NOT_FOUND'
  | 'ERR_INDEX_INVALID'
  | 'ERR_NON_FINITE'
  | 'ERR_NATIVE_UNAVAILABLE'
  | 'ERR_BACKEND_UNAVAILABLE'
  | 'ERR_TRAINING_DIVERGED'
  | 'ERR_CONFIG_INVALID'
  | 'ERR_INTERNAL';

export const ERROR_TABLE: Readonly<Record<ErrorCode, ErrorKind>> = {
  ERR_INVALID_ARGUMENT: { status: 400, retryable: false },
  ERR_INVALID_REQUEST: { status: 400, retryable: false },
  ERR_UNAUTHENTICATED: { status: 401, retryable: false },
  ERR_FORBIDDEN: { status: 403, retryable: false },
  ERR_UNKNOWN_ITEM: { status: 404, retryable: false },
  ERR_NOT_FOUND: { status: 404, retryable: false },
  ERR_METHOD_NOT_ALLOWED: { status: 405, retryable: false },
  ERR_PAYLOAD_TOO_LARGE: { status: 413, retryable: false },
  ERR_RATE_LIMITED: { status: 429, retryable: true },
  ERR_OVERLOADED: { status: 503, retryable: true },
  ERR_ITEMS_FULL: { status: 409, retryable: false },
  ERR_DRAINING: { status: 503, retryable: true },
  ERR_DEADLINE_EXCEEDED: { status: 504, retryable: true },
  ERR_STORE_UNAVAILABLE: { status: 503, retryable: true },
  ERR_STORE_CORRUPT: { status: 500, retryable: false },
  ERR_BUNDLE_INVALID: { status: 422, retryable: false },
  ERR_BUNDLE_NOT_FOUND: { status: 404, retryable: false },
  ERR_ENCODER_MISMATCH: { status: 500, retryable: false },
  ERR_CHECKPOINT_INVALID: { status: 500, retryable: false },
  ERR_DATASET_INVALID: { status: 500, retryable: false },
  ERR_DATASET_NOT_FOUND: { status: 500, retryable: false },
  ERR_INDEX_INVALID: { status: 500, retryable: false },
  ERR_NON_FINITE: { status: 500, retryable: false },
  ERR_NATIVE_UNAVAILABLE: { status: 500, retryable: false },
  ERR_BACKEND_UNAVAILABLE: { status: 500, retryable: false },
  ERR_TRAINING_DIVERGED: { status: 500, retryable: false },
  ERR_CONFIG_INVALID: { status: 500, retryable: false },
  ERR_INTERNAL: { status: 500, retryable: false },
};

export interface ErrorOptions {
  /** Machine-readable facts: the field, the file, the line, the ids involved. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/**
 * Every failure that is not a programmer's wrong argument type.
 *
 * The message says what was expected, for what, what came, and the remedy.
 */
export class TandemError extends Error {
  override readonly name = 'TandemError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = ERROR_TABLE[code].status;
    this.retryable = ERROR_TABLE[code].retryable;
    this.details = options.details ?? {};
  }
}

/** The entry of `known` with the smallest edit distance to `given`, for "did you mean"; undefined when none is near. */
export function nearestName(given: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.ceil(given.length / 2)) + 1;
  for (const name of known) {
    const distance = editDistance(given.toLowerCase(), name.toLowerCase());
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, previous[j]! + 1, current[j - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}
