// Sequence features: maps a user's events to the rows that the history encoder reads, and computes
// the age of a state.

import { GAP_BUCKETS } from './schema.ts';

/** B histories, one after another, without padding. */
export interface HistoryBatch {
  /**
   * [B + 1] offsets, ascending from 0: history b has the events [offsets[b], offsets[b + 1]),
   * oldest first, at most T.
   */
  readonly offsets: Int32Array;
  /** [events] item rows. */
  readonly items: Int32Array;
  /** [events] rows of the action table; 0 = unknown action. */
  readonly actions: Int32Array;
  /** [events] buckets of the time since the event before; 0 = first event of the history. */
  readonly gaps: Int32Array;
}

/** Columns of events in order of time. */
export interface EventColumns {
  /** Item rows. */
  readonly items: ArrayLike<number>;
  /** Rows of the action table; 0 = unknown action. */
  readonly actions: ArrayLike<number>;
  /** Unix seconds. */
  readonly times: ArrayLike<number>;
}

/** Collects the histories of a batch. */
export class HistoryBatchBuilder {
  readonly #maxHistory: number;
  readonly #offsets: number[] = [0];
  readonly #items: number[] = [];
  readonly #actions: number[] = [];
  readonly #gaps: number[] = [];

  /** @param maxHistory - T. */
  constructor(maxHistory: number) {
    this.#maxHistory = maxHistory;
  }

  /**
   * Adds the last T events of [begin, end) as the next history.
   *
   * The gap of an event is the time since the event before it, also when the event before it is not
   * among the last T. So an event has the same features in training, in the daily batch and in the
   * encoding of fresh events.
   */
  add(events: EventColumns, begin: number, end: number): void {
    for (let event = Math.max(begin, end - this.#maxHistory); event < end; event++) {
      this.#items.push(events.items[event]!);
      this.#actions.push(events.actions[event]!);
      this.#gaps.push(
        event === begin ? 0 : gapBucket(events.times[event]! - events.times[event - 1]!),
      );
    }
    this.#offsets.push(this.#items.length);
  }

  /** Events added so far. */
  get eventCount(): number {
    return this.#items.length;
  }

  /** The histories so far, copied. */
  batch(): HistoryBatch {
    return {
      offsets: Int32Array.from(this.#offsets),
      items: Int32Array.from(this.#items),
      actions: Int32Array.from(this.#actions),
      gaps: Int32Array.from(this.#gaps),
    };
  }
}

/**
 * Bucket of a gap: 1 for less than a minute, then one per power of two of minutes, to GAP_BUCKETS -
 * 1.
 */
export function gapBucket(seconds: number): number {
  if (!(seconds >= 60)) return 1;
  return Math.min(GAP_BUCKETS - 1, 2 + Math.floor(Math.log2(seconds / 60)));
}

/** From this age on, stateAge() is 1. */
const OLDEST_STATE_HOURS = 24 * 365;

/**
 * Age of the newest event of a state on a log scale: 0 = now, 1 = a year or more.
 *
 * A time in the future counts as now.
 */
export function stateAge(lastEventSeconds: number, nowSeconds: number): number {
  const hours = Math.max(0, nowSeconds - lastEventSeconds) / 3600;
  return Math.min(1, Math.log1p(hours) / Math.log1p(OLDEST_STATE_HOURS));
}
