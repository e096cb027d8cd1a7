// User states in Redis: the records and keys of every other store, for servers that share one. A Redis that is down, stopped or out of reach
// costs the history of users and the timeout, never an answer: calls fail at once while it is known to be away.

import { Redis } from 'ioredis';
import { TandemError } from '../errors.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { logger } from '../telemetry.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import {
  decodeRecord,
  decodeWatermark,
  encodeRecord,
  encodeWatermark,
  encoderPrefix,
  writeMissing,
} from './codec.ts';
import { decodeHistory, encodeHistory, type UserHistory } from './history.ts';
import { decodeItemChange, encodeItemChange, type ItemChange } from './item-changes.ts';
import {
  historyKey,
  itemChangeCountKey,
  itemChangeKey,
  itemChanges,
  stateKey,
  statesOf,
  watermarkKey,
} from './keys.ts';
import { parseRedisLocation, withoutSecrets } from './redis-location.ts';
import type { ItemChanges, StateBatch, UserState, UserStateStore } from './store.ts';

/** Records of one command: bounds how long Redis answers nobody else. */
const ENTRIES_PER_COMMAND = 512;
const SCAN_COUNT = 1000;
const FAILURES_TO_OPEN = 3;
const RETRY_MS = 1000;
const FIRST_RECONNECT_MS = 50;
const LONGEST_RECONNECT_MS = 1000;
/** A connection on which nothing comes back for so long is given up: the kernel alone would try for a quarter of an hour. */
const LEAST_SILENCE_MS = 1000;
/** How often a change of histories begins again because somebody else changed them meanwhile. */
const CHANGE_ATTEMPTS = 20;
/** hasSeenMore() in Redis: the newest event of a record is the f64 at its byte 32. */
const PUT_UNLESS_OLDER = `
  for i, key in ipairs(KEYS) do
    local old = redis.call('GET', key)
    if not old or #old < 44 or struct.unpack('<d', old, 33) <= struct.unpack('<d', ARGV[i], 33) then
      redis.call('SET', key, ARGV[i])
    end
  end
  return #KEYS`;

