// The feature store as five small interfaces. A consumer asks for the smallest one that it needs.
// One conformance suite runs over every implementation.

import type { EncoderId, UserId } from '../ids.ts';
import type { UserState } from '../features/user-state.ts';
import type { UserHistory } from './history.ts';
import type { StateSummary } from './codec.ts';
import type { ItemChange, ItemChanges } from './item-changes.ts';
import type { StateBatch } from './state-batch.ts';

/** A user and the state to write for that user. */
export interface UserStateEntry {
  readonly user: UserId;
  readonly state: UserState;
  /** Digest of the events that the state was computed from. Without it, they are unknown. */
  readonly historyDigest?: bigint;
  /**
   * Checksum of the stored state that the writer has read and found outdated. The write replaces
   * that state whatever its times are.
   */
  readonly replaces?: number;
}

/** Cached user states, by encoder and user. */
export interface StateStore {
  /**
   * Reads the states of many users, keeping the order of `userIds`.
   *
   * A user without a state is a cold start, not an error: the batch keeps its old values and the
   * length becomes 0. A state of another encoder counts as missing, so one answer never mixes two
   * embedding spaces.
   *
   * @param userIds - C ids, duplicates allowed.
   * @param out - arrays for at least C states, owned by the caller.
   * @throws TandemError ERR_STORE_UNAVAILABLE (retryable); ERR_STORE_CORRUPT names the key (not
   *   retryable).
   */
  read(encoderId: EncoderId, userIds: readonly UserId[], out: StateBatch): void | Promise<void>;

  /**
   * Writes states durably: when the promise resolves, they survive a crash.
   *
   * A write replaces the user's state unless the stored state has seen a newer event and is not
   * the one that the entry `replaces`. So a batch job does not overwrite a state that a fresh event
   * has updated.
   */
  write(encoderId: EncoderId, entries: readonly UserStateEntry[]): Promise<void>;

  /** Counts the states of an encoder. */
  count(encoderId: EncoderId): Promise<number>;
}

/** Summaries of cached user states, which cost less than the states. */
export interface StateSummaryStore {
  /**
   * Reads the summaries of the states of many users, in the order of `userIds`.
   *
   * @returns undefined for a user without a state of this encoder, or with a damaged one. Redis
   *   gives a summary of a damaged state, because it does not read the whole record.
   */
  readSummaries(
    encoderId: EncoderId,
    userIds: readonly UserId[],
  ): Promise<readonly (StateSummary | undefined)[]>;
}

/**
 * A user's new history, computed from the stored one. It must have no effect besides its result.
 */
export type HistoryChange = (user: UserId, history: UserHistory | undefined) => UserHistory;

/** The newest events of users, by user. */
export interface HistoryStore {
  /** Reads the histories of users in the order of `userIds`; undefined for a user without one. */
  readHistories(userIds: readonly UserId[]): Promise<readonly (UserHistory | undefined)[]>;

  /**
   * Changes histories durably, all of them or none. No other write comes in between.
   *
   * @param change - may be called again when another process has changed a history meanwhile.
   */
  changeHistories(userIds: readonly UserId[], change: HistoryChange): Promise<void>;
}

/** Items that were put or deleted after a bundle was published. */
export interface ItemChangeStore {
  /** Reads the version alone, which is cheap enough for polling. */
  itemChangesVersion(): Promise<number>;

  /** Reads the newest change of each item. A damaged record does not hide the others. */
  readItemChanges(): Promise<ItemChanges>;

  /**
   * Writes changes durably, all of them or none. Each replaces the earlier change of its item.
   *
   * @returns the version that includes them.
   */
  writeItemChanges(changes: readonly ItemChange[]): Promise<number>;

  /** Deletes the changes of items that no bundle needs any more; the version stays. */
  forgetItemChanges(items: readonly string[]): Promise<void>;
}

/** How far the batch jobs of an encoder have come. Servers compute the age of states from it. */
export interface WatermarkStore {
  /**
   * Reads the Unix seconds up to which (exclusive) the encoder's finished jobs cover all events;
   * undefined before the first job.
   */
  readWatermark(encoderId: EncoderId): Promise<number | undefined>;

  /** Writes the watermark durably. */
  writeWatermark(encoderId: EncoderId, untilSeconds: number): Promise<void>;
}

/** Everything that one location (LMDB, Redis, memory) stores. */
export interface FeatureStore
  extends StateStore, StateSummaryStore, HistoryStore, ItemChangeStore, WatermarkStore {
  /** Closes the store; safe to call twice. Later calls reject with ERR_STORE_UNAVAILABLE. */
  close(): Promise<void>;
}
