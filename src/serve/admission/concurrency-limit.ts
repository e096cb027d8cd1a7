// How many requests may be open at once, derived from the measured latency of micro-batches.
// The rule is that of Gradient2Limit in Netflix's concurrency-limits. Like CoDel, it uses the
// minimum latency of an interval.

/** The measurements of one micro-batch. */
export interface BatchSample {
  readonly requests: number;
  /** From queued to started, for the request that waited longest. */
  readonly waitMs: number;
  /** From states read to answered. */
  readonly runMs: number;
  /** Open requests when the micro-batch ended, including its own. */
  readonly open: number;
  /** Requests refused because of the limit since the micro-batch before ended. */
  readonly refused: number;
}

/** All bounds count requests. */
export interface LimitBounds {
  readonly min: number;
  readonly max: number;
  readonly start: number;
  /** The largest micro-batch. */
  readonly batch: number;
  /** So many are admitted together while the server is idle, however slow it is. */
  readonly burst: number;
}

/** Only the best micro-batch of an interval counts: a burst that ends sooner is no overload. */
const INTERVAL_MS = 100;
/**
 * While the limit is not used, it allows a burst of this much work. A full burst has then waited
 * for less than an interval when the limit is next adjusted.
 */
const BURST_MS = INTERVAL_MS / 2;
/**
 * Latency up to this multiple of the baseline latency is tolerated. A request that waits for one
 * micro-batch of the size of its own has twice the baseline latency.
 */
const TOLERANCE = 2;
/** CoDel's target. Latency below it is tolerated: on a fast server it is garbage collection. */
const TARGET_MS = 5;
/** The limit shrinks at most by this factor in an interval. */
const MIN_FACTOR = 0.5;
/**
 * From this share of refused requests on, the server is overloaded: a longer queue makes everybody
 * wait longer, and no more requests are answered.
 */
const OVERLOADED_SHARE = 0.25;
/**
 * A micro-batch is large enough when its throughput is at least this share of the best throughput
 * of any size seen. If part of the cost is fixed, and a size four times as large was seen, this
 * gives 0.9 of the throughput that no size exceeds.
 */
const ENOUGH_SHARE = 0.93;
/** The same when only a size twice as large was seen. */
const ENOUGH_SHARE_OF_DOUBLE = 0.95;
/**
 * A baseline latency is the minimum over the last one to two windows in which its size was seen. A
 * larger bundle or a slower machine therefore becomes the new baseline.
 */
const BASELINE_WINDOW_MS = 30_000;
/** Class s holds micro-batches of more than 2^(s-1) and at most 2^s requests. */
const SIZE_CLASSES = 12;
/** Measured times are at least this, so that no cost is 0. */
const CLOCK_TICK_MS = 1e-3;

/**
 * The limit on open requests. It is adjusted once per interval, in one of three ways:
 *
 * - Less than half of the limit is used. Then latency says nothing about the limit, which moves to
 *   the size of an acceptable burst. An overload that begins afterwards finds no longer queue than
 *   that, and an overload that has ended is forgotten.
 * - At least half of it is used:
 *   limit' = limit x clamp(tolerated latency / measured latency, 1/2, 1) + sqrt(limit).
 * - Many requests are refused: the same, but at most what keeps micro-batches large enough,
 *   limit x (size that is large enough / measured size). This holds whether requests wait while
 *   others run, wait for a store, or all run together.
 *
 * The baseline latency is the minimum time that a micro-batch runs. It is kept by size, in powers
 * of two, because a micro-batch of 64 may run longer than one of 1 although nothing queues. It may
 * run longer only by what answering together gains: if 64 requests take as long as 64 times one, a
 * large micro-batch is just another queue. A queue does not lengthen run times. Therefore a server
 * that is overloaded for hours keeps its baseline, and it never has to hold requests back to
 * measure the baseline.
 *
 * @see https://github.com/Netflix/concurrency-limits (Gradient2Limit), and Nichols and Jacobson,
 *   Controlling Queue Delay (CoDel), ACM Queue 2012.
 */
export class ConcurrencyLimit {
  readonly #bounds: LimitBounds;
  /** Run time of a micro-batch, by size. */
  readonly #runsMs = new LatencyBaselines();
  /** Run time divided by the requests in the micro-batch, by size. */
  readonly #costsMs = new LatencyBaselines();
  /** Most requests in a micro-batch of each size class. */
  readonly #largest = new Float64Array(SIZE_CLASSES);
  /** Whether micro-batches larger than those seen may be tried. */
  #mayTryLarger = true;
  #limit: number;
  #windowStartMs = 0;
  #intervalStartMs = 0;
  #seen = newInterval();

  constructor(bounds: LimitBounds) {
    this.#bounds = bounds;
    this.#limit = bounds.start;
  }

