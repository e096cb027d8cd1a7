import type { Engine } from './engine.ts';
import type { BundlesSummary } from '../metrics/metrics.ts';

/** The engines that answer requests. A micro-batch takes them once, at its start. */
export interface Served {
  readonly active: Engine;
  /** The bundle before the active one, for users whose state belongs to its encoder. */
  readonly previous: Engine | undefined;
}

/** What the metrics show of the served bundles. */
export function summarise({ active, previous }: Served): BundlesSummary {
  const { items } = active;
  return {
    bundles: [describe('active', active), ...(previous ? [describe('previous', previous)] : [])],
    freshItems: items.count - items.base.count,
    itemTombstones: items.overlay.tombstones.length,
  };
}

function describe(role: 'active' | 'previous', engine: Engine): BundlesSummary['bundles'][number] {
  const { bundleId, encoderId } = engine.bundle.manifest;
  return { role, bundleId, encoderId };
}
