// A circuit breaker: after several failures in a row, calls fail at once, and one call per retry
// period tests whether the other side has recovered. So an outage costs one request the timeout,
// not every request. Ours and not a library's for two reasons: calls that were under way together
// count as one failure (see #fail), which opossum and cockatiel do not offer, and their current
// versions need Node 22. @see Nygard, Release It!, 2nd ed., 2018, chapter 5

export interface CircuitBreakerOptions {
  /** Number of failures in a row that opens the circuit. */
  readonly failures: number;
  /** While the circuit is open, one call in so many milliseconds goes through. */
  readonly retryMs: number;
  /** Whether an error means that the other side is down; any other error is an answer of it. */
  readonly isFailure: (error: unknown) => boolean;
  /** Milliseconds of a monotonic clock. Default performance.now(). */
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
   * Calls `call`, or `refuse` while the circuit is open.
   *
   * @returns what `call` resolves to.
   */
  async run<T>(call: () => Promise<T>, refuse: () => never): Promise<T> {
    const startedMs = this.#nowMs();
    if (this.#failures >= this.#limit) {
      if (startedMs < this.#retryAtMs) refuse();
      this.#retryAtMs = startedMs + this.#retryMs;
    }
    try {
      const answer = await call();
      this.#failures = 0;
      return answer;
    } catch (error) {
      if (this.#isFailure(error)) this.#fail(startedMs);
      throw error;
    }
  }

  /**
   * Counts a failure, unless the call began before the last counted failure. Calls under way
   * together fail together: counted one by one, a single pause of 20 ms would open the circuit.
   */
  #fail(startedMs: number): void {
    if (startedMs < this.#failedMs) return;
    this.#failedMs = this.#nowMs();
    this.#failures++;
    if (this.#failures === this.#limit) this.#retryAtMs = this.#failedMs + this.#retryMs;
  }
}
