// Merges the histories in the store with the events of a dataset. Each of them may have events that
// the other does not have yet.

import type { Bundle } from '../bundle/load.ts';
import { EventRows } from '../bundle/weights/event-rows.ts';
import type { Dataset } from '../data/dataset.ts';
import type { EventRange } from '../features/user-state.ts';
import type { UserId } from '../ids.ts';
import { mergeEvents, type HistoryEvent } from '../store/history.ts';
import type { HistoryStore } from '../store/store.ts';

export interface MergeSources {
  readonly bundle: Bundle;
  readonly dataset: Dataset;
  readonly store: HistoryStore;
}

export interface UserToMerge {
  readonly id: UserId;
  /** Row of the dataset's users. */
  readonly user: number;
  /** Unix seconds of the newest event to use; later events of the dataset are left out. */
  readonly lastEventSeconds: number;
}

/**
 * Adds a dataset's events to the histories in the store.
 *
 * A history keeps T + 1 events: the gap of the oldest event that is encoded is counted from the
 * event before it.
 *
 * @returns for each user, the events of both sources whose items the bundle knows. A user without
 *   such an event is missing.
 */
export async function mergeHistories(
  sources: MergeSources,
  users: readonly UserToMerge[],
): Promise<ReadonlyMap<UserId, EventRange>> {
  const { bundle, store } = sources;
  const merged = new Map<UserId, EventRange>();
  if (users.length === 0) return merged;
  const rows = new EventRows(bundle);
  const maxEvents = bundle.manifest.model.maxHistory + 1;
  const events = new Map(
    users.map((user) => [user.id, newestEvents(sources, user, maxEvents)] as const),
  );
  await store.changeHistories([...events.keys()], (id, history) => {
    const { events: together } = mergeEvents(history?.events ?? [], events.get(id)!, maxEvents);
    const columns = rows.columns(together);
    const end = columns.times.length;
    // The newest events may all be of items that the bundle does not know, since events over HTTP
    // name any item. The caller then encodes the dataset's events alone.
    if (end > 0) merged.set(id, { columns, begin: 0, end });
    return { complete: true, events: together };
  });
  return merged;
}

/**
 * A user's newest events of the dataset, by name, oldest first.
 *
 * Events of items that the bundle does not know are left out, because they would take the place of
 * events that it can encode. A later bundle that knows these items finds the events in the data.
 */
function newestEvents(
  { bundle, dataset }: MergeSources,
  { user, lastEventSeconds }: UserToMerge,
  maxEvents: number,
): HistoryEvent[] {
  const { events, items } = dataset;
  const newest: HistoryEvent[] = [];
  for (let i = events.userOffsets[user + 1]! - 1; i >= events.userOffsets[user]!; i--) {
    if (newest.length === maxEvents) break;
    const item = items.ids[events.items[i]!]!;
    const time = events.times[i]!;
    if (time > lastEventSeconds || bundle.catalogue.row(item) < 0) continue;
    newest.push({ item, action: events.actionNames[events.actions[i]!]!, time, id: '' });
  }
  return newest.reverse();
}
