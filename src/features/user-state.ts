// The cached state of a user: the encoder's output, the history boosts, and the times from which
// its age follows. The batch job and fresh events make these records with the same function.

import { historyBoosts, type FrequencyWeights, type HistoryBoosts } from './item-frequency.ts';
import type { EventColumns } from './sequence.ts';

/** How the values of a state are stored; a reader always gets f32. */
export type StateType = 'f32' | 'bf16' | 'int8';

/** A user's cached encoder output. */
export interface UserState {
  /** [L, D] hidden states, oldest first: of the newest event alone (L = 1), or of all events. */
  readonly state: Float32Array;
  /** D. */
  readonly dimensions: number;
  readonly type: StateType;
  /** Score boosts of the user's items; absent when the model has no `itemFrequency`. */
  readonly historyBoosts?: HistoryBoosts;
  /** Unix seconds of the newest event that the state was computed from. */
  readonly lastEventSeconds: number;
  /** Unix seconds at which the state was computed. */
  readonly encodedAtSeconds: number;
}

/** What all user states of one bundle have in common. */
export interface StateFormat {
  /** D. */
  readonly dimensions: number;
  readonly type: StateType;
  /** T: events of a history that count. */
  readonly maxHistory: number;
  /** Weights of the history boosts; undefined when the model has none. */
  readonly frequency: FrequencyWeights | undefined;
}

/** The events [begin, end) of one user, in order of time. */
export interface EventRange {
  readonly columns: EventColumns;
  readonly begin: number;
  readonly end: number;
}

/**
 * Makes the record of a user's state.
 *
 * @param state - [L, D] what the history encoder gave for `events`; not copied.
 * @param events - at least one event.
 * @param encodedAtSeconds - Unix seconds of the encoding.
 */
export function makeUserState(
  state: Float32Array,
  { columns, begin, end }: EventRange,
  { dimensions, type, maxHistory, frequency }: StateFormat,
  encodedAtSeconds: number,
): UserState {
  return {
    state,
    dimensions,
    type,
    ...(frequency && {
      historyBoosts: historyBoosts(columns, begin, end, maxHistory, frequency),
    }),
    lastEventSeconds: columns.times[end - 1]!,
    encodedAtSeconds,
  };
}
