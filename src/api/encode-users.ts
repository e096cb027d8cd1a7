// The job of tandem encode users: histories of a dataset become user states in a feature store.

import type { BackendName } from '../backend/backends.ts';
import type { EncodeEngine } from '../encode/open-encoder.ts';
import type { EncodeUsersReport } from '../encode/users.ts';
import type { Precision } from '../native/isa.ts';
import type { FeatureStore } from '../store/store.ts';
import { openStore } from '../store/open-store.ts';
import { loadOffline } from '../platform/offline-package.ts';
import { reportProgressTo } from '../telemetry.ts';
import type { JobOptions } from './job-options.ts';

/** Whose histories to encode, and where to store the states. */
export interface EncodeUsersOptions extends JobOptions {
  /** Directory of the dataset. */
  readonly dataset: string;
  /** A bundle directory, or a directory of bundles with a current one. */
  readonly bundles: string;
  /** Location of the feature store (see openStore()), or an open store, which stays open. */
  readonly store: string | FeatureStore;
  /**
   * Unix seconds: encode all users with an event at or after this time. Default: users whose states
   * are not up to date.
   */
  readonly sinceSeconds?: number;
  /** Unix seconds: use only events before this time. Default: all events. */
  readonly untilSeconds?: number;
  /** The code that computes the states. Default `native`. */
  readonly engine?: EncodeEngine;
  /** Number format of the operands of the native engine. Default `f32`. */
  readonly precision?: Precision;
  /** Backend of the engine tfjs. Default `native`. */
  readonly backend?: BackendName;
  /**
   * Whether to store each user's newest events, too, which a server needs to encode fresh events.
   * Default false.
   */
  readonly histories?: boolean;
}

/**
 * Encodes users with new activity into the feature store. A process that was killed encodes the
 * remaining users when it calls this again.
 *
 * @throws TandemError ERR_DATASET_INVALID when the bundle knows no item of the events;
 *   ERR_INVALID_ARGUMENT for bf16 with engine tfjs, or a backend with engine native;
 *   ERR_BUNDLE_NOT_FOUND, ERR_BUNDLE_INVALID, ERR_DATASET_NOT_FOUND, ERR_BACKEND_UNAVAILABLE;
 *   ERR_STORE_UNAVAILABLE; ERR_PACKAGE_MISSING without tandem-offline.
 */
export async function encodeUsers(options: EncodeUsersOptions): Promise<EncodeUsersReport> {
  const [users, { loadBundle }, { readDataset }] = await loadOffline('tandem encode', () =>
    Promise.all([
      import('../encode/users.ts'),
      import('../bundle/load.ts'),
      import('../data/read-dataset.ts'),
    ]),
  );
  const { onProgress, bundles, dataset, store: place, ...rest } = options;
  const inputs = {
    ...rest,
    bundle: await loadBundle(bundles),
    dataset: await readDataset(dataset),
  };
  const store = typeof place === 'string' ? await openStore(place) : place;
  try {
    return await reportProgressTo(onProgress, () => users.encodeUsers({ ...inputs, store }));
  } finally {
    if (store !== place) await store.close();
  }
}
