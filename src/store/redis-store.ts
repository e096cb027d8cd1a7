// User states in Redis: the records and keys of every other store, for servers that share one. A Redis that is down, stopped or out of reach
// costs the history of users and the command timeout, never an answer: calls fail at once while it is known to be away.

import { Redis } from 'ioredis';
import { TandemError } from '../errors.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { logger } from '../telemetry.ts';
import {
  decodeRecord,
  decodeWatermark,
  encodeRecord,
  encodeWatermark,
  encoderPrefix,
  writeMissing,
} from './codec.ts';
import { decodeHistory, encodeHistory, type UserHistory } from './history.ts';
import { historyKey, stateKey, statesOf, watermarkKey } from './keys.ts';
import { withoutSecrets } from './redis-location.ts';
import type { StateBatch, UserState, UserStateStore } from './store.ts';

/** What keys begin with, so that a database may hold other things, too. */
const NAMESPACE = Buffer.from('tandem:');
/** Records of one command: bounds how long Redis answers nobody else. */
const ENTRIES_PER_COMMAND = 512;
const SCAN_COUNT = 1000;
/** After so many failures in a row nothing is asked for a while, and then one call tries. */
const FAILURES_TO_OPEN = 3;
const OPEN_MS = 1000;
const LONGEST_RECONNECT_MS = 1000;
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
  /** Where it is, without the password. */
  readonly #name: string;
  /** Changes of histories watch keys, and a connection has one set of those. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #failures = 0;
  #openUntilMs = -Infinity;
  #closed = false;

  private constructor(redis: Redis, name: string) {
    this.#redis = redis;
    this.#name = name;
  }

  /**
   * Connects; a Redis that is away is tried again in the background, and calls fail until it is there.
   *
   * @param url - redis:// or rediss:// (TLS), with user, password, port and database as usual.
   * @param timeoutMs - that a command may take.
   * @throws TandemError ERR_CONFIG_INVALID for something that is no such URL.
   */
  static async open(url: string, timeoutMs: number): Promise<RedisStore> {
    const name = withoutSecrets(url);
    if (!URL.canParse(url))
      throw new TandemError(
        'ERR_CONFIG_INVALID',
        `Expected a URL such as redis://host:6379/0 for the feature store, received ${name}.`,
        { details: { setting: 'store' } },
      );
    const redis = new Redis(url, {
      lazyConnect: true,
      commandTimeout: timeoutMs,
      connectTimeout: Math.max(timeoutMs, LONGEST_RECONNECT_MS),
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      retryStrategy: (attempt) => Math.min(LONGEST_RECONNECT_MS, 50 * attempt),
    });
    // Every failed call says so itself; without a listener a lost connection would end the process.
    redis.on('error', () => undefined);
    await redis.connect().catch((error: unknown) => {
      // Its text alone: an error of Redis brings along the command that it is about, and that of a login has the password.
      const reason = error instanceof Error ? error.message : '';
      logger.error({ store: name, reason }, 'Redis does not answer yet');
    });
    return new RedisStore(redis, name);
  }

  async read(encoderId: EncoderId, userIds: readonly UserId[], out: StateBatch): Promise<void> {
    const prefix = encoderPrefix(encoderId);
    const keys = userIds.map((user) => keyOf(stateKey(prefix, user)));
    const records =
      keys.length === 0
        ? []
        : await this.#ask('reading states', () => this.#redis.mgetBuffer(keys));
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
      key: keyOf(stateKey(prefix, user)),
      value: encodeRecord(prefix, state, user),
    }));
    for (let begin = 0; begin < records.length; begin += ENTRIES_PER_COMMAND) {
      const part = records.slice(begin, begin + ENTRIES_PER_COMMAND);
      await this.#ask('writing states', () =>
        this.#redis.eval(
          PUT_UNLESS_OLDER,
          part.length,
          ...part.map(({ key }) => key),
          ...part.map(({ value }) => value),
        ),
      );
    }
  }

  async readHistories(userIds: readonly UserId[]): Promise<(UserHistory | undefined)[]> {
    if (userIds.length === 0) return [];
    const keys = userIds.map((user) => keyOf(historyKey(user)));
    const records = await this.#ask('reading histories', () => this.#redis.mgetBuffer(keys));
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

  async readWatermark(encoderId: EncoderId): Promise<number | undefined> {
    const key = keyOf(watermarkKey(encoderId));
    const value = await this.#ask('reading a watermark', () => this.#redis.getBuffer(key));
    return value === null ? undefined : decodeWatermark(value, encoderId);
  }

  async writeWatermark(encoderId: EncoderId, untilSeconds: number): Promise<void> {
    const value = encodeWatermark(untilSeconds);
    const key = keyOf(watermarkKey(encoderId));
    await this.#ask('writing a watermark', () => this.#redis.set(key, value));
  }

  async count(encoderId: EncoderId): Promise<number> {
    const wanted = keyOf(statesOf(encoderPrefix(encoderId)));
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
    const keys = userIds.map((user) => keyOf(historyKey(user)));
    for (let attempt = 0; attempt < CHANGE_ATTEMPTS; attempt++) {
      const done = await this.#ask('changing histories', async () => {
        await this.#redis.watch(...keys);
        let values: Buffer[];
        try {
          const records = await this.#redis.mgetBuffer(keys);
          values = userIds.map((user, i) =>
            encodeHistory(change(user, historyIn(records[i], user))),
          );
        } catch (error) {
          await this.#redis.unwatch();
          throw error;
        }
        const transaction = this.#redis.multi();
        for (const [i, key] of keys.entries()) transaction.set(key, values[i]!);
        return (await transaction.exec()) !== null;
      });
      if (done) return;
    }
    throw this.#unavailable(`changing ${userIds.length} histories that others go on changing`);
  }

  /**
   * A call, or at once the error that it would come to while Redis is known to be away.
   *
   * @see Nygard, Release It!, the circuit breaker.
   */
  async #ask<T>(doing: string, call: () => Promise<T>): Promise<T> {
    if (this.#closed) throw this.#unavailable(`${doing} after close()`);
    const nowMs = performance.now();
    if (nowMs < this.#openUntilMs) throw this.#unavailable(`${doing} while it does not answer`);
    // One tries; the others go on failing at once until it is back.
    if (this.#failures >= FAILURES_TO_OPEN) this.#openUntilMs = nowMs + OPEN_MS;
    try {
      const result = await call();
      this.#failures = 0;
      this.#openUntilMs = -Infinity;
      return result;
    } catch (cause) {
      if (cause instanceof TandemError) throw cause;
      // What Redis says to a command is an answer; a command that it did not answer is none.
      if (!isReply(cause) && ++this.#failures >= FAILURES_TO_OPEN) {
        this.#openUntilMs = performance.now() + OPEN_MS;
        // A connection on which nothing comes back is not waited for: the network may have lost its other end.
        this.#redis.disconnect(true);
      }
      throw this.#unavailable(doing, cause);
    }
  }

  #unavailable(doing: string, cause?: unknown): TandemError {
    const reason = cause instanceof Error ? `: ${cause.message}` : '';
    return new TandemError(
      'ERR_STORE_UNAVAILABLE',
      `Expected the feature store at ${this.#name} to answer, but ${doing} failed${reason}. Check that Redis runs, its address and its memory.`,
      { cause, details: { store: this.#name } },
    );
  }
}

function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}

function historyIn(record: Buffer | null | undefined, user: UserId): UserHistory | undefined {
  return record === null || record === undefined ? undefined : decodeHistory(record, user);
}

function keyOf(key: Buffer): Buffer {
  return Buffer.concat([NAMESPACE, key]);
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
