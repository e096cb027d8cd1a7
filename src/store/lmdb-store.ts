// The feature store in LMDB: reads run in this process and need no I/O once a page is in memory,
// one writer at a time, and a write is durable when its promise resolves.

import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { TandemError } from '../errors.ts';
import { reasonOf } from '../foreign-errors.ts';
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
import {
  historyDigestKey,
  historyKey,
  itemChangeCountKey,
  itemChangeKey,
  itemChangeKeysPrefix,
  stateKey,
  stateKeysPrefix,
  watermarkKey,
} from './keys.ts';
import { lmdbRemedy } from './lmdb-errors.ts';
import { markMissing, type StateBatch } from './state-batch.ts';
import type { FeatureStore, HistoryChange, UserStateEntry } from './store.ts';

/** Byte of LMDB's first page at which its magic number begins. */
const MAGIC_AT = 24;
const MAGIC = 0xbeef_c0de;
/**
 * Bytes that a new store needs at least: two pages of the system's size, which is 4 KiB or, on some
 * ARM machines, 64 KiB, and a lock file of 8 KiB, counted as 16.
 */
const FIRST_BYTES = (2 * 64 + 16) * 1024;
/** Entries of one transaction: bounds its dirty pages and the time that the event loop fills it. */
const ENTRIES_PER_TRANSACTION = 4096;

/** Many processes and threads may read a directory while one process writes. */
export class LmdbStore implements FeatureStore {
  readonly #database: RootDatabase<Uint8Array, Uint8Array>;
  readonly #directory: string;
  #closing: Promise<void> | undefined;

  private constructor(directory: string, database: RootDatabase<Uint8Array, Uint8Array>) {
    this.#directory = directory;
    this.#database = database;
  }

  /**
   * Opens or creates a store.
   *
   * @param directory - created when missing; holds data.mdb, which grows as needed, and lock.mdb.
   * @throws TandemError ERR_STORE_UNAVAILABLE when LMDB cannot open it.
   */
  static open(directory: string, options: { readonly readOnly?: boolean } = {}): LmdbStore {
    const { readOnly = false } = options;
    try {
      if (!readOnly) mkdirSync(directory, { recursive: true });
      expectMagic(join(directory, 'data.mdb'), readOnly);
      if (!readOnly) expectRoom(directory);
      const database = open<Uint8Array, Uint8Array>(directory, {
        encoding: 'binary',
        keyEncoding: 'binary',
        compression: false,
        cache: false,
        readOnly,
        noSubdir: false,
        // Without overlapping, a write's promise resolves after the flush to disk, not before it.
        overlappingSync: false,
        // With batching, a commit that fails rejects a promise that no caller holds. This store
        // writes in transactions of its own and does not need it.
        eventTurnBatching: false,
      });
      return new LmdbStore(directory, database);
    } catch (cause) {
      throw unavailable(directory, 'opening it', cause);
    }
  }

  read(encoderId: EncoderId, userIds: readonly UserId[], out: StateBatch): void {
    this.#checkOpen();
    const prefix = encoderPrefix(encoderId);
    for (const [index, user] of userIds.entries()) {
      // LMDB owns the buffer, which is valid until the next read. decodeRecord does not keep it.
      let record: Buffer | undefined;
      try {
        record = this.#database.getBinaryFast(stateKey(prefix, user));
      } catch (cause) {
        throw unavailable(this.#directory, `reading user "${user}"`, cause);
      }
      if (record === undefined || !decodeRecord(record, prefix, user, out, index))
        markMissing(out, index);
    }
  }

  async write(encoderId: EncoderId, entries: readonly UserStateEntry[]): Promise<void> {
    this.#checkOpen();
    const prefix = encoderPrefix(encoderId);
    // All are encoded before the first put: when one state is refused, nothing of the call is
    // written.
    const records = entries.map(({ user, state, historyDigest, replaces }) => ({
      user,
      value: encodeRecord(prefix, state, user),
      historyDigest,
      replaces,
    }));
    for (let begin = 0; begin < records.length; begin += ENTRIES_PER_TRANSACTION) {
      const part = records.slice(begin, begin + ENTRIES_PER_TRANSACTION);
      await this.#transact(part.length, () => {
        for (const { user, value, historyDigest, replaces } of part) {
          const key = stateKey(prefix, user);
          if (hasSeenMore(this.#database.getBinaryFast(key), value, replaces)) continue;
          void this.#database.put(key, value);
          if (historyDigest !== undefined)
            void this.#database.put(
              historyDigestKey(prefix, user),
              encodeHistoryDigest(historyDigest, value),
            );
        }
      });
    }
  }

