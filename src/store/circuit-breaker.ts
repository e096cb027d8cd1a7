// A circuit breaker: what fails again and again is left alone, and asked once in a while whether it is well again, so that an
// outage costs one request its patience instead of every one. @see Nygard, Release It!, 2nd ed., 2018, chapter 5

export interface CircuitBreakerOptions {
  /** Failures in a row that open the circuit. */
  readonly failures: number;
  /** While it is open, one call in so many milliseconds is let through. */
  readonly retryMs: number;
  /** Whether an error says that the other side is not well; others are answers of it. */
  readonly isFailure: (error: unknown) => boolean;
  /** @returns milliseconds of a clock that never goes back. */
  readonly nowMs?: () => number;
}

export class CircuitBreaker {
  readonly #limit: number;
  readonly #retryMs: number;
  readonly #isFailure: (error: unknown) => boolean;
  readonly #nowMs: () => number;
  #failures = 0;
  #failedMs = Number.NEGATIVE_INFINITY;
  #retryAtMs = 0;

  constructor(options: CircuitBreakerOptions) {
    this.#limit = options.failures;
    this.#retryMs = options.retryMs;
    this.#isFailure = options.isFailure;
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
  }

  /**
   * Calls `ask`, or `refuse` instead while the circuit is open.
   *
   * @returns what `ask` returns.
   */
  async run<T>(ask: () => Promise<T>, refuse: () => never): Promise<T> {
    const askedMs = this.#nowMs();
    if (this.#failures >= this.#limit) {
      if (askedMs < this.#retryAtMs) refuse();
      this.#retryAtMs = askedMs + this.#retryMs;
    }
    try {
      const answer = await ask();
      this.#failures = 0;
      return answer;
    } catch (error) {
      if (this.#isFailure(error)) this.#fail(askedMs);
      throw error;
    }
  }

  /** Calls that were under way together fail together: they count once, or one pause of 20 ms would open the circuit. */
  #fail(askedMs: number): void {
    if (askedMs < this.#failedMs) return;
    this.#failedMs = this.#nowMs();
    this.#failures++;
    if (this.#failures === this.#limit) this.#retryAtMs = this.#failedMs + this.#retryMs;
  }
}
