// The feature store's interface: user states by (encoder, user). One conformance suite runs over every implementation.

import type { EncoderId, UserId } from '../ids.ts';
import type { UserHistory } from './history.ts';
import type { ItemChange } from './item-changes.ts';
import type { StateType } from './state-rows.ts';

/** Items that score more for a user than their vectors say, beside the state. */
export interface HistoryBoosts {
  /** Rows of the encoder's catalogue, ascending. */
  readonly items: Int32Array;
  /** What is added to the score of each. */
  readonly boosts: Float32Array;
}

/** A user's cached encoder output and what is known of its making. */
export interface UserState {
  /** [L, D] hidden states of the history encoder, oldest first: the newest event's alone, or those of all events. */
  readonly state: Float32Array;
  /** D. */
  readonly dimensions: number;
  /** What the values are kept as; a reader always gets f32. */
  readonly type: StateType;
  /** Of an encoder that counts how often users had items. */
  readonly list?: HistoryBoosts;
  /** Unix seconds of the newest event that the state has seen. */
  readonly lastEventSeconds: number;
  /** Unix seconds at which the batch job computed it. */
  readonly encodedAtSeconds: number;
}

/** States of a micro-batch, written into arrays that the caller owns and reuses. */
export interface StateBatch {
  /** D. */
  readonly dimensions: number;
  /** [C, R, D] f32; R is the most rows that a state may have. */
  readonly states: Float32Array;
  /** [C] rows of the state, 0 where none was found. */
  readonly lengths: Int32Array;
  /** [C, M] lists of items and their boosts; M is the most items that a list may have, 0 where nobody reads them. */
  readonly boostedItems: Int32Array;
  readonly boosts: Float32Array;
  /** [C] items of the list, where a state was found. */
  readonly boostCounts: Int32Array;
  /** [C] Unix seconds, NaN where none was found. */
  readonly lastEventSeconds: Float64Array;
  /** [C] Unix seconds, NaN where none was found. */
  readonly encodedAtSeconds: Float64Array;
}

/** Items that were changed since the store began. */
export interface ItemChanges {
  /** Grows with every write, whoever makes it; 0 before the first. */
  readonly version: number;
  /** The newest change of each item, in no order. */
  readonly changes: readonly ItemChange[];
}

export interface UserStateStore {
  /**
   * Reads the states of many users, keeping the order of `userIds`.
   *
   * A user without a state is a cold start, not an error: its rows are left as they were and its length is 0. A state of
   * another encoder counts as missing, so one answer never mixes two embedding spaces.
   *
   * @param userIds - C ids, duplicates allowed.
   * @param out - arrays of at least C states, owned by the caller.
   * @throws TandemError ERR_STORE_UNAVAILABLE (retryable); ERR_STORE_CORRUPT names the key (not retryable).
   */
  read(encoderId: EncoderId, userIds: readonly UserId[], out: StateBatch): void | Promise<void>;

  /**
   * Writes states durably: when the promise resolves they survive a crash. Later writes of a user win, but for one that has seen
   * less: a batch job does not undo what a fresh event has made of a state.
   */
  write(
    encoderId: EncoderId,
    entries: readonly { readonly user: UserId; readonly state: UserState }[],
  ): Promise<void>;

  /** What is kept of users' events, undefined for those of whom nothing is. */
  readHistories(userIds: readonly UserId[]): Promise<readonly (UserHistory | undefined)[]>;

  /**
   * Changes histories durably, all of them or none; nobody else changes them in between.
   *
   * @param change - is given what is there and gives what shall be.
   */
  changeHistories(
    userIds: readonly UserId[],
    change: (user: UserId, history: UserHistory | undefined) => UserHistory,
  ): Promise<void>;

  /** The version of the changes alone: cheap, for those who look often. */
  itemChangesVersion(): Promise<number>;
  readItemChanges(): Promise<ItemChanges>;

  /** Writes changes durably, all of them or none, each in place of the one before of its item. @returns the version with them. */
  writeItemChanges(changes: readonly ItemChange[]): Promise<number>;

  /** Forgets the changes of items that nobody needs any more; the version stays. */
  forgetItemChanges(items: readonly string[]): Promise<void>;

  /** Unix seconds up to which (exclusive) events are covered by the encoder's finished jobs; undefined before the first. */
  readWatermark(encoderId: EncoderId): Promise<number | undefined>;
  writeWatermark(encoderId: EncoderId, untilSeconds: number): Promise<void>;

  /** Number of states of an encoder. */
  count(encoderId: EncoderId): Promise<number>;

  close(): Promise<void>;
}

/** Arrays for the states of `count` users, of width `dimensions` and at most `rows` rows each, and for lists of at most `listed` items. */
export function newStateBatch(count: number, dimensions: number, rows = 1, listed = 0): StateBatch {
  return {
    dimensions,
    states: new Float32Array(count * rows * dimensions),
    lengths: new Int32Array(count),
    boostedItems: new Int32Array(count * listed),
    boosts: new Float32Array(count * listed),
    boostCounts: new Int32Array(count),
    lastEventSeconds: new Float64Array(count).fill(Number.NaN),
    encodedAtSeconds: new Float64Array(count).fill(Number.NaN),
  };
}

/** State of user `index` of a batch: a view [L, D], empty where none was found. */
export function stateOf(batch: StateBatch, index: number): Float32Array {
  const { states, lengths, dimensions } = batch;
  const begin = index * (states.length / lengths.length);
  return states.subarray(begin, begin + lengths[index]! * dimensions);
}

const NO_LIST: HistoryBoosts = { items: new Int32Array(0), boosts: new Float32Array(0) };

/** List of user `index` of a batch: views, empty where there is none. */
export function boostsOf(batch: StateBatch, index: number): HistoryBoosts {
  const { lengths, boostedItems, boosts, boostCounts } = batch;
  if (lengths[index] === 0 || boostCounts[index] === 0) return NO_LIST;
  const begin = index * (boostedItems.length / boostCounts.length);
  const end = begin + boostCounts[index]!;
  return { items: boostedItems.subarray(begin, end), boosts: boosts.subarray(begin, end) };
}

/** User `index` of a batch as a batch of its own, over the same memory. */
export function onlyState(batch: StateBatch, index: number): StateBatch {
  const { lengths, dimensions } = batch;
  const own = <T extends Float32Array | Float64Array | Int32Array>(values: T): T => {
    const size = values.length / lengths.length;
    return values.subarray(index * size, (index + 1) * size) as T;
  };
  return {
    dimensions,
    states: own(batch.states),
    lengths: own(lengths),
    boostedItems: own(batch.boostedItems),
    boosts: own(batch.boosts),
    boostCounts: own(batch.boostCounts),
    lastEventSeconds: own(batch.lastEventSeconds),
    encodedAtSeconds: own(batch.encodedAtSeconds),
  };
}
