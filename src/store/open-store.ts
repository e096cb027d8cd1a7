// Which store a location means: Redis for a URL of it, else a directory of LMDB.

import { TandemError } from '../errors.ts';
import { withoutSecrets } from './redis-location.ts';
import type { UserStateStore } from './store.ts';

const REDIS = /^rediss?:\/\//;
/** A batch job waits for a Redis that is busy; a server does not. */
const JOB_TIMEOUT_MS = 10_000;

export interface OpenStoreOptions {
  /** Of LMDB; a Redis knows who may write. */
  readonly readOnly?: boolean;
  /** That a command of Redis may take; that of a batch job when absent. */
  readonly timeoutMs?: number;
}

export function isRedis(location: string): boolean {
  return REDIS.test(location);
}

/** @throws TandemError ERR_STORE_UNAVAILABLE when LMDB cannot be opened; ERR_CONFIG_INVALID for a URL that is none. */
export async function openStore(
  location: string,
  { readOnly = false, timeoutMs = JOB_TIMEOUT_MS }: OpenStoreOptions = {},
): Promise<UserStateStore> {
  // Each is loaded where it is used alone.
  if (isRedis(location))
    return (await import('./redis-store.ts')).RedisStore.open(location, timeoutMs);
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(location))
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected a directory, redis://host:port/database or rediss:// as feature store, received ${withoutSecrets(location)}.`,
      { details: { setting: 'store' } },
    );
  return (await import('./lmdb-store.ts')).LmdbStore.open(location, { readOnly });
}
