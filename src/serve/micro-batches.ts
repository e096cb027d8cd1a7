// Collects requests into micro-batches and decides when each of them starts. There is no timer: a
// micro-batch is what has arrived by the next iteration of the event loop, or while the micro-batch
// before it was searched. What a micro-batch does is in pipeline.ts.

import { SerialQueue } from '../serial-queue.ts';
import type { Admission } from './admission/admission.ts';
import type { Pending } from './answer/pending.ts';
import type { TurnScheduler } from './scheduler.ts';

export class MicroBatches {
  readonly #admission: Admission;
  readonly #turns: TurnScheduler;
  readonly #maxMicroBatch: number;
  readonly #run: (batch: readonly Pending[]) => Promise<void>;
  readonly #queue: Pending[] = [];
  #scheduled = false;
  readonly #searches = new SerialQueue();
  /** Micro-batches that search or wait for the search before theirs. */
  #searching = 0;

  /** @param run - answers every request of a micro-batch; its promise never rejects. */
  constructor(
    admission: Admission,
    turns: TurnScheduler,
    maxMicroBatch: number,
    run: (batch: readonly Pending[]) => Promise<void>,
  ) {
    this.#admission = admission;
    this.#turns = turns;
    this.#maxMicroBatch = maxMicroBatch;
    this.#run = run;
  }

  /** Queues a request for the next micro-batch. */
  add(pending: Pending): void {
    this.#queue.push(pending);
    this.#admission.enter();
    this.#schedule();
  }

  /**
   * Runs the search of a micro-batch. Searches run one at a time, because several at once would
   * each take longer. No micro-batch starts during a search, so that the requests that arrive
   * meanwhile become one.
   */
  async search<Hits>(search: () => Promise<Hits>): Promise<Hits> {
    this.#searching++;
    try {
      return await this.#searches.run(search);
    } finally {
      this.#searching--;
      this.#schedule();
    }
  }

  /**
   * Starts a micro-batch after every socket that is readable in this iteration of the event loop
   * was read.
   */
  #schedule(): void {
    if (this.#scheduled || this.#queue.length === 0) return;
    this.#scheduled = true;
    this.#turns.schedule(() => {
      this.#scheduled = false;
      this.#start();
    });
  }

  #start(): void {
    if (this.#searching > 0) return;
    this.#dropExpired();
    const batch = this.#queue.splice(0, this.#maxMicroBatch);
    this.#schedule();
    if (batch.length === 0) return;
    this.#admission.begin(batch.length);
    void this.#run(batch).finally(() => {
      this.#admission.leave(batch.length);
    });
  }

  /**
   * Rejects requests at the head of the queue whose deadline has passed, until a whole micro-batch
   * is live.
   */
  #dropExpired(): void {
    const nowMs = performance.now();
    const live: Pending[] = [];
    let seen = 0;
    for (; seen < this.#queue.length && live.length < this.#maxMicroBatch; seen++) {
      const pending = this.#queue[seen]!;
      if (pending.deadlineMs > nowMs) live.push(pending);
      else pending.reject(this.#admission.expire());
    }
    if (live.length === seen) return;
    this.#queue.splice(0, seen, ...live);
  }
}
