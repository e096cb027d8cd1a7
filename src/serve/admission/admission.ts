// Which requests are admitted. The checks are: draining, the limit of open requests, the queue, and
// the client's rate. A request that is refused here has cost next to nothing.

import { TandemError } from '../../errors.ts';
import type { Client } from './api-keys.ts';
import { ConcurrencyLimit } from './concurrency-limit.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';

export interface AdmissionOptions {
  readonly maxMicroBatch: number;
  /** When so many requests wait, new ones are refused, whatever the limit of open requests is. */
  readonly maxQueue: number;
}

/** The times of a micro-batch that has been answered. */
export interface AnsweredBatch {
  readonly requests: number;
  /** How long its oldest request waited in the queue. */
  readonly waitMs: number;
  /** performance.now() when its states had been read. */
  readonly hydratedMs: number;
}

/** Bounds of the limit of open requests, in full micro-batches. */
const LIMIT_START_BATCHES = 4;
const LIMIT_MIN_BATCHES = 1 / 16;
/** The burst that an idle server always admits, in full micro-batches. */
const BURST_BATCHES = 1 / 2;

export class Admission {
  readonly #metrics: ServerMetrics;
  readonly #maxQueue: number;
  readonly #limit: ConcurrencyLimit;
  #open = 0;
  #waiting = 0;
  #draining = false;
  /** Requests refused because of the limit since the last micro-batch was answered. */
  #refused = 0;
  /** The error for the current limit. It is made once for each value of the limit. */
  #overloaded: { readonly limit: number; readonly error: TandemError } | undefined;

  constructor(metrics: ServerMetrics, { maxMicroBatch, maxQueue: max }: AdmissionOptions) {
    this.#metrics = metrics;
    this.#maxQueue = max;
    this.#limit = new ConcurrencyLimit({
      min: Math.min(max, Math.ceil(LIMIT_MIN_BATCHES * maxMicroBatch)),
      max,
      start: Math.min(max, LIMIT_START_BATCHES * maxMicroBatch),
      batch: maxMicroBatch,
      burst: Math.ceil(BURST_BATCHES * maxMicroBatch),
    });
  }

  /** How many requests are admitted and have no answer yet. */
  get open(): number {
    return this.#open;
  }

  /** How many requests may be open. It follows the measured latency. */
  get limit(): number {
    return this.#limit.limit;
  }

  /** Refuses new requests from now on. */
  drain(): void {
    this.#draining = true;
  }

  /**
   * Admits requests and counts them against the client's rate.
   *
   * @throws TandemError as refuse() does.
   */
  admit(requests: number, client: Client): void {
    this.refuse(requests, client);
    client.spend(requests);
  }

  /**
   * Throws if admit() would throw. Call it before any work, for example before a body is parsed.
   *
   * The limit is compared with the requests that are open before these. Therefore one batch may be
   * larger than the limit.
   *
   * @throws TandemError ERR_DRAINING, ERR_OVERLOADED, ERR_RATE_LIMITED.
   */
  refuse(requests: number, client: Client): void {
    if (this.#draining)
      throw this.#shed(requests, 'draining', [
        'ERR_DRAINING',
        'Expected a serving process, but this one is stopping. Ask another.',
      ]);
    const overloaded = this.refuseAll(requests);
    if (overloaded !== undefined) throw overloaded;
    if (this.#waiting + requests > this.#maxQueue)
      throw this.#shed(requests, 'queue_full', [
        'ERR_OVERLOADED',
        `Expected at most ${this.#maxQueue} waiting requests (setting maxQueue). ` +
          'Try again later or add a server.',
      ]);
    const waitSeconds = client.waitSeconds(requests);
    if (waitSeconds > 0) {
      const retryAfterSeconds = Math.ceil(waitSeconds);
      throw this.#shed(requests, 'rate_limited', [
        'ERR_RATE_LIMITED',
        'Expected no more requests than the rate of this API key allows. ' +
          `Try again in ${retryAfterSeconds} s.`,
        { details: { retryAfterSeconds } },
      ]);
    }
  }

  /**
   * Refuses requests while the limit is reached, whoever sent them, and counts them as refused.
   *
   * Under overload the server refuses hundreds of requests between two answers. Therefore the
   * client need not be known, and the same error object is returned until the limit changes.
   *
   * A draining server refuses nothing here. It closes the connection after each answer, so it must
   * have read the whole request before; otherwise the client sees a connection reset.
   *
   * @returns the error, or undefined when the requests may be admitted.
   */
  refuseAll(requests: number): TandemError | undefined {
    const { limit } = this.#limit;
    if (this.#draining || this.#open < limit) return undefined;
    this.#refused += requests;
    if (this.#overloaded?.limit !== limit)
      this.#overloaded = { limit, error: overloadedError(limit) };
    return this.#counted(this.#overloaded.error, requests, 'overload');
  }

  /** Counts a request that enters the queue. */
  enter(): void {
    this.#open += 1;
    this.#waiting += 1;
  }

  /** Counts requests that leave the queue for a micro-batch. */
  begin(requests: number): void {
    this.#waiting -= requests;
  }

  /** Counts requests that have been answered. */
  leave(requests: number): void {
    this.#open -= requests;
  }

  /**
   * Counts a request whose deadline passed while it was in the queue.
   *
   * @returns the error for it.
   */
  expire(): TandemError {
    this.begin(1);
    this.leave(1);
    return this.#shed(1, 'deadline', [
      'ERR_DEADLINE_EXCEEDED',
      'Expected to answer within the timeout of the request, but the timeout passed while the ' +
        'request waited. Ask with a longer timeout, or add a server.',
    ]);
  }

  /** Adjusts the limit to the measured latency. */
  observe({ requests, waitMs, hydratedMs }: AnsweredBatch): void {
    const nowMs = performance.now();
    const open = this.#open;
    const refused = this.#refused;
    this.#limit.observe({ requests, waitMs, runMs: nowMs - hydratedMs, open, refused }, nowMs);
    this.#refused = 0;
  }

  #shed(
    requests: number,
    reason: string,
    error: ConstructorParameters<typeof TandemError>,
  ): TandemError {
    return this.#counted(new TandemError(...error), requests, reason);
  }

  #counted(error: TandemError, requests: number, reason: string): TandemError {
    this.#metrics.shed.inc(reason, requests);
    return error;
  }
}

function overloadedError(limit: number): TandemError {
  return new TandemError(
    'ERR_OVERLOADED',
    `Expected at most ${limit} open requests, which this server answers without a queue. ` +
      'Try again later or add a server.',
  );
}