export class RedisStore implements UserStateStore {
  readonly #redis: Redis;
  /** Where it is, without user and password. */
  readonly #name: string;
  /** What keys begin with, so that a database may hold other things, too. */
  readonly #namespace: Buffer;
  readonly #timeoutMs: number;
  readonly #breaker = new CircuitBreaker({
    failures: FAILURES_TO_OPEN,
    retryMs: RETRY_MS,
    // What Redis says to a command is an answer; a command that it did not answer is none.
    isFailure: (error) => !(error instanceof TandemError) && !isReply(error),
  });
  /** Why there is no connection. */
  #connectionError: Error | undefined;
  /** Changes of histories watch keys, and a connection has one set of those. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(location: string, timeoutMs: number) {
    const { prefix, tls, username, password, ...place } = parseRedisLocation(location);
    const silenceMs = Math.max(timeoutMs, LEAST_SILENCE_MS);
    this.#name = withoutSecrets(location);
    this.#namespace = Buffer.from(prefix);
    this.#timeoutMs = timeoutMs;
    this.#redis = new Redis({
      ...place,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(tls && { tls: {} }),
      lazyConnect: true,
      connectTimeout: silenceMs,
      socketTimeout: silenceMs,
      // What cannot be sent now, or was sent on a connection that broke, fails now.
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      retryStrategy: (attempt) =>
        Math.min(LONGEST_RECONNECT_MS, FIRST_RECONNECT_MS * 2 ** (attempt - 1)),
    });
    // Every failed call says so itself; without a listener a lost connection would end the process.
    this.#redis.on('error', (error: Error) => {
      this.#connectionError = error;
    });
    this.#redis.on('close', () => {
      this.#connectionError ??= new Error('the connection was closed');
    });
    this.#redis.on('ready', () => {
      this.#connectionError = undefined;
    });
  }

  /**
   * Connects; a Redis that is away is tried again in the background, and calls fail until it is there.
   *
   * @param location - redis://[user:password@]host[:port][/database][?prefix=...], or rediss:// for TLS.
   * @param timeoutMs - that an answer may take.
   * @throws TandemError ERR_CONFIG_INVALID for something that is no such URL.
   */
  static async open(location: string, timeoutMs: number): Promise<RedisStore> {
    const store = new RedisStore(location, timeoutMs);
    await store.#redis.connect().catch((error: unknown) => {
      // Its text alone: with the error comes the command that it is about, and with a login the password.
      const reason = messageOf(store.#connectionError ?? error);
      logger.error({ store: store.#name, reason }, 'Redis does not answer yet');
    });
    return store;
  }

  async read(encoderId: EncoderId, userIds: readonly UserId[], out: StateBatch): Promise<void> {
    const prefix = encoderPrefix(encoderId);
    const keys = userIds.map((user) => this.#keyOf(stateKey(prefix, user)));
    const records =
      keys.length === 0
        ? []
        : await this.#ask('reading states', () => this.#soon(this.#redis.mgetBuffer(keys)));
    for (const [row, user] of userIds.entries()) {
      const record = records[row];
      if (record === null || record === undefined || !decodeRecord(record, prefix, user, out, row))
        writeMissing(out, row);
    }
  }

  async write(
    encoderId: EncoderId,
    entries: readonly { readonly user: UserId; readonly state: UserState }[],
  ): Promise<void> {
    const prefix = encoderPrefix(encoderId);
    const records = entries.map(({ user, state }) => ({
      key: this.#keyOf(stateKey(prefix, user)),
      value: encodeRecord(prefix, state, user),
    }));
    for (let begin = 0; begin < records.length; begin += ENTRIES_PER_COMMAND) {
      const part = records.slice(begin, begin + ENTRIES_PER_COMMAND);
      await this.#ask('writing states', () =>
        this.#soon(
          this.#redis.eval(
            PUT_UNLESS_OLDER,
            part.length,
            ...part.map(({ key }) => key),
            ...part.map(({ value }) => value),
          ),
        ),
      );
    }
  }

  async readHistories(userIds: readonly UserId[]): Promise<(UserHistory | undefined)[]> {
    if (userIds.length === 0) return [];
    const keys = userIds.map((user) => this.#keyOf(historyKey(user)));
    const records = await this.#ask('reading histories', () =>
      this.#soon(this.#redis.mgetBuffer(keys)),
    );
    return userIds.map((user, i) => historyIn(records[i], user));
  }

  changeHistories(
    userIds: readonly UserId[],
    change: (user: UserId, history: UserHistory | undefined) => UserHistory,
  ): Promise<void> {
    const turn = this.#lastChange.then(() => this.#change(userIds, change));
    this.#lastChange = turn.catch(() => undefined);
    return turn;
  }

  async itemChangesVersion(): Promise<number> {
    const key = this.#keyOf(itemChangeCountKey());
    const count = await this.#ask("reading the version of items' changes", () =>
      this.#soon(this.#redis.get(key)),
    );
    return Number(count ?? 0);
  }

  /** The version is read first: changes that come meanwhile are read again with the next one. */
  async readItemChanges(): Promise<ItemChanges> {
    const version = await this.itemChangesVersion();
    const hash = this.#keyOf(itemChanges());
    // HSCAN may give a field more than once.
    const found = new Map<string, ItemChange>();
    let cursor = '0';
    do {
      const [next, pairs] = await this.#ask('reading changes of items', () =>
        this.#redis.hscanBuffer(hash, cursor, 'COUNT', SCAN_COUNT),
      );
      for (let i = 1; i < pairs.length; i += 2) {
        const change = decodeItemChange(pairs[i]!);
        found.set(change.item, change);
      }
      cursor = next.toString();
    } while (cursor !== '0');
    return { version, changes: [...found.values()] };
  }

  async writeItemChanges(changes: readonly ItemChange[]): Promise<number> {
    const hash = this.#keyOf(itemChanges());
    const fields = changes.flatMap((change) => [
      itemChangeKey(change.item),
      encodeItemChange(change),
    ]);
    const results = await this.#ask('writing changes of items', () =>
      this.#soon(
        this.#redis
          .multi()
          .hset(hash, ...fields)
          .incr(this.#keyOf(itemChangeCountKey()))
          .exec(),
      ),
    );
    const [error, version] = results![1]!;
    if (error !== null) throw this.#unavailable('writing changes of items', error);
    return version as number;
  }

  async forgetItemChanges(items: readonly string[]): Promise<void> {
    const hash = this.#keyOf(itemChanges());
    for (let begin = 0; begin < items.length; begin += ENTRIES_PER_COMMAND) {
      const part = items.slice(begin, begin + ENTRIES_PER_COMMAND);
      await this.#ask('forgetting changes of items', () =>
        this.#soon(this.#redis.hdel(hash, ...part.map(itemChangeKey))),
      );
    }
  }

  async readWatermark(encoderId: EncoderId): Promise<number | undefined> {
    const key = this.#keyOf(watermarkKey(encoderId));
    const value = await this.#ask('reading a watermark', () =>
      this.#soon(this.#redis.getBuffer(key)),
    );
    return value === null ? undefined : decodeWatermark(value, encoderId);
  }

  async writeWatermark(encoderId: EncoderId, untilSeconds: number): Promise<void> {
    const value = encodeWatermark(untilSeconds);
    const key = this.#keyOf(watermarkKey(encoderId));
    await this.#ask('writing a watermark', () => this.#soon(this.#redis.set(key, value)));
  }

  async count(encoderId: EncoderId): Promise<number> {
    const wanted = this.#keyOf(statesOf(encoderPrefix(encoderId)));
    const pattern = globOf(wanted);
    // SCAN may give a key more than once.
    const found = new Set<string>();
    let cursor = '0';
    do {
      // Typed for patterns that are text; this one is bytes.
      const [next, keys] = (await this.#ask('counting states', () =>
        this.#redis.callBuffer('SCAN', cursor, 'MATCH', pattern, 'COUNT', SCAN_COUNT),
      )) as [Buffer, Buffer[]];
      for (const key of keys) found.add(key.toString('latin1'));
      cursor = next.toString();
    } while (cursor !== '0');
    return found.size;
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#redis.disconnect();
    return Promise.resolve();
  }

  /** Optimistic: keys that somebody else changes between reading and writing are read again. */
  async #change(
    userIds: readonly UserId[],
    change: (user: UserId, history: UserHistory | undefined) => UserHistory,
  ): Promise<void> {
    if (userIds.length === 0) return;
    const keys = userIds.map((user) => this.#keyOf(historyKey(user)));
    for (let attempt = 0; attempt < CHANGE_ATTEMPTS; attempt++) {
      const done = await this.#ask('changing histories', async () => {
        await this.#soon(this.#redis.watch(...keys));
        let values: Buffer[];
        try {
          const records = await this.#soon(this.#redis.mgetBuffer(keys));
          values = userIds.map((user, i) =>
            encodeHistory(change(user, historyIn(records[i], user))),
          );
        } catch (error) {
          await this.#soon(this.#redis.unwatch());
          throw error;
        }
        const transaction = this.#redis.multi();
        for (const [i, key] of keys.entries()) transaction.set(key, values[i]!);
        return (await this.#soon(transaction.exec())) !== null;
      });
      if (done) return;
    }
    throw this.#unavailable(`changing ${userIds.length} histories that others go on changing`);
  }

  /** A call, or at once the error that it would come to while Redis is known to be away. */
  async #ask<T>(doing: string, call: () => Promise<T>): Promise<T> {
    if (this.#closed) throw this.#unavailable(`${doing} after close()`);
    try {
      return await this.#breaker.run(call, () => {
        throw this.#unavailable(`${doing} while it does not answer`);
      });
    } catch (error) {
      if (error instanceof TandemError) throw error;
      throw this.#unavailable(doing, error);
    }
  }

  /**
   * An answer, or a rejection when it takes longer than timeoutMs.
   *
   * ioredis's own commandTimeout counts what this event loop was busy with: the answer may lie unread in the socket while its
   * timer is over. Sockets come before setImmediate.
   */
  #soon<T>(answer: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        setImmediate(() => {
          reject(new Error(`no answer within ${this.#timeoutMs} ms`));
        });
      }, this.#timeoutMs);
      void answer.then(resolve, reject).finally(() => {
        clearTimeout(timer);
      });
    });
  }

  #unavailable(doing: string, error?: unknown): TandemError {
    const reason = this.#connectionError ?? error;
    const because = reason === undefined ? '' : `: ${messageOf(reason)}`;
    return new TandemError(
      'ERR_STORE_UNAVAILABLE',
      `Expected the feature store at ${this.#name} to answer, but ${doing} failed${because}. Check that Redis runs, its address, password and memory.`,
      { details: { store: this.#name } },
    );
  }

  #keyOf(key: Buffer): Buffer {
    return Buffer.concat([this.#namespace, key]);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

function historyIn(record: Buffer | null | undefined, user: UserId): UserHistory | undefined {
  return record === null || record === undefined ? undefined : decodeHistory(record, user);
}

/** A pattern of SCAN for keys that begin with these bytes. */
function globOf(bytes: Buffer): Buffer {
  const escaped: number[] = [];
  for (const byte of bytes) {
    if ('\\*?[]^-'.includes(String.fromCharCode(byte))) escaped.push(0x5c);
    escaped.push(byte);
  }
  return Buffer.from([...escaped, '*'.charCodeAt(0)]);
}
