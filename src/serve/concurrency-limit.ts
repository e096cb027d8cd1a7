// How many requests may be open at once, from how long micro-batches take; the pipeline asks at its door.
// The rule is Gradient2's of Netflix's concurrency-limits; it reads the minimum of an interval, as CoDel does.

/** What one micro-batch tells the limit. */
export interface BatchSample {
  readonly requests: number;
  /** From queued to started, of the request that waited longest. */
  readonly waitMs: number;
  /** From having its states to answered. */
  readonly runMs: number;
  /** Requests open when it ended, itself included. */
  readonly open: number;
}

export interface LimitBounds {
  readonly min: number;
  readonly max: number;
  readonly start: number;
}

/** A burst that is gone within this time is no overload: of an interval, only the best micro-batch counts. */
const INTERVAL_MS = 100;
/** Latency up to this multiple of the floor is left alone. Waiting for one micro-batch of one's own size is 2. */
const TOLERANCE = 2;
/** Nor does latency below CoDel's target count: on a fast server it is a garbage collection, not a queue. */
const TARGET_MS = 5;
/** The limit loses at most half in an interval. */
const STEEPEST = 0.5;
/** A floor is the minimum of this time to twice this time in which its size was seen: then a new bundle's or a slower machine's holds. */
const FLOOR_WINDOW_MS = 30_000;
const SIZE_CLASSES = 12;
/** No run is shorter, whatever the clock says. */
const CLOCK_TICK_MS = 1e-3;

/**
 * limit' = limit x clamp(tolerated / measured, 1/2, 1) + sqrt(limit), once an interval, while at least half of the limit is used.
 *
 * The unloaded minimum is kept apart by size of the micro-batch (in powers of two), since one of 64 may take longer than one
 * of 1 without any queue. How much longer it may is what answering together gains: where 64 take as long as 64 times one, a
 * large micro-batch is a queue under another name. It is a minimum of run times, which a queue does not lengthen: so a
 * server that is overloaded for hours does not forget its floor, and none has to be probed for by holding requests back.
 *
 * @see https://github.com/Netflix/concurrency-limits (Gradient2Limit), and Nichols and Jacobson, Controlling Queue Delay
 *   (CoDel), ACM Queue 2012.
 */
export class ConcurrencyLimit {
  readonly #bounds: LimitBounds;
  readonly #floorsMs = new Float64Array(SIZE_CLASSES).fill(Infinity);
  readonly #olderFloorsMs = new Float64Array(SIZE_CLASSES).fill(Infinity);
  #limit: number;
  #floorsSinceMs = 0;
  #intervalStartMs = 0;
  /** Of the interval: least latency as a multiple of what is tolerated, and most requests open. */
  #leastLoad = Infinity;
  #mostOpen = 0;

  constructor(bounds: LimitBounds) {
    this.#bounds = bounds;
    this.#limit = bounds.start;
  }

  /** Requests that may be open. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  /** @param nowMs - when the micro-batch ended, on a clock that never goes back. */
  observe({ requests, waitMs, runMs, open }: BatchSample, nowMs: number): void {
    const toleratedMs = Math.max(TARGET_MS, TOLERANCE * this.#floorOf(requests, runMs, nowMs));
    this.#leastLoad = Math.min(this.#leastLoad, (waitMs + runMs) / toleratedMs);
    this.#mostOpen = Math.max(this.#mostOpen, open);
    if (nowMs - this.#intervalStartMs < INTERVAL_MS) return;
    // A limit that nobody reaches says nothing about itself.
    if (this.#mostOpen * 2 >= this.#limit) this.#adjust(1 / this.#leastLoad);
    this.#intervalStartMs = nowMs;
    this.#leastLoad = Infinity;
    this.#mostOpen = 0;
  }

  #adjust(gradient: number): void {
    const { min, max } = this.#bounds;
    const next = this.#limit * Math.min(1, Math.max(STEEPEST, gradient)) + Math.sqrt(this.#limit);
    this.#limit = Math.min(max, Math.max(min, next));
  }

  #floorOf(requests: number, runMs: number, nowMs: number): number {
    if (nowMs - this.#floorsSinceMs >= FLOOR_WINDOW_MS) {
      // What was not seen stays known: under a long overload no micro-batch is small.
      for (const [size, floorMs] of this.#floorsMs.entries())
        if (floorMs !== Infinity) this.#olderFloorsMs[size] = floorMs;
      this.#floorsMs.fill(Infinity);
      this.#floorsSinceMs = nowMs;
    }
    const size = Math.min(SIZE_CLASSES - 1, 32 - Math.clz32(requests - 1));
    this.#floorsMs[size] = Math.min(this.#floorsMs[size]!, Math.max(CLOCK_TICK_MS, runMs));
    const floorAt = (at: number): number => Math.min(this.#floorsMs[at]!, this.#olderFloorsMs[at]!);
    let least = 0;
    while (floorAt(least) === Infinity) least++;
    // Requests a second with the one size, over those with the other.
    const gain = (requests / 2 ** least) * (floorAt(least) / floorAt(size));
    return Math.min(floorAt(size), gain * floorAt(least));
  }
}
