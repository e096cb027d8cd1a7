// A feature store in this process's memory, for tests, examples and library use. Its content is
// lost when the process ends.

import { TandemError } from '../errors.ts';
import type { EncoderId, UserId } from '../ids.ts';
import {
  decodeRecord,
  decodeWatermark,
  encodeHistoryDigest,
  encodeRecord,
  encodeWatermark,
  encoderPrefix,
  hasSeenMore,
  summaryOf,
  type StateSummary,
} from './codec.ts';
import { encodeHistory, historyIn, type UserHistory } from './history.ts';
import {
  decodeItemChanges,
  encodeItemChange,
  type ItemChange,
  type ItemChanges,
} from './item-changes.ts';
import { itemChangeKey } from './keys.ts';
import { markMissing, type StateBatch } from './state-batch.ts';
import type { FeatureStore, HistoryChange, UserStateEntry } from './store.ts';

/**
 * A feature store in the memory of this process. It keeps the same records as every other store, so
 * it refuses and rounds the same values.
 */
export class MemoryStore implements FeatureStore {
  readonly #records = new Map<EncoderId, Map<UserId, Buffer>>();
  readonly #digests = new Map<EncoderId, Map<UserId, Buffer>>();
  readonly #watermarks = new Map<EncoderId, Buffer>();
  readonly #histories = new Map<UserId, Buffer>();
  readonly #itemChanges = new Map<string, Buffer>();
  #itemChangesVersion = 0;
  #closed = false;

  read(encoderId: EncoderId, userIds: readonly UserId[], out: StateBatch): void {
    this.#checkOpen();
    const prefix = encoderPrefix(encoderId);
    const records = this.#records.get(encoderId);
    for (const [index, user] of userIds.entries()) {
      const record = records?.get(user);
      if (record === undefined || !decodeRecord(record, prefix, user, out, index))
        markMissing(out, index);
    }
  }

  write(encoderId: EncoderId, entries: readonly UserStateEntry[]): Promise<void> {
    return this.#settle(() => {
      const prefix = encoderPrefix(encoderId);
      const encoded = entries.map(({ state, ...entry }) => ({
        ...entry,
        record: encodeRecord(prefix, state, entry.user),
      }));
      const records = this.#records.get(encoderId) ?? new Map<UserId, Buffer>();
      const digests = this.#digests.get(encoderId) ?? new Map<UserId, Buffer>();
      for (const { user, record, historyDigest, replaces } of encoded) {
        if (hasSeenMore(records.get(user), record, replaces)) continue;
        records.set(user, record);
        if (historyDigest !== undefined)
          digests.set(user, encodeHistoryDigest(historyDigest, record));
      }
      this.#records.set(encoderId, records);
      this.#digests.set(encoderId, digests);
    });
  }

  readSummaries(
    encoderId: EncoderId,
    userIds: readonly UserId[],
  ): Promise<(StateSummary | undefined)[]> {
    return this.#settle(() => {
      const [records, digests] = [this.#records.get(encoderId), this.#digests.get(encoderId)];
      return userIds.map((user) => summaryOf(records?.get(user), digests?.get(user)));
    });
  }

  count(encoderId: EncoderId): Promise<number> {
    return this.#settle(() => this.#records.get(encoderId)?.size ?? 0);
  }

  readHistories(userIds: readonly UserId[]): Promise<(UserHistory | undefined)[]> {
    return this.#settle(() => userIds.map((user) => this.#historyOf(user)));
  }

  changeHistories(userIds: readonly UserId[], change: HistoryChange): Promise<void> {
    return this.#settle(() => {
      const changed = userIds.map(
        (user) => [user, encodeHistory(change(user, this.#historyOf(user)))] as const,
      );
      for (const [user, record] of changed) this.#histories.set(user, record);
    });
  }

  #historyOf(user: UserId): UserHistory | undefined {
    return historyIn(this.#histories.get(user), user);
  }

  itemChangesVersion(): Promise<number> {
    return this.#settle(() => this.#itemChangesVersion);
  }

  readItemChanges(): Promise<ItemChanges> {
    return this.#settle(() => ({
      version: this.#itemChangesVersion,
      ...decodeItemChanges(
        Array.from(this.#itemChanges, ([item, value]) => ({ key: itemChangeKey(item), value })),
      ),
    }));
  }

  writeItemChanges(changes: readonly ItemChange[]): Promise<number> {
    return this.#settle(() => {
      for (const change of changes) this.#itemChanges.set(change.item, encodeItemChange(change));
      return ++this.#itemChangesVersion;
    });
  }

  forgetItemChanges(items: readonly string[]): Promise<void> {
    return this.#settle(() => {
      for (const item of items) this.#itemChanges.delete(item);
    });
  }

  readWatermark(encoderId: EncoderId): Promise<number | undefined> {
    return this.#settle(() => {
      const watermark = this.#watermarks.get(encoderId);
      return watermark === undefined ? undefined : decodeWatermark(watermark, encoderId);
    });
  }

  writeWatermark(encoderId: EncoderId, untilSeconds: number): Promise<void> {
    return this.#settle(() => {
      this.#watermarks.set(encoderId, encodeWatermark(untilSeconds));
    });
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#records.clear();
    this.#digests.clear();
    this.#watermarks.clear();
    this.#histories.clear();
    this.#itemChanges.clear();
    return Promise.resolve();
  }

  /** Runs `action` and gives what it returns or throws as a promise. */
  #settle<T>(action: () => T): Promise<T> {
    return new Promise((resolve) => {
      this.#checkOpen();
      resolve(action());
    });
  }

  #checkOpen(): void {
    if (this.#closed)
      throw new TandemError(
        'ERR_STORE_UNAVAILABLE',
        'Expected an open memory store, but it was closed. Create another one.',
      );
  }
}
