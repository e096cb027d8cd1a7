// TurnScheduler of an event loop, given out one by one: between two, sockets that have become readable are read. So what is done in pieces,
// whatever the pieces are of, keeps nobody waiting for longer than the longest of them.

export class TurnScheduler {
  readonly #waiting: (() => void)[] = [];
  readonly #give = (): void => {
    const take = this.#waiting.shift()!;
    if (this.#waiting.length > 0) setImmediate(this.#give);
    take();
  };

  /** @param take - called after the sockets that are readable now, in a turn that nobody else gets; first come, first served. */
  ask(take: () => void): void {
    if (this.#waiting.push(take) === 1) setImmediate(this.#give);
  }

  next(): Promise<void> {
    return new Promise((resolve) => {
      this.ask(resolve);
    });
  }
}
