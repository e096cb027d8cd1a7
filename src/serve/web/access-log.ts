// The access log: one JSON line per request. A user appears as a keyed hash, which stays the same
// until the server restarts and does not reveal the user. Keys and bodies are never logged.

import { createHmac } from 'node:crypto';
import { pino, type Logger } from 'pino';
import { TandemError } from '../../errors.ts';
import { reasonOf } from '../../foreign-errors.ts';
import type { AnswerFacts } from '../answer/answer-parts.ts';

export interface AccessEntry {
  readonly method: string;
  /** The pattern of a known path, or "other". */
  readonly route: string;
  readonly status: number;
  readonly bytes: number;
  readonly ms: number;
  readonly requestId: string;
  /** W3C trace context, empty when the request had none. */
  readonly traceparent: string;
  readonly facts: AnswerFacts | undefined;
}

/** Lines are buffered up to this size, for at most FLUSH_INTERVAL_MS. */
const BUFFER_BYTES = 8 * 1024;
const FLUSH_INTERVAL_MS = 1000;
const HASH_CHARACTERS = 16;

/** Returns undefined when `path` is undefined; otherwise as the constructor of AccessLog. */
export function openAccessLog(path: string | undefined, salt: Uint8Array): AccessLog | undefined {
  return path === undefined ? undefined : new AccessLog(path, salt);
}

export class AccessLog {
  readonly #salt: Uint8Array;
  readonly #destination: ReturnType<typeof pino.destination>;
  readonly #logger: Logger;
  #closed = false;

  /**
   * @param path - a file to append to; "-" means standard output.
   * @param salt - random bytes, the same for all event loops of a server.
   * @throws TandemError ERR_CONFIG_INVALID when the file cannot be opened.
   */
  constructor(path: string, salt: Uint8Array) {
    this.#salt = salt;
    try {
      this.#destination = pino.destination({
        dest: path === '-' ? 1 : path,
        minLength: BUFFER_BYTES,
        periodicFlush: FLUSH_INTERVAL_MS,
        append: true,
        // Opens the file at once, so that a wrong path stops the start.
        sync: true,
      });
    } catch (cause) {
      throw new TandemError(
        'ERR_CONFIG_INVALID',
        'Expected a writable file for the access log (setting accessLog), received ' +
          `${path}, but: ${reasonOf(cause)}. Name a file in a directory that exists.`,
        { cause, details: { setting: 'accessLog' } },
      );
    }
    this.#logger = pino({ base: null }, this.#destination);
  }

  write(entry: AccessEntry): void {
    const { method, route, status, bytes, requestId, traceparent, facts } = entry;
    this.#logger.info({
      request_id: requestId,
      ...(traceparent !== '' && { traceparent }),
      method,
      route,
      status,
      bytes,
      ms: Math.round(entry.ms * 1e3) / 1e3,
      ...(facts !== undefined && {
        user: this.#hash(facts.user),
        bundle_id: facts.bundleId,
        state: facts.state.status,
        ...(facts.state.ageSeconds !== null && { state_age_seconds: facts.state.ageSeconds }),
        ...(facts.degraded !== undefined && { degraded: facts.degraded.mode }),
        plan: facts.plan,
        items: facts.items,
      }),
    });
  }

  /** Opens the file again, for log rotation that renames the old one. */
  reopen(): void {
    this.#destination.reopen();
  }

  /** Safe to call twice: a failed start closes it after its event loop did. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#destination.flushSync();
    this.#destination.end();
  }

  #hash(user: string): string {
    return createHmac('sha256', this.#salt).update(user).digest('hex').slice(0, HASH_CHARACTERS);
  }
}