  readSummaries(
    encoderId: EncoderId,
    userIds: readonly UserId[],
  ): Promise<(StateSummary | undefined)[]> {
    const prefix = encoderPrefix(encoderId);
    return this.#settle(() =>
      userIds.map((user) => {
        const digest = this.#database.getBinary(historyDigestKey(prefix, user));
        return summaryOf(this.#database.getBinaryFast(stateKey(prefix, user)), digest);
      }),
    );
  }

  readHistories(userIds: readonly UserId[]): Promise<(UserHistory | undefined)[]> {
    return this.#settle(() => userIds.map((user) => this.#historyOf(user)));
  }

  async changeHistories(userIds: readonly UserId[], change: HistoryChange): Promise<void> {
    this.#checkOpen();
    await this.#transact(userIds.length, () => {
      // All are made before the first put: when one change throws, nothing of the call is written.
      const changed = userIds.map((user) => ({
        key: historyKey(user),
        value: encodeHistory(change(user, this.#historyOf(user))),
      }));
      for (const { key, value } of changed) void this.#database.put(key, value);
    });
  }

  #historyOf(user: UserId): UserHistory | undefined {
    return historyIn(this.#database.getBinary(historyKey(user)), user);
  }

  itemChangesVersion(): Promise<number> {
    return this.#settle(() => this.#itemChangesVersion());
  }

  readItemChanges(): Promise<ItemChanges> {
    return this.#settle(() => {
      const start = itemChangeKeysPrefix();
      const found = this.#database.getRange({ start, end: successor(start) });
      return {
        version: this.#itemChangesVersion(),
        ...decodeItemChanges(found),
      };
    });
  }

  async writeItemChanges(changes: readonly ItemChange[]): Promise<number> {
    this.#checkOpen();
    const records = changes.map((change) => ({
      key: itemChangeKey(change.item),
      value: encodeItemChange(change),
    }));
    let version = 0;
    await this.#transact(records.length, () => {
      version = this.#itemChangesVersion() + 1;
      for (const { key, value } of records) void this.#database.put(key, value);
      const count = Buffer.alloc(8);
      count.writeDoubleLE(version);
      void this.#database.put(itemChangeCountKey(), count);
    });
    return version;
  }

  async forgetItemChanges(items: readonly string[]): Promise<void> {
    this.#checkOpen();
    await this.#transact(items.length, () => {
      for (const item of items) void this.#database.remove(itemChangeKey(item));
    });
  }

  #itemChangesVersion(): number {
    return this.#database.getBinary(itemChangeCountKey())?.readDoubleLE() ?? 0;
  }

  readWatermark(encoderId: EncoderId): Promise<number | undefined> {
    return this.#settle(() => {
      const value = this.#database.getBinary(watermarkKey(encoderId));
      return value === undefined ? undefined : decodeWatermark(value, encoderId);
    });
  }

  async writeWatermark(encoderId: EncoderId, untilSeconds: number): Promise<void> {
    this.#checkOpen();
    const value = encodeWatermark(untilSeconds);
    await this.#transact(1, () => {
      void this.#database.put(watermarkKey(encoderId), value);
    });
  }

  count(encoderId: EncoderId): Promise<number> {
    return this.#settle(() => {
      const start = stateKeysPrefix(encoderPrefix(encoderId));
      return this.#database.getKeysCount({ start, end: successor(start) });
    });
  }

  /** Waits for pending writes, then closes; safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#database.close();
    return this.#closing;
  }

  /**
   * Runs `action` in one transaction, which is on disk when the promise resolves.
   *
   * @param records - number of records to write, for messages.
   * @param action - reads and puts; throws before its first put or not at all.
   */
  async #transact(records: number, action: () => void): Promise<void> {
    try {
      await this.#database.transaction(action);
      await this.#database.flushed;
    } catch (cause) {
      if (cause instanceof TandemError) throw cause;
      throw unavailable(this.#directory, `writing ${records} records`, await commitErrorOf(cause));
    }
  }

  /** Runs `action` and gives what it returns or throws as a promise. */
  #settle<T>(action: () => T): Promise<T> {
    return new Promise((resolve) => {
      this.#checkOpen();
      resolve(action());
    });
  }

  #checkOpen(): void {
    if (this.#closing !== undefined)
      throw unavailable(this.#directory, 'using it after close()', undefined);
  }
}

