// The feature store in Redis, for servers that share one: the same records and keys as in every
// other store. While Redis is down, stopped or out of reach, users are served as cold starts; the
// first calls wait for the timeout, later calls fail at once.

import { Redis } from 'ioredis';
import { TandemError } from '../errors.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { SerialQueue } from '../serial-queue.ts';
import { logger } from '../telemetry.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import {
  decodeRecord,
  decodeWatermark,
  encodeHistoryDigest,
  encodeRecord,
  encodeWatermark,
  encoderPrefix,
  makeSummary,
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
import { isRefusedDatabase, isReply, reasonOf, redisRemedy } from './redis-errors.ts';
import { parseRedisLocation, withoutSecrets } from './redis-location.ts';
import { PUT_UNLESS_OLDER, READ_SUMMARIES } from './redis-scripts.ts';
import { markMissing, type StateBatch } from './state-batch.ts';
import type { FeatureStore, HistoryChange, UserStateEntry } from './store.ts';

/** Records of one command: bounds how long one command keeps Redis from answering others. */
const ENTRIES_PER_COMMAND = 512;
const SCAN_COUNT = 1000;
const FAILURES_TO_OPEN = 3;
const RETRY_MS = 1000;
const FIRST_RECONNECT_MS = 50;
const LONGEST_RECONNECT_MS = 1000;
/**
 * A connection on which nothing arrives for so long is closed; the kernel alone would go on trying
 * for a quarter of an hour. A longer timeout of commands takes its place.
 */
