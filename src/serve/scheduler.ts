// Runs callbacks one by one, each in its own iteration of the event loop. Between two callbacks the
// loop reads the sockets that have become readable. So work that is done in pieces delays no
// request for longer than its longest piece.

export class TurnScheduler {
  readonly #waiting: (() => void)[] = [];
  readonly #runNext = (): void => {
    const callback = this.#waiting.shift()!;
    if (this.#waiting.length > 0) setImmediate(this.#runNext);
    callback();
  };

  /**
   * Calls `callback` after the sockets that are readable now were read, in an iteration in which no
   * other callback of this scheduler runs. Callbacks run in the order in which they were scheduled.
   */
  schedule(callback: () => void): void {
    if (this.#waiting.push(callback) === 1) setImmediate(this.#runNext);
  }

  /** Resolves in an iteration of the event loop as schedule() gives it to a callback. */
  nextTurn(): Promise<void> {
    return new Promise((resolve) => {
      this.schedule(resolve);
    });
  }
}
