// Merges the events of a dataset with the histories in the store. Each of them may have events that
// the other does not have yet.

import type { Bundle } from '../bundle/load.ts';
import { EventRows } from '../bundle/weights/event-rows.ts';
import type { Dataset } from '../data/dataset.ts';
import type { EventRange } from '../features/user-state.ts';
import type { UserId } from '../ids.ts';
import { mergeEvents, type HistoryEvent, type UserHistory } from '../store/history.ts';
import type { HistoryStore } from '../store/store.ts';
import { latestSeconds } from '../time.ts';

/** A user of the dataset. */
export interface UserToMerge {
  readonly id: UserId;
  /** Row of the dataset's users. */
  readonly user: number;
  /** Time of the newest event to use; later events of the dataset are left out. */
  readonly lastEventSeconds: number;
}

export class HistoryMerger {
  readonly #bundle: Bundle;
  readonly #dataset: Dataset;
  readonly #rows: EventRows;
  readonly #maxEvents: number;

  constructor({ bundle, dataset }: { readonly bundle: Bundle; readonly dataset: Dataset }) {
    this.#bundle = bundle;
    this.#dataset = dataset;
    this.#rows = new EventRows(bundle);
    this.#maxEvents = bundle.manifest.model.maxHistory + 1;
  }

  /** The events of a history whose items the bundle knows. */
  known(history: UserHistory): EventRange {
    return this.#rangeOf(history.events);
  }

  /** The events of both sources whose items the bundle knows. */
  merged(user: UserToMerge, history: UserHistory): EventRange {
    return this.#rangeOf(this.#merge(user, history));
  }

  /**
   * Adds the dataset's events of users to their histories in the store, in one transaction.
   *
   * A history keeps the T + 1 newest events: the gap of the oldest event that is encoded is counted
   * from the event before it.
   *
   * @returns for each user, the events of both sources whose items the bundle knows.
   */
  async write(
    store: HistoryStore,
    users: readonly UserToMerge[],
  ): Promise<ReadonlyMap<UserId, EventRange>> {
    const merged = new Map<UserId, EventRange>();
    if (users.length === 0) return merged;
    const byId = new Map(users.map((user) => [user.id, user]));
    await store.changeHistories([...byId.keys()], (id, history) => {
      const events = this.#merge(byId.get(id)!, history);
      merged.set(id, this.#rangeOf(events));
      return { complete: true, events: events.slice(-this.#maxEvents) };
    });
    return merged;
  }

  /**
   * The events of both sources, at most T + 1 of each: events over HTTP name any item, and those of
   * unknown items must not take the place of events that the bundle can encode. Events of one
   * second have the order of the dataset, so that a state does not depend on the order in which
   * events arrived.
   */
  #merge(user: UserToMerge, history: UserHistory | undefined): readonly HistoryEvent[] {
    const own = this.#newestEvents(user);
    // An older version may have stored events of the future, which would stay the newest for ever.
    // Positions are no times: those of the dataset replace those of an earlier one.
    const from = this.#dataset.hasTime ? -Infinity : user.lastEventSeconds;
    const latest = latestSeconds();
    const stored = (history?.events ?? []).filter(({ time }) => time > from && time <= latest);
    return mergeEvents(own, stored, own.length + stored.length).events;
  }

  #rangeOf(events: readonly HistoryEvent[]): EventRange {
    const columns = this.#rows.columns(events);
    return { columns, begin: 0, end: columns.times.length };
  }

  /**
   * A user's newest events of the dataset, by name, oldest first.
   *
   * Events of items that the bundle does not know are left out, because they would take the place
   * of events that it can encode. A later bundle that knows these items finds them in the data.
   */
  #newestEvents({ user, lastEventSeconds }: UserToMerge): HistoryEvent[] {
    const { events, items } = this.#dataset;
    const newest: HistoryEvent[] = [];
    for (let i = events.userOffsets[user + 1]! - 1; i >= events.userOffsets[user]!; i--) {
      if (newest.length === this.#maxEvents) break;
      const item = items.ids[events.items[i]!]!;
      const time = events.times[i]!;
      if (time > lastEventSeconds || this.#bundle.catalogue.row(item) < 0) continue;
      newest.push({ item, action: events.actionNames[events.actions[i]!]!, time, id: '' });
    }
    return newest.reverse();
  }
}
