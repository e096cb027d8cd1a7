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
  /** Let in together while nobody waits, however slow the server. */
  readonly burst: number;
}

/** A burst that is gone within this time is no overload: of an interval, only the best micro-batch counts. */
const INTERVAL_MS = 50;
/** While nobody waits, so much work may come at once; in full it has waited for less than an interval when the limit looks at it. */
const BURST_MS = 25;
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
 * limit' = limit x clamp(tolerated / measured, 1/2, 1) + sqrt(limit), once an interval, while at least half of the limit is used. While it
 * is not, it says nothing about itself, and goes to what a burst may be: so an overload that begins finds no longer queue than that,
 * and one that is over is forgotten.
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
    if (this.#mostOpen * 2 >= this.#limit) this.#adjust(1 / this.#leastLoad);
    else this.#limit = this.#bounded(Math.min(this.#limit + Math.sqrt(this.#limit), this.#burst()));
    this.#intervalStartMs = nowMs;
    this.#leastLoad = Infinity;
    this.#mostOpen = 0;
  }

  #adjust(gradient: number): void {
    const share = Math.min(1, Math.max(STEEPEST, gradient));
    this.#limit = this.#bounded(this.#limit * share + Math.sqrt(this.#limit));
  }

  #bounded(limit: number): number {
    return Math.min(this.#bounds.max, Math.max(this.#bounds.min, limit));
  }

  /** Requests that are BURST_MS of work at the best rate seen; at least the bound. */
  #burst(): number {
    let rate = 0;
    for (let size = 0; size < SIZE_CLASSES; size++)
      rate = Math.max(rate, smallestOf(size) / this.#floorAt(size));
    return Math.max(this.#bounds.burst, BURST_MS * rate);
  }

  /** Infinity for a size that was not seen. */
  #floorAt(size: number): number {
    return Math.min(this.#floorsMs[size]!, this.#olderFloorsMs[size]!);
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
    let least = 0;
    while (this.#floorAt(least) === Infinity) least++;
    // Requests a second with the one size, over those with the other.
    const gain = (requests / 2 ** least) * (this.#floorAt(least) / this.#floorAt(size));
    return Math.min(this.#floorAt(size), gain * this.#floorAt(least));
  }
}

/** Of the micro-batches of a class, the last of which has 2^size requests. */
function smallestOf(size: number): number {
  return size === 0 ? 1 : 2 ** (size - 1) + 1;
}