const LEAST_SILENCE_MS = 1000;
/** Attempts to change histories: each fails when another process changes one of them meanwhile. */
const CHANGE_ATTEMPTS = 20;
export class RedisStore implements FeatureStore {
  readonly #redis: Redis;
  /** The location without user and password. */
  readonly #name: string;
  /** Every key begins with it, so that a database may hold other data, too. */
  readonly #namespace: Buffer;
  readonly #timeoutMs: number;
  readonly #breaker = new CircuitBreaker({
    failures: FAILURES_TO_OPEN,
    retryMs: RETRY_MS,
    // An error that Redis replies with is an answer; a command without a reply is a failure.
    isFailure: (error) => !(error instanceof TandemError) && !isReply(error),
  });
  /** The reason why there is no connection; undefined while there is one. */
  #connectionError: Error | undefined;
  /**
   * Why Redis refused the database of the location. While it is set, the connection is in database
   * 0, where this store must not read or write.
   */
  #refusedDatabase: Error | undefined;
  /**
   * One change of histories at a time: a change watches keys, and a connection has one watched set.
   */
  readonly #changes = new SerialQueue();
  #closed = false;

  private constructor(location: string, timeoutMs: number) {
    const { prefix, tls, username, password, host, port, db } = parseRedisLocation(location);
    const silenceMs = Math.max(timeoutMs, LEAST_SILENCE_MS);
    this.#name = withoutSecrets(location);
    this.#namespace = Buffer.from(prefix);
    this.#timeoutMs = timeoutMs;
    this.#redis = new Redis({
      host,
      port,
      db,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(tls && { tls: {} }),
      lazyConnect: true,
      connectTimeout: silenceMs,
      socketTimeout: silenceMs,
      // A command that cannot be sent, or was sent on a connection that broke, fails at once.
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      retryStrategy: (attempt) =>
        Math.min(LONGEST_RECONNECT_MS, FIRST_RECONNECT_MS * 2 ** (attempt - 1)),
    });
    // Each failed call reports its own error. Without a listener, a lost connection would end the
    // process.
    this.#redis.on('error', (error: Error) => {
      this.#connectionError = error;
      if (isRefusedDatabase(error)) this.#refusedDatabase = error;
    });
    this.#redis.on('connect', () => {
      this.#refusedDatabase = undefined;
    });
    this.#redis.on('close', () => {
      this.#connectionError ??= new Error('the connection was closed');
    });
    this.#redis.on('ready', () => {
      this.#connectionError = undefined;
    });
  }

  /**
   * Connects. When Redis does not answer, the store goes on trying in the background, and calls
   * fail until there is a connection.
   *
   * @param location - redis://[user:password@]host[:port][/database][?prefix=...], or rediss:// for
   *   TLS.
   * @param timeoutMs - longest time to wait for the answer of a command.
   * @throws TandemError ERR_CONFIG_INVALID for any other location, and for a database that Redis
   *   refuses.
   */
  static async open(location: string, timeoutMs: number): Promise<RedisStore> {
    const store = new RedisStore(location, timeoutMs);
    await store.#redis.connect().catch((error: unknown) => {
      // Only the message: the error holds the failed command, and that of a login holds the
      // password.
      const reason = reasonOf(store.#connectionError ?? error);
      logger.error({ store: store.#name, reason }, 'Redis does not answer yet');
    });
    const refused = store.#refusedDatabase;
    if (refused === undefined) return store;
    await store.close();
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected the database of ${store.#name} in Redis, but selecting it failed: ` +
        `${reasonOf(refused)}. ${redisRemedy(reasonOf(refused))}`,
      { details: { setting: 'store' } },
    );
  }

  async read(encoderId: EncoderId, userIds: readonly UserId[], out: StateBatch): Promise<void> {
    const prefix = encoderPrefix(encoderId);
    const keys = userIds.map((user) => this.#keyOf(stateKey(prefix, user)));
    const records =
      keys.length === 0
        ? []
        : await this.#ask('reading states', () => this.#soon(this.#redis.mgetBuffer(keys)));
    for (const [i, user] of userIds.entries()) {
      const record = records[i];
      if (record === null || record === undefined || !decodeRecord(record, prefix, user, out, i))
        markMissing(out, i);
    }
  }

  async write(encoderId: EncoderId, entries: readonly UserStateEntry[]): Promise<void> {
    const prefix = encoderPrefix(encoderId);
    const records = entries.map(({ user, state, historyDigest, replaces }) => {
      const record = encodeRecord(prefix, state, user);
      const digest =
        historyDigest === undefined ? EMPTY : encodeHistoryDigest(historyDigest, record);
      return { user, values: [record, digest, checksumBytes(replaces)] };
    });
    for (let begin = 0; begin < records.length; begin += ENTRIES_PER_COMMAND) {
      const part = records.slice(begin, begin + ENTRIES_PER_COMMAND);
      await this.#ask('writing states', () =>
        this.#soon(
          this.#redis.eval(
            PUT_UNLESS_OLDER,
            2 * part.length,
            ...part.flatMap(({ user }) => this.#stateKeys(prefix, user)),
            ...part.flatMap(({ values }) => values),
          ),
        ),
      );
    }
  }

  async readSummaries(
    encoderId: EncoderId,
    userIds: readonly UserId[],
  ): Promise<(StateSummary | undefined)[]> {
    const prefix = encoderPrefix(encoderId);
    const summaries: (StateSummary | undefined)[] = [];
    for (let begin = 0; begin < userIds.length; begin += ENTRIES_PER_COMMAND) {
      const keys = userIds
        .slice(begin, begin + ENTRIES_PER_COMMAND)
        .flatMap((user) => this.#stateKeys(prefix, user));
      const found = (await this.#ask('reading summaries of states', () =>
        this.#soon(this.#redis.callBuffer('EVAL', READ_SUMMARIES, keys.length, ...keys)),
      )) as Buffer[];
      for (const bytes of found)
        summaries.push(
          bytes.length === 0
            ? undefined
            : makeSummary(bytes.readDoubleLE(0), bytes.readUInt32LE(8), bytes.subarray(12)),
        );
    }
    return summaries;
  }

  /** Keys of a user's state and of its history digest. */
  #stateKeys(prefix: Uint8Array, user: UserId): Buffer[] {
    return [stateKey(prefix, user), historyDigestKey(prefix, user)].map((key) => this.#keyOf(key));
  }

  async readHistories(userIds: readonly UserId[]): Promise<(UserHistory | undefined)[]> {
    if (userIds.length === 0) return [];
    const keys = userIds.map((user) => this.#keyOf(historyKey(user)));
    const records = await this.#ask('reading histories', () =>
      this.#soon(this.#redis.mgetBuffer(keys)),
    );
    return userIds.map((user, i) => historyIn(records[i], user));
  }

  changeHistories(userIds: readonly UserId[], change: HistoryChange): Promise<void> {
    return this.#changes.run(() => this.#change(userIds, change));
  }

  async itemChangesVersion(): Promise<number> {
    const key = this.#keyOf(itemChangeCountKey());
    const count = await this.#ask("reading the version of items' changes", () =>
      this.#soon(this.#redis.get(key)),
    );
    return Number(count ?? 0);
  }

  /**
   * Reads the version first: changes that arrive meanwhile belong to a later version and are read
   * again.
   */
  async readItemChanges(): Promise<ItemChanges> {
    const version = await this.itemChangesVersion();
    const hash = this.#keyOf(itemChangeKeysPrefix());
    // HSCAN may return a field more than once.
    const found = new Map<string, { readonly key: Buffer; readonly value: Buffer }>();
    let cursor = '0';
    do {
      const [next, pairs] = await this.#ask('reading changes of items', () =>
        this.#redis.hscanBuffer(hash, cursor, 'COUNT', SCAN_COUNT),
      );
      for (let i = 1; i < pairs.length; i += 2) {
        const [key, value] = [pairs[i - 1]!, pairs[i]!];
        found.set(key.toString('latin1'), { key, value });
      }
      cursor = next.toString();
    } while (cursor !== '0');
    return { version, ...decodeItemChanges(found.values()) };
  }

  async writeItemChanges(changes: readonly ItemChange[]): Promise<number> {
    const hash = this.#keyOf(itemChangeKeysPrefix());
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
    const hash = this.#keyOf(itemChangeKeysPrefix());
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
    const wanted = this.#keyOf(stateKeysPrefix(encoderPrefix(encoderId)));
    const pattern = globOf(wanted);
    // SCAN may return a key more than once.
    const found = new Set<string>();
    let cursor = '0';
    do {
      // ioredis types SCAN for patterns of text; this pattern is bytes.
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

  /**
   * Optimistic locking: when another process changes a key between read and write, starts again.
   */
  async #change(userIds: readonly UserId[], change: HistoryChange): Promise<void> {
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
    throw this.#unavailable(
      `changing ${userIds.length} histories that other processes keep changing`,
    );
  }

  /** Makes a call, or throws at once while the circuit breaker takes Redis for down. */
  async #ask<T>(doing: string, call: () => Promise<T>): Promise<T> {
    if (this.#closed) throw this.#unavailable(`${doing} after close()`);
    if (this.#refusedDatabase !== undefined) throw this.#unavailable(doing, this.#refusedDatabase);
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
   * Resolves with an answer, or rejects when it takes longer than timeoutMs.
   *
   * The commandTimeout of ioredis also counts the time in which this event loop was busy: its timer
   * can fire while the answer lies unread in the socket. Here the timer waits for setImmediate,
   * before which the event loop reads sockets.
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
    const because = reason === undefined ? '' : reasonOf(reason);
    return new TandemError(
      'ERR_STORE_UNAVAILABLE',
      `Expected the feature store at ${this.#name} to answer, but ${doing} failed` +
        `${because && `: ${because}`}. ${redisRemedy(because)}`,
      { details: { store: this.#name } },
    );
  }

  #keyOf(key: Buffer): Buffer {
    return Buffer.concat([this.#namespace, key]);
  }
}

const EMPTY = Buffer.alloc(0);

/** A checksum as the bytes at the end of a record; empty for none. */
function checksumBytes(checksum: number | undefined): Buffer {
  if (checksum === undefined) return EMPTY;
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(checksum);
  return bytes;
}

/** The pattern of SCAN for keys that begin with these bytes. */
function globOf(bytes: Buffer): Buffer {
  const escaped: number[] = [];
  for (const byte of bytes) {
    if ('\\*?[]^-'.includes(String.fromCharCode(byte))) escaped.push(0x5c);
    escaped.push(byte);
  }
  return Buffer.from([...escaped, '*'.charCodeAt(0)]);
}
