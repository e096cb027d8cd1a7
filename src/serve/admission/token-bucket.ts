// A rate that may be exceeded for a moment: tokens come in at the rate up to a burst, and requests take them out. All event
// loops of a server take from one bucket, which is a single number in shared memory.

const NANOSECONDS = 1e6;

/**
 * Tokens of one client, as the generic cell rate algorithm keeps them: the time at which the bucket will be full again.
 *
 * What costs more than the burst (a large batch) needs a full bucket and leaves a debt, so that it is possible at all and the
 * rate holds in the long run.
 *
 * @see ITU-T I.371, Annex A.
 */
export class TokenBucket {
  /** Shared by all who take from this bucket. */
  readonly memory: SharedArrayBuffer;
  readonly #ratePerSecond: number;
  readonly #burst: number;
  /** [1] nanoseconds of the clock that callers tell the time by. */
  readonly #fullAt: BigInt64Array;

  /** @param memory - of the same bucket on another event loop; without it the bucket is a new one, and full. */
  constructor(
    ratePerSecond: number,
    burst: number,
    memory: SharedArrayBuffer = new SharedArrayBuffer(8),
  ) {
    this.#ratePerSecond = ratePerSecond;
    this.#burst = burst;
    this.memory = memory;
    this.#fullAt = new BigInt64Array(memory);
  }

  /** Seconds until `cost` may be spent; 0 = now. */
  waitSeconds(cost: number, nowMs: number): number {
    const missing = this.#missing(Atomics.load(this.#fullAt, 0), nowMs);
    return Math.max(0, (Math.min(cost, this.#burst) - this.#burst + missing) / this.#ratePerSecond);
  }

  /** Call when waitSeconds() of the same cost is 0; loops that ask at the same time may both have been told so. */
  spend(cost: number, nowMs: number): void {
    const nowNs = BigInt(Math.round(nowMs * NANOSECONDS));
    const costNs = BigInt(Math.round((cost / this.#ratePerSecond) * 1e9));
    for (;;) {
      const seen = Atomics.load(this.#fullAt, 0);
      const next = (seen > nowNs ? seen : nowNs) + costNs;
      if (Atomics.compareExchange(this.#fullAt, 0, seen, next) === seen) return;
    }
  }

  /** Tokens that a full bucket would have more. */
  #missing(fullAt: bigint, nowMs: number): number {
    const waitNs = Number(fullAt) - nowMs * NANOSECONDS;
    return Math.max(0, (waitNs / 1e9) * this.#ratePerSecond);
  }
}
