// Sequence features: from a user's events to the rows that the history encoder reads, and the age of a state.

import { GAP_BUCKETS } from './schema.ts';

/** B histories, one after the other, without padding. */
export interface HistoryBatch {
  /** [B + 1], ascending from 0: history b has the events [offsets[b], offsets[b + 1]), oldest first, at most T of them. */
  readonly offsets: Int32Array;
  /** [events] item rows. */
  readonly items: Int32Array;
  /** [events] rows of the action table (0 = unknown action). */
  readonly actions: Int32Array;
  /** [events] buckets of the time since the event before; 0 = first event of the history. */
  readonly gaps: Int32Array;
}

/** Columns of events in time order; only [begin, end) of them are read. */
export interface EventColumns {
  /** Item rows. */
  readonly items: ArrayLike<number>;
  /** Rows of the action table (1-based; 0 = unknown). */
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
   * The gap of an event looks at the event before it, also when that one fell out of the window: the same event at the
   * same place of a history has the same features in training, batch encoding and fresh encoding.
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

  batch(): HistoryBatch {
    return {
      offsets: Int32Array.from(this.#offsets),
      items: Int32Array.from(this.#items),
      actions: Int32Array.from(this.#actions),
      gaps: Int32Array.from(this.#gaps),
    };
  }
}

/** 1 for gaps under a minute, then one bucket per power of two of minutes, capped at GAP_BUCKETS - 1. */
export function gapBucket(seconds: number): number {
  if (!(seconds >= 60)) return 1;
  return Math.min(GAP_BUCKETS - 1, 2 + Math.floor(Math.log2(seconds / 60)));
}

/** Age at which stateAge saturates. */
const OLDEST_STATE_HOURS = 24 * 365;

/**
 * How old the newest event behind a state is, on a log scale: 0 = just now, 1 = a year and more.
 *
 * A clock that runs backwards counts as just now.
 */
export function stateAge(lastEventSeconds: number, nowSeconds: number): number {
  const hours = Math.max(0, nowSeconds - lastEventSeconds) / 3600;
  return Math.min(1, Math.log1p(hours) / Math.log1p(OLDEST_STATE_HOURS));
}
