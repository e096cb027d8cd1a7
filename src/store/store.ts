// The feature store's interface: user states by (encoder, user). One conformance suite runs over every implementation.

import type { EncoderId, UserId } from '../ids.ts';

/** A user's cached encoder output and what is known of its making. */
export interface UserState {
  /** [D] f32: the last hidden state of the history encoder. */
  readonly state: Float32Array;
  /** Unix seconds of the newest event that the state has seen. */
  readonly lastEventSeconds: number;
  /** Unix seconds at which the batch job computed it. */
  readonly encodedAtSeconds: number;
}

/** States of a micro-batch, written into arrays that the caller owns and reuses. */
export interface StateBatch {
  /** [C, D] f32. */
  readonly states: Float32Array;
  /** [C] 1 where a state was found. */
  readonly found: Uint8Array;
  /** [C] Unix seconds, NaN where none was found. */
  readonly lastEventSeconds: Float64Array;
  /** [C] Unix seconds, NaN where none was found. */
  readonly encodedAtSeconds: Float64Array;
}

export interface UserStateStore {
  /**
   * Reads the states of many users, keeping the order of `userIds`.
   *
   * A user without a state is a cold start, not an error: its row is left as it was and its `found` is 0. A state of
   * another encoder counts as missing, so one answer never mixes two embedding spaces.
   *
   * @param userIds - C ids, duplicates allowed.
   * @param out - arrays of at least C rows, owned by the caller.
   * @throws TandemError ERR_STORE_UNAVAILABLE (retryable); ERR_STORE_CORRUPT names the key (not retryable).
   */
  read(encoderId: EncoderId, userIds: readonly UserId[], out: StateBatch): void | Promise<void>;

  /** Writes states durably: when the promise resolves they survive a crash. Later writes of a user win. */
  write(
    encoderId: EncoderId,
    entries: readonly { readonly user: UserId; readonly state: UserState }[],
  ): Promise<void>;

  /** Unix seconds up to which (exclusive) events are covered by the encoder's finished jobs; undefined before the first. */
  readWatermark(encoderId: EncoderId): Promise<number | undefined>;
  writeWatermark(encoderId: EncoderId, untilSeconds: number): Promise<void>;

  /** Number of states of an encoder. */
  count(encoderId: EncoderId): Promise<number>;

  close(): Promise<void>;
}

/** Arrays for a batch of `count` users of width `dimensions`. */
export function newStateBatch(count: number, dimensions: number): StateBatch {
  return {
    states: new Float32Array(count * dimensions),
    found: new Uint8Array(count),
    lastEventSeconds: new Float64Array(count).fill(Number.NaN),
    encodedAtSeconds: new Float64Array(count).fill(Number.NaN),
  };
}
