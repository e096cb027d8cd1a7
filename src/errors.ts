// TandemError and the one table of error codes. docs/reference/errors.md explains each code, and
// errors.test.ts compares that page with the table.

import { distance } from 'fastest-levenshtein';

/**
 * Every error code with two facts: the HTTP status of the answer when the error reaches a client,
 * and whether the same call may succeed later without a change by the caller.
 */
export const ERROR_TABLE = {
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
  ERR_CHECKPOINT_INVALID: { status: 500, retryable: false },
  ERR_DATASET_INVALID: { status: 500, retryable: false },
  ERR_DATASET_NOT_FOUND: { status: 500, retryable: false },
  ERR_INDEX_INVALID: { status: 500, retryable: false },
  ERR_NON_FINITE: { status: 500, retryable: false },
  ERR_NATIVE_UNAVAILABLE: { status: 500, retryable: false },
  ERR_BACKEND_UNAVAILABLE: { status: 500, retryable: false },
  ERR_PACKAGE_MISSING: { status: 500, retryable: false },
  ERR_TRAINING_DIVERGED: { status: 500, retryable: false },
  ERR_CONFIG_INVALID: { status: 500, retryable: false },
  ERR_SYSTEM: { status: 500, retryable: false },
  ERR_INTERNAL: { status: 500, retryable: false },
} as const;

/** Code of an error. docs/reference/errors.md explains each one. */
export type ErrorCode = keyof typeof ERROR_TABLE;

/** Facts and cause of an error. */
export interface TandemErrorOptions {
  /** Machine-readable facts: the field, the file, the line, the ids involved. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/**
 * Every failure except an argument of the wrong type.
 *
 * The message says what was expected and for what, what was received, and what to do.
 */
export class TandemError extends Error {
  override readonly name = 'TandemError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: TandemErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = ERROR_TABLE[code].status;
    this.retryable = ERROR_TABLE[code].retryable;
    this.details = options.details ?? {};
  }
}

/**
 * The name in `known` that a misspelled name most likely means.
 *
 * @returns the name with the smallest edit distance, ignoring case; undefined when more than half
 *   of the characters of `given` (at least 2) would have to change.
 */
export function nearestName(given: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestEdits = Math.max(2, Math.ceil(given.length / 2)) + 1;
  for (const name of known) {
    const edits = distance(given.toLowerCase(), name.toLowerCase());
    if (edits < bestEdits) {
      best = name;
      bestEdits = edits;
    }
  }
  return best;
}
