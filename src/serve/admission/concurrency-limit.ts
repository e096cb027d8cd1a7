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
  /** Requests refused since the one before ended, because the limit was reached. */
  readonly refused: number;
}

export interface LimitBounds {
  readonly min: number;
  readonly max: number;
  readonly start: number;
  /** Of a micro-batch. */
  readonly batch: number;
  /** Let in together while nobody waits, however slow the server. */
  readonly burst: number;
}

/** A burst that is gone within this time is no overload: of an interval, only the best micro-batch counts. */
const INTERVAL_MS = 100;
/** While nobody waits, so much work may come at once; in full it has waited for less than an interval when the limit looks at it. */
const BURST_MS = INTERVAL_MS / 2;
/** Latency up to this multiple of the floor is left alone. Waiting for one micro-batch of one's own size is 2. */
const TOLERANCE = 2;
/** Nor does latency below CoDel's target count: on a fast server it is a garbage collection, not a queue. */
const TARGET_MS = 5;
/** The limit loses at most half in an interval. */
const STEEPEST = 0.5;
/** Where so large a share is refused, no queue gets more answered: it only makes everybody wait. */
const OVERLOADED = 0.25;
/**
 * A micro-batch is large enough when it answers this share of what the best size does a second: where a part of the cost is fixed and
 * four times the size is known, that is .9 of what any would. With twice the size known it takes more.
 */
const NEARLY = 0.93;
const NEARLY_BY_LESS = 0.95;
/** A floor is the minimum of this time to twice this time in which its size was seen: then a new bundle's or a slower machine's holds. */
const FLOOR_WINDOW_MS = 30_000;
const SIZE_CLASSES = 12;
/** No run is shorter, whatever the clock says. */
const CLOCK_TICK_MS = 1e-3;

/**
 * limit' = limit x clamp(tolerated / measured, 1/2, 1) + sqrt(limit), once an interval, while at least half of the limit is used. While it
 * is not, it says nothing about itself, and goes to what a burst may be: so an overload that begins finds no longer queue than that,
 * and one that is over is forgotten. Where much is refused, it is at most what keeps micro-batches as large as they have to be:
 * limit x enough / measured size, whether some wait while others run, or for a store, or all run together.
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
  /** By size: what a micro-batch takes, and what a request in it does. */
  readonly #runsMs = new Floors();
  readonly #costsMs = new Floors();
  /** By size: most requests of a micro-batch. */
  readonly #largest = new Float64Array(SIZE_CLASSES);
  /** Whether larger micro-batches than were seen may be tried. */
  #tolerated = true;
  #limit: number;
  #floorsSinceMs = 0;
  #intervalStartMs = 0;
  #seen = newInterval();

  constructor(bounds: LimitBounds) {
    this.#bounds = bounds;
    this.#limit = bounds.start;
  }

  /** Requests that may be open. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  /** @param nowMs - when the micro-batch ended, on a clock that never goes back. */
  observe({ requests, waitMs, runMs, open, refused }: BatchSample, nowMs: number): void {
    if (nowMs - this.#floorsSinceMs >= FLOOR_WINDOW_MS) {
      this.#runsMs.age();
      this.#costsMs.age();
      this.#floorsSinceMs = nowMs;
    }
    const size = Math.min(SIZE_CLASSES - 1, 32 - Math.clz32(requests - 1));
    this.#runsMs.note(size, Math.max(CLOCK_TICK_MS, runMs));
    this.#costsMs.note(size, Math.max(CLOCK_TICK_MS, runMs) / requests);
    this.#largest[size] = Math.max(this.#largest[size]!, requests);

    const seen = this.#seen;
    const toleratedMs = Math.max(TARGET_MS, TOLERANCE * this.#floorOf(requests, size));
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
    const byLatency = grown - this.#limit * (1 - Math.max(STEEPEST, Math.min(1, 1 / leastLoad)));
    if (refused < OVERLOADED * (answered + refused)) return byLatency;
    const bySize = Math.max(STEEPEST, (this.#enough(byLatency) * batches) / answered);
    return Math.min(byLatency, this.#limit * bySize);
  }

  /**
   * Requests of a micro-batch that is large enough. Where half of that was not seen, it may do as well; where four times was
   * not seen, more may do better: the next ones show, unless they would take longer than is tolerated.
   *
   * @param byLatency - the limit that latency allows.
   */
  #enough(byLatency: number): number {
    const largest = Math.max(...this.#largest);
    const size = this.#sizeAt(NEARLY);
    if (size > 0 && this.#largest[size - 1]! < 2 ** (size - 1)) return 2 ** (size - 1);
    const more = Math.min(this.#bounds.batch, 4 * 2 ** size);
    if (largest >= more) return 2 ** size;
    this.#tolerated &&= byLatency >= this.#limit;
    if (this.#tolerated) return more;
    return 2 ** this.#sizeAt(NEARLY_BY_LESS);
  }

  /** The smallest size that answers this share of what the best one does a second. */
  #sizeAt(share: number): number {
    const dearest = this.#costsMs.least() / share;
    let size = 0;
    while (this.#costsMs.at(size) > dearest) size++;
    return size;
  }

  #floorOf(requests: number, size: number): number {
    const runs = this.#runsMs;
    const least = runs.smallest();
    // Requests a second with the one size, over those with the other.
    const gain = (requests / 2 ** least) * (runs.at(least) / runs.at(size));
    return Math.min(runs.at(size), gain * runs.at(least));
  }
}

/** What an interval's micro-batches say. */
interface Interval {
  /** Least latency as a multiple of what is tolerated. */
  leastLoad: number;
  mostOpen: number;
  batches: number;
  answered: number;
  refused: number;
}

function newInterval(): Interval {
  return { leastLoad: Infinity, mostOpen: 0, batches: 0, answered: 0, refused: 0 };
}

/** Minima by size of the micro-batch, in powers of two, of this window and the one before. */
class Floors {
  readonly #now = new Float64Array(SIZE_CLASSES).fill(Infinity);
  readonly #before = new Float64Array(SIZE_CLASSES).fill(Infinity);

  /** Infinity for a size that was not seen. */
  at(size: number): number {
    return Math.min(this.#now[size]!, this.#before[size]!);
  }

  note(size: number, value: number): void {
    this.#now[size] = Math.min(this.#now[size]!, value);
  }

  /** A window ends. What was not seen in it stays known: under a long overload no micro-batch is small. */
  age(): void {
    for (const [size, floor] of this.#now.entries())
      if (floor !== Infinity) this.#before[size] = floor;
    this.#now.fill(Infinity);
  }

  /** Of all sizes. */
  least(): number {
    return Math.min(...this.#now, ...this.#before);
  }

  /** The smallest size that was seen; one was. */
  smallest(): number {
    let size = 0;
    while (this.at(size) === Infinity) size++;
    return size;
  }
}