/** The smallest key that is larger than every key that begins with `prefix`. */
function successor(prefix: Buffer): Buffer {
  const next = Buffer.from(prefix);
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = (next[i]! + 1) & 0xff;
    if (next[i] !== 0) return next.subarray(0, i + 1);
  }
  return Buffer.alloc(prefix.length + 1, 0xff);
}

/** Throws for a file that is not LMDB's, over which the binding would end the process. */
function expectMagic(path: string, readOnly: boolean): void {
  if (!existsSync(path)) {
    // The binding would make the directory before it fails. This throws the system's reason.
    if (readOnly) statSync(path);
    return;
  }
  const bytes = Buffer.alloc(MAGIC_AT + 4);
  const file = openSync(path, 'r');
  let length: number;
  try {
    length = readSync(file, bytes);
  } finally {
    closeSync(file);
  }
  // LMDB fills an empty file, unless it is opened read-only.
  if (
    (length === 0 && !readOnly) ||
    (length === bytes.length && bytes.readUInt32LE(MAGIC_AT) === MAGIC)
  )
    return;
  throw new Error(`${path} is not a file of LMDB`);
}

/**
 * Throws when the disk has no room for a new store.
 *
 * On a full disk LMDB ends the process: it sets the length of its lock file and writes to it
 * through a map, which is a bus error, and the binding ends with a segmentation fault when it
 * cannot begin the data file. The probe is a file of our own, because another process may be
 * creating LMDB's files.
 */
function expectRoom(directory: string): void {
  const begun = ['lock.mdb', 'data.mdb'].every((name) => {
    const found = statSync(join(directory, name), { throwIfNoEntry: false });
    return found !== undefined && found.blocks > 0;
  });
  if (begun) return;
  const probe = join(directory, `room.tmp-${process.pid}-${randomUUID()}`);
  try {
    writeFileSync(probe, new Uint8Array(FIRST_BYTES), { flag: 'wx' });
  } finally {
    rmSync(probe, { force: true });
  }
}

/**
 * The reason why a commit failed. The binding reports it through a second promise, whose rejection
 * ends the process when nobody listens.
 */
async function commitErrorOf(cause: unknown): Promise<unknown> {
  const { commitError } = cause as { readonly commitError?: Promise<never> };
  if (commitError === undefined) return cause;
  const reason = commitError.catch((error: unknown) => error);
  // That promise rejects in the same turn of the event loop as `cause`, or never.
  return Promise.race([reason, new Promise((resolve) => setImmediate(resolve, cause))]);
}

function unavailable(directory: string, doing: string, cause: unknown): TandemError {
  const reason = cause === undefined ? '' : reasonOf(cause);
  return new TandemError(
    'ERR_STORE_UNAVAILABLE',
    `Expected the LMDB store at ${directory} to answer, but ${doing} failed` +
      `${reason && `: ${reason}`}. ${lmdbRemedy(reason)}`,
    { cause, details: { directory } },
  );
}
