// Reads items, users and events of an imported dataset from DuckDB's chunks directly into typed
// arrays and arrays of text.

import type { EventTable, ItemTable, UserTable } from './dataset.ts';
import type { DatasetFiles, UserPart } from './dataset-files.ts';
import { numberSink, textSink } from './duckdb.ts';

/** Reads the whole catalogue. */
export async function readItems(files: DatasetFiles): Promise<ItemTable> {
  const { items: count, categories, itemCategories } = files.file.counts;
  const ids = texts(count);
  const titles = texts(count);
  const advertisers = texts(count);
  const prices = new Float64Array(count);
  const nowhere: readonly string[] = [];
  const countries = new Array<readonly string[]>(count).fill(nowhere);
  await files.columns(
    'id, title, advertiser, price, to_json(nullif(countries, []))::VARCHAR',
    'items.parquet',
    '',
    () => [
      textSink(ids),
      textSink(titles),
      textSink(advertisers),
      numberSink(prices, Number.NaN),
      (value, row) => {
        if (value !== null) countries[row] = JSON.parse(value as string) as string[];
      },
    ],
  );
  const categoryNames = texts(categories);
  await files.columns('name', 'categories.parquet', '', () => [textSink(categoryNames)]);
  const categoryOffsets = new Int32Array(count + 1);
  const categoryValues = new Int32Array(itemCategories);
  const categoryConfidences = new Float32Array(itemCategories);
  await files.columns('item, category, confidence', 'item-categories.parquet', '', () => [
    (item) => {
      categoryOffsets[(item as number) + 1]!++;
    },
    numberSink(categoryValues),
    numberSink(categoryConfidences),
  ]);
  accumulate(categoryOffsets);
  return {
    count,
    ids,
    titles,
    advertisers,
    prices,
    categoryNames,
    categoryOffsets,
    categoryValues,
    categoryConfidences,
    countries,
  };
}

/** Reads the users of a part. */
export async function readUsers(files: DatasetFiles, part: UserPart): Promise<UserTable> {
  const count = part.end - part.begin;
  const ids = texts(count);
  const ages = new Float32Array(count);
  const genders = texts(count);
  const countries = texts(count);
  await files.columns(
    'id, age, gender, country',
    'users.parquet',
    `WHERE file_row_number BETWEEN ${part.begin} AND ${part.end - 1}`,
    () => [textSink(ids), numberSink(ages, Number.NaN), textSink(genders), textSink(countries)],
  );
  return { count, ids, ages, genders, countries };
}

/** Reads the events of a part's users. User rows count from the part's first user. */
export async function readEvents(files: DatasetFiles, part: UserPart): Promise<EventTable> {
  let [users, items, actions] = [new Int32Array(0), new Int32Array(0), new Int32Array(0)];
  let times = new Float64Array(0);
  let values = new Float32Array(0);
  await files.columns(
    `"user" - ${part.begin}, item, time, action, value`,
    'events.parquet',
    `WHERE "user" BETWEEN ${part.begin} AND ${part.end - 1}`,
    (count) => {
      users = new Int32Array(count);
      items = new Int32Array(count);
      times = new Float64Array(count);
      actions = new Int32Array(count);
      values = new Float32Array(count);
      return [users, items, times, actions, values].map((column) => numberSink(column));
    },
  );
  const userOffsets = new Int32Array(part.end - part.begin + 1);
  for (const user of users) userOffsets[user + 1]!++;
  accumulate(userOffsets);
  return {
    count: users.length,
    users,
    items,
    times,
    actions,
    values,
    actionNames: files.file.actionNames,
    userOffsets,
  };
}

/** An array of `count` empty texts. */
export function texts(count: number): string[] {
  return new Array<string>(count).fill('');
}

/** Turns counts, of value v at [v + 1], into offsets. */
function accumulate(offsets: Int32Array): void {
  for (let i = 1; i < offsets.length; i++) offsets[i]! += offsets[i - 1]!;
}
