// Measures the time of each stage of a micro-batch.

import type { ServerMetrics, Stage } from './metrics.ts';

/** A stopwatch. Each lap is a stage, which it also records in the metrics. */
export class StageClock {
  readonly startedMs: number = performance.now();
  readonly #metrics: ServerMetrics;
  #lapMs: number = this.startedMs;

  constructor(metrics: ServerMetrics) {
    this.#metrics = metrics;
  }

  /** Returns the milliseconds since the last lap. */
  sinceLapMs(): number {
    return performance.now() - this.#lapMs;
  }

  /** Ends a stage and returns its milliseconds. */
  lap(stage: Stage): number {
    const elapsedMs = this.sinceLapMs();
    this.#lapMs += elapsedMs;
    this.#metrics.observeStage(stage, elapsedMs / 1000);
    return elapsedMs;
  }
}
