// The engines that answer requests, and the summary of them that the metrics show.

import type { BundlesSummary } from '../metrics/metrics.ts';
import type { Engine } from './engine.ts';

/** The engines that answer requests. A micro-batch reads them once, at its start. */
export interface Served {
  readonly active: Engine;
  /** The bundle before the active one, for users whose state was made by its encoder. */
  readonly previous: Engine | undefined;
}

/** The served bundles as metrics show them. */
export function summarise({ active, previous }: Served): BundlesSummary {
  const { items } = active;
  return {
    bundles: [describe('active', active), ...(previous ? [describe('previous', previous)] : [])],
    freshItems: items.count - items.base.count,
    itemTombstones: items.overlay.tombstones.length,
    skippedItemChanges: items.overlay.skipped,
  };
}

function describe(role: 'active' | 'previous', engine: Engine): BundlesSummary['bundles'][number] {
  const { bundleId, encoderId } = engine.bundle.manifest;
  return { role, bundleId, encoderId };
}
