// The job of tandem encode items: a training run gets its item vectors and an index.

import type { IndexSettings } from '../retrieval/approximate-index.ts';
import type { IndexKind } from '../retrieval/search-plan.ts';
import { loadOffline } from '../platform/offline-package.ts';
import { reportProgressTo } from '../telemetry.ts';
import type { JobOptions } from './job-options.ts';

/** Which run gets vectors and index. */
export interface EncodeItemsOptions extends JobOptions {
  /** Directory of a finished run. Vectors and index are written there, unless it has them. */
  readonly checkpoint: string;
  /** Default `clusters`. */
  readonly index?: IndexKind;
}

/**
 * Computes the item vectors of a finished run and builds an index over them. publish() does the
 * same when they are missing.
 *
 * @returns the settings of the index, with its measured recall.
 * @throws TandemError ERR_CHECKPOINT_INVALID when the run is not finished; ERR_NATIVE_UNAVAILABLE;
 *   ERR_PACKAGE_MISSING without tandem-offline.
 */
export async function encodeItems(options: EncodeItemsOptions): Promise<IndexSettings> {
  const items = await loadOffline('tandem encode', () => import('../encode/items.ts'));
  const { index } = await reportProgressTo(options.onProgress, () =>
    items.encodeItems(options.checkpoint, options.index),
  );
  return index;
}
