// Copies some users of several shards into one dataset, which stays in memory when the shards are
// released.

import type { Dataset, ItemTable, UserTable } from './dataset.ts';

/**
 * Copies users with their events and attributes, one at a time; memory grows with their events
 * alone.
 */
export class UserGatherer {
  readonly #userOffsets: number[] = [0];
  readonly #users: { ids: string[]; ages: number[]; genders: string[]; countries: string[] } = {
    ids: [],
    ages: [],
    genders: [],
    countries: [],
  };
  readonly #events: Record<'users' | 'items' | 'times' | 'actions' | 'values', number[]> = {
    users: [],
    items: [],
    times: [],
    actions: [],
    values: [],
  };

  /**
   * Copies a user.
   *
   * @param user - row in `from`.
   * @returns the user's row in the new dataset, and where the user's events begin there.
   */
  add(from: Dataset, user: number): { user: number; begin: number } {
    const row = this.#users.ids.length;
    const begin = this.#userOffsets[row]!;
    for (const column of ['ids', 'genders', 'countries'] as const)
      this.#users[column].push(from.users[column][user]!);
    this.#users.ages.push(from.users.ages[user]!);
    const { userOffsets } = from.events;
    for (let i = userOffsets[user]!; i < userOffsets[user + 1]!; i++) {
      this.#events.users.push(row);
      for (const column of ['items', 'times', 'actions', 'values'] as const)
        this.#events[column].push(from.events[column][i]!);
    }
    this.#userOffsets.push(this.#events.users.length);
    return { user: row, begin };
  }

  /**
   * The users so far as a dataset without requests.
   *
   * @param source - the dataset that the users come from.
   */
  dataset(
    source: Pick<Dataset, 'name' | 'digest' | 'hasTime' | 'testFrom'> & {
      readonly items: ItemTable;
      readonly actionNames: readonly string[];
    },
  ): Dataset {
    const { name, digest, hasTime, testFrom, items, actionNames } = source;
    const users: UserTable = {
      ...this.#users,
      count: this.#users.ids.length,
      ages: Float32Array.from(this.#users.ages),
    };
    return {
      name,
      directory: '',
      digest,
      items,
      users,
      events: {
        count: this.#events.users.length,
        users: Int32Array.from(this.#events.users),
        items: Int32Array.from(this.#events.items),
        times: Float64Array.from(this.#events.times),
        actions: Int32Array.from(this.#events.actions),
        values: Float32Array.from(this.#events.values),
        actionNames,
        userOffsets: Int32Array.from(this.#userOffsets),
      },
      requests: [],
      hasTime,
      testFrom,
    };
  }
}
