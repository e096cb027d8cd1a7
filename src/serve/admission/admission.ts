// Who is let in: draining, the limit of open requests that follows the measured latency, the queue, the client's rate. What is refused here
// has cost nothing yet.

import { TandemError } from '../../errors.ts';
import type { Client } from './api-keys.ts';
import { ConcurrencyLimit } from './concurrency-limit.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';

export interface AdmissionOptions {
  readonly maxMicroBatch: number;
  /** Requests that may wait before new ones are refused, whatever the measured limit says. */
  readonly maxQueue: number;
}

/** A micro-batch that has been answered. */
export interface AnsweredBatch {
  readonly requests: number;
  /** How long its oldest request waited. */
  readonly waitMs: number;
  /** performance.now() at which it had its states. */
  readonly hydratedMs: number;
}

/** The limit starts at as many full micro-batches, and never falls below as large a share of one. */
const LIMIT_START_BATCHES = 4;
const LIMIT_FLOOR_BATCHES = 1 / 16;
/** So much of one may come at once to a server that has nothing to do. */
const BURST_BATCHES = 1 / 2;

export class Admission {
  readonly #metrics: ServerMetrics;
  readonly #maxQueue: number;
  readonly #limit: ConcurrencyLimit;
  #open = 0;
  #waiting = 0;
  #draining = false;
  /** By the limit, since a micro-batch was answered. */
  #refused = 0;
  /** Made when the limit changes. */
  #overloaded: { readonly limit: number; readonly error: TandemError } | undefined;

  constructor(metrics: ServerMetrics, { maxMicroBatch, maxQueue: max }: AdmissionOptions) {
    this.#metrics = metrics;
    this.#maxQueue = max;
    this.#limit = new ConcurrencyLimit({
      min: Math.min(max, Math.ceil(LIMIT_FLOOR_BATCHES * maxMicroBatch)),
      max,
      start: Math.min(max, LIMIT_START_BATCHES * maxMicroBatch),
      batch: maxMicroBatch,
      burst: Math.ceil(BURST_BATCHES * maxMicroBatch),
    });
  }

  /** Requests let in and not answered yet. */
  get open(): number {
    return this.#open;
  }

  /** Requests that may be open; follows the measured latency. */
  get limit(): number {
    return this.#limit.limit;
  }

  /** Refuses new requests from now on. */
  drain(): void {
    this.#draining = true;
  }

  /**
   * Lets requests in, and counts them against the client's rate.
   *
   * @throws TandemError as refuse() does.
   */
  admit(requests: number, client: Client): void {
    this.refuse(requests, client);
    client.spend(requests);
  }

  /**
   * Refuses what admit() would refuse, before any work is done: also before a body is parsed.
   *
   * The limit counts what is open before these requests, so that one batch may be larger than the limit.
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
        `Expected at most ${this.#maxQueue} waiting requests (setting maxQueue). Try again later or add a server.`,
      ]);
    const waitSeconds = client.waitSeconds(requests);
    if (waitSeconds > 0) {
      const retryAfterSeconds = Math.ceil(waitSeconds);
      throw this.#shed(requests, 'rate_limited', [
        'ERR_RATE_LIMITED',
        `Expected no more requests than the rate of this API key. Try again in ${retryAfterSeconds} s.`,
        { details: { retryAfterSeconds } },
      ]);
    }
  }

  /**
   * What everybody is told while the limit is reached, and counted as told; undefined while somebody is let in, and on a server that
   * stops, which closes connections with its answers: it must have read what it answers, or the client sees a reset instead.
   *
   * Whoever sends more than the server can answer is told so hundreds of times between two answers: so it costs no client to
   * be known and no new error.
   */
  refuseAll(requests: number): TandemError | undefined {
    const { limit } = this.#limit;
    if (this.#draining || this.#open < limit) return undefined;
    this.#refused += requests;
    if (this.#overloaded?.limit !== limit)
      this.#overloaded = { limit, error: overloadedError(limit) };
    return this.#counted(this.#overloaded.error, requests, 'overload');
  }

  /** A request begins to wait for its turn. */
  enter(): void {
    this.#open += 1;
    this.#waiting += 1;
  }

  /** Those of a micro-batch wait no longer. */
  begin(requests: number): void {
    this.#waiting -= requests;
  }

  /** They have their answers. */
  leave(requests: number): void {
    this.#open -= requests;
  }

  /** A request's deadline has passed while it waited. @returns what it is told. */
  expire(): TandemError {
    this.begin(1);
    this.leave(1);
    return this.#shed(1, 'deadline', [
      'ERR_DEADLINE_EXCEEDED',
      'Expected to answer within the time the request gave, but it was over before its turn came. Ask with more time, or add a server.',
    ]);
  }

  /** What the limit follows. */
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
    `Expected at most ${limit} open requests, which this server answers without a queue. Try again later or add a server.`,
  );
}
