// Sequence features: from a user's events to the rows that the history encoder reads, and the age of a state.

import { GAP_BUCKETS } from './schema.ts';

/** B histories, left-padded to T; row 0 of every table is padding here, so a real item is slot + 1. */
export interface HistoryBatch {
  /** B. */
  readonly count: number;
  /** T. */
  readonly length: number;
  /** [B, T] item slot + 1; 0 = padding. */
  readonly items: Int32Array;
  /** [B, T] action row (0 = unknown action or padding). */
  readonly actions: Int32Array;
  /** [B, T] bucket of the time since the event before; 0 = first event of the history or padding. */
  readonly gaps: Int32Array;
  /** [B] number of real events, at the end of each row. */
  readonly lengths: Int32Array;
}

export function newHistoryBatch(count: number, length: number): HistoryBatch {
  return {
    count,
    length,
    items: new Int32Array(count * length),
    actions: new Int32Array(count * length),
    gaps: new Int32Array(count * length),
    lengths: new Int32Array(count),
  };
}

/** Columns of events in time order; only [begin, end) of them are read. */
export interface EventColumns {
  /** Item slots. */
  readonly items: ArrayLike<number>;
  /** Rows of the action table (1-based; 0 = unknown). */
  readonly actions: ArrayLike<number>;
  /** Unix seconds. */
  readonly times: ArrayLike<number>;
}

/**
 * Writes the last T events of [begin, end) into row `row` of a batch.
 *
 * The gap of an event looks at the event before it, also when that one fell out of the window: the same event at the
 * same place of a history has the same features in training, batch encoding and fresh encoding.
 */
export function writeHistory(
  batch: HistoryBatch,
  row: number,
  events: EventColumns,
  begin: number,
  end: number,
): void {
  const kept = Math.min(batch.length, end - begin);
  const first = end - kept;
  const offset = (row + 1) * batch.length - kept;
  batch.items.fill(0, row * batch.length, offset);
  batch.actions.fill(0, row * batch.length, offset);
  batch.gaps.fill(0, row * batch.length, offset);
  for (let i = 0; i < kept; i++) {
    const event = first + i;
    batch.items[offset + i] = events.items[event]! + 1;
    batch.actions[offset + i] = events.actions[event]!;
    batch.gaps[offset + i] =
      event === begin ? 0 : gapBucket(events.times[event]! - events.times[event - 1]!);
  }
  batch.lengths[row] = kept;
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
