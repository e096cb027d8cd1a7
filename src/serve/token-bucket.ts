// A rate that may be exceeded for a moment: tokens come in at the rate up to a burst, and requests take them out.

/**
 * Tokens of one client.
 *
 * What costs more than the burst (a large batch) needs a full bucket and leaves a debt, so that it is possible at all and the
 * rate holds in the long run.
 */
export class TokenBucket {
  readonly #ratePerSecond: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number;

  constructor(ratePerSecond: number, burst: number, nowMs: number) {
    this.#ratePerSecond = ratePerSecond;
    this.#burst = burst;
    this.#tokens = burst;
    this.#atMs = nowMs;
  }

  /** Seconds until `cost` may be spent; 0 = now. */
  waitSeconds(cost: number, nowMs: number): number {
    this.#refill(nowMs);
    return Math.max(0, (Math.min(cost, this.#burst) - this.#tokens) / this.#ratePerSecond);
  }

  /** Call when waitSeconds() of the same cost is 0. */
  spend(cost: number, nowMs: number): void {
    this.#refill(nowMs);
    this.#tokens -= cost;
  }

  #refill(nowMs: number): void {
    const earned = ((nowMs - this.#atMs) / 1000) * this.#ratePerSecond;
    this.#tokens = Math.min(this.#burst, this.#tokens + earned);
    this.#atMs = nowMs;
  }
}
