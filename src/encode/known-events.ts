// The events of a dataset in the rows of a bundle.

import type { Bundle } from '../bundle/load.ts';
import type { Dataset } from '../data/dataset.ts';
import { TandemError } from '../errors.ts';
import { ActionRows } from '../features/action-rows.ts';
import type { EventColumns } from '../features/sequence.ts';

/** A dataset's events in the rows of a bundle, without events of items that it does not know. */
export interface KnownEvents {
  readonly columns: EventColumns & { readonly times: Float64Array };
  /** [users + 1]: the events of user u are [offsets[u], offsets[u + 1]). */
  readonly offsets: Int32Array;
  /** Number of events that were left out. */
  readonly unknown: number;
}

/** @throws TandemError ERR_DATASET_INVALID when the bundle knows no item of the events. */
export function knownEvents(bundle: Bundle, dataset: Dataset): KnownEvents {
  const { events } = dataset;
  const rows = dataset.items.ids.map((id) => bundle.catalogue.row(id));
  const allActions = new ActionRows(bundle.schema).column(events);
  const items = new Int32Array(events.count);
  const actions = new Int32Array(events.count);
  const times = new Float64Array(events.count);
  const offsets = new Int32Array(dataset.users.count + 1);
  let kept = 0;
  for (let user = 0; user < dataset.users.count; user++) {
    for (let i = events.userOffsets[user]!; i < events.userOffsets[user + 1]!; i++) {
      const row = rows[events.items[i]!]!;
      if (row < 0) continue;
      items[kept] = row;
      actions[kept] = allActions[i]!;
      times[kept] = events.times[i]!;
      kept++;
    }
    offsets[user + 1] = kept;
  }
  if (kept === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected events of the ${bundle.catalogue.count} items of bundle ` +
        `${bundle.manifest.bundleId.slice(0, 16)} in dataset "${dataset.name}", found none in ` +
        `${events.count}. Encode the data that the bundle was trained on.`,
    );
  return {
    columns: {
      items: items.subarray(0, kept),
      actions: actions.subarray(0, kept),
      times: times.subarray(0, kept),
    },
    offsets,
    unknown: events.count - kept,
  };
}
