// The time of each stage of a micro-batch.

import type { ServerMetrics, Stage } from './metrics.ts';

/** Laps of a stopwatch that are also metrics. */
export class StageClock {
  readonly startedMs: number = performance.now();
  readonly #metrics: ServerMetrics;
  #lapMs: number = this.startedMs;

  constructor(metrics: ServerMetrics) {
    this.#metrics = metrics;
  }

  sinceLapMs(): number {
    return performance.now() - this.#lapMs;
  }

  lap(stage: Stage): number {
    const elapsedMs = this.sinceLapMs();
    this.#lapMs += elapsedMs;
    this.#metrics.observeStage(stage, elapsedMs / 1000);
    return elapsedMs;
  }
}
