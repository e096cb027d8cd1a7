// Builds a small dataset in memory from plain rows, as the reader would return it.

import type { Dataset, RequestRecord } from '../../src/data/dataset.ts';

export interface MicroEvent {
  readonly user: number;
  readonly item: number;
  /** Unix seconds. */
  readonly time: number;
}

/**
 * Builds the dataset.
 *
 * @param events - in any order.
 * @param categories - the categories of each item, by row; all have confidence 1.
 */
export function microDataset(
  itemCount: number,
  events: readonly MicroEvent[],
  requests: readonly RequestRecord[] = [],
  testFrom: number = Number.NaN,
  categories: readonly (readonly string[])[] = [],
): Dataset {
  const sorted = [...events].sort((a, b) => a.user - b.user || a.time - b.time);
  const userCount = 1 + Math.max(-1, ...events.map(({ user }) => user));
  const userOffsets = new Int32Array(userCount + 1);
  for (const { user } of sorted) userOffsets[user + 1]!++;
  for (let user = 0; user < userCount; user++) userOffsets[user + 1]! += userOffsets[user]!;
  const categoryNames = [...new Set(categories.flat())].sort();
  const lists = Array.from({ length: itemCount }, (_, item) => categories[item] ?? []);
  const categoryOffsets = new Int32Array(itemCount + 1);
  for (const [item, names] of lists.entries())
    categoryOffsets[item + 1] = categoryOffsets[item]! + names.length;
  const categoryValues = Int32Array.from(lists.flat(), (name) => categoryNames.indexOf(name));
  const named = (prefix: string, count: number): string[] =>
    Array.from({ length: count }, (_, i) => `${prefix}${i}`);
  const blank = (count: number): string[] => new Array<string>(count).fill('');
  return {
    name: 'micro',
    directory: '',
    digest: 'micro',
    items: {
      count: itemCount,
      ids: named('i', itemCount),
      titles: blank(itemCount),
      advertisers: blank(itemCount),
      prices: new Float64Array(itemCount).fill(Number.NaN),
      categoryNames,
      categoryOffsets,
      categoryValues,
      categoryConfidences: new Float32Array(categoryValues.length).fill(1),
      countries: lists.map(() => []),
    },
    users: {
      count: userCount,
      ids: named('u', userCount),
      ages: new Float32Array(userCount).fill(Number.NaN),
      genders: blank(userCount),
      countries: blank(userCount),
    },
    events: {
      count: sorted.length,
      users: Int32Array.from(sorted, ({ user }) => user),
      items: Int32Array.from(sorted, ({ item }) => item),
      times: Float64Array.from(sorted, ({ time }) => time),
      actions: new Int32Array(sorted.length),
      values: new Float32Array(sorted.length).fill(1),
      actionNames: ['event'],
      userOffsets,
    },
    requests,
    hasTime: true,
    testFrom,
  };
}

/** Completes a request with the defaults of a source that logs little. */
export function microRequest(
  request: Pick<RequestRecord, 'id' | 'user' | 'time' | 'subject' | 'positives'>,
): RequestRecord {
  return { surface: 'related', delivered: [], demographics: {}, slice: '', ...request };
}
