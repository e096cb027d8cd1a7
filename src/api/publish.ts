// The job of tandem publish: a training run becomes a bundle.

import { checkKept, pruneBundles } from '../bundle/current.ts';
import type { PublishedBundle } from '../bundle/publish.ts';
import type { StateType } from '../features/user-state.ts';
import type { IndexKind } from '../retrieval/search-plan.ts';
import { loadOffline } from '../platform/offline-package.ts';
import { reportProgressTo } from '../telemetry.ts';
import type { JobOptions } from './job-options.ts';

/** Which run to publish, and where to. */
export interface PublishOptions extends JobOptions {
  /** Directory of a finished run. */
  readonly checkpoint: string;
  /** Directory of bundles. */
  readonly bundles: string;
  /** Default `clusters`. */
  readonly index?: IndexKind;
  /** Number format in which user states are stored. Default `f32`. */
  readonly stateType?: StateType;
  /** Whether the bundle becomes current. Default true. */
  readonly activate?: boolean;
  /** Afterwards, keep this many bundles that were current, at least 3. Default: keep all. */
  readonly keep?: number;
}

/** The published bundle, and the bundles that were deleted. */
export interface PublishReport extends PublishedBundle {
  /** Names of the bundles that were deleted. */
  readonly deleted: readonly string[];
}

/**
 * Publishes a finished run as an immutable bundle. The same run gives the same bundle.
 *
 * @throws TandemError ERR_CHECKPOINT_INVALID when the run is not finished; ERR_BUNDLE_INVALID when
 *   another bundle has its place; ERR_NON_FINITE; ERR_PACKAGE_MISSING without tandem-offline.
 * @throws RangeError for `keep` below 3.
 */
export async function publish(options: PublishOptions): Promise<PublishReport> {
  const { checkpoint, bundles, index, stateType, activate, keep } = options;
  if (keep !== undefined) checkKept(keep);
  const publishing = await loadOffline('tandem publish', () => import('../encode/publish.ts'));
  const published = await reportProgressTo(options.onProgress, () =>
    publishing.publish(checkpoint, bundles, index, stateType, activate),
  );
  const deleted = keep === undefined ? [] : pruneBundles(bundles, keep);
  return { ...published, deleted };
}
