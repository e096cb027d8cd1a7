// A rate limit that allows bursts: tokens flow into a bucket at the rate, up to the burst, and
// requests take them out. The event loops of a server share one bucket, which is a single number in
// shared memory.

const NANOSECONDS_PER_MS = 1e6;
const NANOSECONDS_PER_SECOND = 1e9;

/**
 * The tokens of one client. As in the generic cell rate algorithm, the state is the time at which
 * the bucket will be full again.
 *
 * A call that costs more than the burst, such as a large batch, needs a full bucket and leaves a
 * debt. So it is possible at all, and the rate holds in the long run.
 *
 * @see ITU-T I.371, Annex A.
 */
export class TokenBucket {
  /** The state, which all event loops share. */
  readonly memory: SharedArrayBuffer;
  readonly #ratePerSecond: number;
  readonly #burst: number;
  /** [1] When the bucket will be full, in nanoseconds of the callers' clock. */
  readonly #fullAt: BigInt64Array;

  /** @param memory - of this bucket on another event loop. The default is a new, full bucket. */
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

  /** Returns the seconds until `cost` tokens may be spent; 0 means now. */
  waitSeconds(cost: number, nowMs: number): number {
    const missing = this.#missing(Atomics.load(this.#fullAt, 0), nowMs);
    return Math.max(0, (Math.min(cost, this.#burst) - this.#burst + missing) / this.#ratePerSecond);
  }

  /**
   * Takes `cost` tokens. Call it when waitSeconds() returns 0 for the same cost. Two event loops
   * that ask at the same time may both get 0 for the same tokens.
   */
  spend(cost: number, nowMs: number): void {
    const nowNs = BigInt(Math.round(nowMs * NANOSECONDS_PER_MS));
    const costNs = BigInt(Math.round((cost / this.#ratePerSecond) * NANOSECONDS_PER_SECOND));
    for (;;) {
      const seen = Atomics.load(this.#fullAt, 0);
      const next = (seen > nowNs ? seen : nowNs) + costNs;
      if (Atomics.compareExchange(this.#fullAt, 0, seen, next) === seen) return;
    }
  }

  /** Returns how many tokens the bucket lacks until it is full. */
  #missing(fullAt: bigint, nowMs: number): number {
    const waitNs = Number(fullAt) - nowMs * NANOSECONDS_PER_MS;
    return Math.max(0, (waitNs / NANOSECONDS_PER_SECOND) * this.#ratePerSecond);
  }
}
