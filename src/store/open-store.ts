// Opens the store at a location: Redis for a redis:// or rediss:// URL, LMDB for a directory.

import { TandemError } from '../errors.ts';
import { withoutSecrets } from './redis-location.ts';
import type { FeatureStore } from './store.ts';

const REDIS = /^rediss?:\/\//;
/** A batch job waits for a busy Redis; a server passes a shorter timeout. */
const JOB_TIMEOUT_MS = 10_000;

/** Options of openStore(). */
export interface OpenStoreOptions {
  /** For LMDB alone; in Redis, the login decides who may write. Default false. */
  readonly readOnly?: boolean;
  /** Longest time that one command of Redis may take. Default 10,000 ms, which suits batch jobs. */
  readonly timeoutMs?: number;
}

/** Whether a location is a URL of Redis. */
export function isRedis(location: string): boolean {
  return REDIS.test(location);
}

/**
 * Opens a feature store; close() it.
 *
 * @throws TandemError ERR_STORE_UNAVAILABLE when LMDB cannot be opened; ERR_CONFIG_INVALID for a
 *   URL that is not one of Redis.
 */
export async function openStore(
  location: string,
  { readOnly = false, timeoutMs = JOB_TIMEOUT_MS }: OpenStoreOptions = {},
): Promise<FeatureStore> {
  // Imported on demand, so that a process loads only the client that it uses.
  if (isRedis(location))
    return (await import('./redis-store.ts')).RedisStore.open(location, timeoutMs);
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(location))
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      'Expected a directory, redis://host:port/database or rediss:// as feature store, ' +
        `received ${withoutSecrets(location)}.`,
      { details: { setting: 'store' } },
    );
  return (await import('./lmdb-store.ts')).LmdbStore.open(location, { readOnly });
}