  /** How many requests may be open. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  /** @param nowMs - when the micro-batch ended, on a monotonic clock. */
  observe({ requests, waitMs, runMs, open, refused }: BatchSample, nowMs: number): void {
    if (nowMs - this.#windowStartMs >= BASELINE_WINDOW_MS) {
      this.#runsMs.startWindow();
      this.#costsMs.startWindow();
      this.#windowStartMs = nowMs;
    }
    const size = Math.min(SIZE_CLASSES - 1, 32 - Math.clz32(requests - 1));
    this.#runsMs.note(size, Math.max(CLOCK_TICK_MS, runMs));
    this.#costsMs.note(size, Math.max(CLOCK_TICK_MS, runMs) / requests);
    this.#largest[size] = Math.max(this.#largest[size]!, requests);

    const seen = this.#seen;
    const toleratedMs = Math.max(TARGET_MS, TOLERANCE * this.#baselineOf(requests, size));
    seen.leastLoad = Math.min(seen.leastLoad, (waitMs + runMs) / toleratedMs);
    seen.mostOpen = Math.max(seen.mostOpen, open);
    seen.batches += 1;
    seen.answered += requests;
    seen.refused += refused;
    if (nowMs - this.#intervalStartMs < INTERVAL_MS) return;
    this.#limit = Math.min(this.#bounds.max, Math.max(this.#bounds.min, this.#next(seen)));
    this.#intervalStartMs = nowMs;
    this.#seen = newInterval();
  }

  #next({ leastLoad, mostOpen, batches, answered, refused }: Interval): number {
    const grown = this.#limit + Math.sqrt(this.#limit);
    if (mostOpen * 2 < this.#limit)
      return Math.min(grown, Math.max(this.#bounds.burst, BURST_MS / this.#costsMs.least()));
    const byLatency = grown - this.#limit * (1 - Math.max(MIN_FACTOR, Math.min(1, 1 / leastLoad)));
    if (refused < OVERLOADED_SHARE * (answered + refused)) return byLatency;
    const bySize = Math.max(MIN_FACTOR, (this.#enough(byLatency) * batches) / answered);
    return Math.min(byLatency, this.#limit * bySize);
  }

  /**
   * Returns how many requests make a micro-batch large enough. The search moves in both directions:
   *
   * - If half of that size was never seen, half may be enough: try it.
   * - If four times that size was never seen, more may be better: try it, unless such micro-batches
   *   once took longer than is tolerated.
   *
   * @param byLatency - the limit that latency allows.
   */
  #enough(byLatency: number): number {
    const largest = Math.max(...this.#largest);
    const size = this.#sizeAt(ENOUGH_SHARE);
    if (size > 0 && this.#largest[size - 1]! < 2 ** (size - 1)) return 2 ** (size - 1);
    const more = Math.min(this.#bounds.batch, 4 * 2 ** size);
    if (largest >= more) return 2 ** size;
    this.#mayTryLarger &&= byLatency >= this.#limit;
    if (this.#mayTryLarger) return more;
    return 2 ** this.#sizeAt(ENOUGH_SHARE_OF_DOUBLE);
  }

  /** Returns the smallest size whose throughput is at least `share` of the best throughput. */
  #sizeAt(share: number): number {
    const highestCostMs = this.#costsMs.least() / share;
    let size = 0;
    while (this.#costsMs.at(size) > highestCostMs) size++;
    return size;
  }

  /**
   * Returns the baseline latency of a micro-batch in milliseconds: that of its size, but at most
   * that of the smallest size times the gain in throughput.
   */
  #baselineOf(requests: number, size: number): number {
    const runs = this.#runsMs;
    const least = runs.smallest();
    const gain = (requests / 2 ** least) * (runs.at(least) / runs.at(size));
    return Math.min(runs.at(size), gain * runs.at(least));
  }
}

/** What the micro-batches of an interval showed. */
interface Interval {
  /** Lowest latency, as a multiple of the tolerated latency. */
  leastLoad: number;
  mostOpen: number;
  batches: number;
  answered: number;
  refused: number;
}

function newInterval(): Interval {
  return { leastLoad: Infinity, mostOpen: 0, batches: 0, answered: 0, refused: 0 };
}

/** Minima by size of the micro-batch, over this window and the last one that saw the size. */
class LatencyBaselines {
  readonly #now = new Float64Array(SIZE_CLASSES).fill(Infinity);
  readonly #before = new Float64Array(SIZE_CLASSES).fill(Infinity);

  /** Returns Infinity for a size that was never seen. */
  at(size: number): number {
    return Math.min(this.#now[size]!, this.#before[size]!);
  }

  note(size: number, value: number): void {
    this.#now[size] = Math.min(this.#now[size]!, value);
  }

  /**
   * Starts a new window. A size that the last window did not see keeps its older minimum: under a
   * long overload no micro-batch is small.
   */
  startWindow(): void {
    for (const [size, value] of this.#now.entries())
      if (value !== Infinity) this.#before[size] = value;
    this.#now.fill(Infinity);
  }

  /** Returns the minimum over all sizes. */
  least(): number {
    return Math.min(...this.#now, ...this.#before);
  }

  /** Returns the smallest size that was seen. At least one must have been seen. */
  smallest(): number {
    let size = 0;
    while (this.at(size) === Infinity) size++;
    return size;
  }
}
