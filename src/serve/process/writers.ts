// What a server writes: events and items that arrive by HTTP. The leading event loop has the
// writers.

import type { ServerSettings } from '../../config.ts';
import type { FeatureStore } from '../../store/store.ts';
import type { ItemOverlays } from '../engine/item-overlays.ts';
import type { ServedBundles } from '../engine/served-bundles.ts';
import { FreshEvents, type IngestReport } from '../ingest/fresh-events.ts';
import { FreshItems, type ItemsReport } from '../ingest/fresh-items.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { ChangedItem, IngestedEvent } from '../request/request-types.ts';

export interface Writers {
  /** Undefined when the setting freshEvents is off. */
  readonly ingest: ((events: readonly IngestedEvent[]) => Promise<IngestReport>) | undefined;
  /** Undefined when the setting freshItems is off. */
  readonly changeItems: ((items: readonly ChangedItem[]) => Promise<ItemsReport>) | undefined;
}

export interface OpenWriters extends Writers {
  /** Stops following the store and waits for writes under way. */
  close(): Promise<void>;
}

/**
 * Opens the writers that the settings ask for. Items that are in the store are served when it
 * resolves.
 */
export async function openWriters(
  settings: ServerSettings,
  bundles: ServedBundles,
  overlays: ItemOverlays,
  store: FeatureStore,
  metrics: ServerMetrics,
): Promise<OpenWriters> {
  const events =
    settings.freshEvents === 'on' ? new FreshEvents(bundles, store, metrics) : undefined;
  const items =
    settings.freshItems === 'on' ? new FreshItems(bundles, overlays, store, metrics) : undefined;
  await items?.follow();
  return {
    ingest: events && ((ingested) => events.ingest(ingested)),
    changeItems: items && ((changed) => items.change(changed)),
    close: async () => {
      await items?.close();
    },
  };
}
