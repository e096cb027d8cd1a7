// Reads an imported dataset into the columns of dataset.ts. No row objects: values go from DuckDB's chunks straight
// into typed arrays and string tables.

import { join, resolve } from 'node:path';
import { TandemError } from '../errors.ts';
import type {
  Dataset,
  EventTable,
  ItemTable,
  RequestRecord,
  Subject,
  Surface,
  UserTable,
} from './dataset.ts';
import { readDatasetFile, verifyDataFiles, type DatasetFile } from './dataset-file.ts';
import { Database, literal, numberSink, offsetSink, textSink } from './duckdb.ts';

/**
 * Reads and verifies the dataset in `directory`; a million events take about a second.
 *
 * @throws TandemError ERR_DATASET_NOT_FOUND when nothing was imported there; ERR_DATASET_INVALID when a file is missing,
 *   changed or of another version.
 */
export async function readDataset(directory: string): Promise<Dataset> {
  const file = readDatasetFile(directory);
  await verifyDataFiles(directory, file);
  const database = await Database.open();
  try {
    const reader = new Reader(database, resolve(directory), file);
    const items = await reader.items();
    const users = await reader.users();
    return {
      name: file.name,
      directory: resolve(directory),
      digest: file.digest,
      items,
      users,
      events: await reader.events(),
      requests: await reader.requests(),
      hasTime: file.hasTime,
      testFrom: file.testFrom ?? Number.NaN,
    };
  } finally {
    database.close();
  }
}

class Reader {
  readonly #database: Database;
  readonly #directory: string;
  readonly #file: DatasetFile;

  constructor(database: Database, directory: string, file: DatasetFile) {
    this.#database = database;
    this.#directory = directory;
    this.#file = file;
  }

  async items(): Promise<ItemTable> {
    const { items: count, categories, itemCategories } = this.#file.counts;
    const ids = texts(count);
    const titles = texts(count);
    const advertisers = texts(count);
    const prices = new Float64Array(count);
    const nowhere: readonly string[] = [];
    const countries = new Array<readonly string[]>(count).fill(nowhere);
    const items = this.#from('items.parquet');
    this.#expect(
      'items.parquet',
      count,
      await this.#database.columns(
        `SELECT id, title, advertiser, price, to_json(nullif(countries, []))::VARCHAR FROM ${items}`,
        [
          textSink(ids),
          textSink(titles),
          textSink(advertisers),
          numberSink(prices, Number.NaN),
          (value, row) => {
            if (value !== null) countries[row] = JSON.parse(value as string) as string[];
          },
        ],
      ),
    );
    const categoryNames = texts(categories);
    await this.#database.columns(`SELECT name FROM ${this.#from('categories.parquet')}`, [
      textSink(categoryNames),
    ]);
    const categoryOffsets = new Int32Array(count + 1);
    const categoryValues = new Int32Array(itemCategories);
    const categoryConfidences = new Float32Array(itemCategories);
    this.#expect(
      'item-categories.parquet',
      itemCategories,
      await this.#database.columns(
        `SELECT item, category, confidence FROM ${this.#from('item-categories.parquet')}`,
        [countSink(categoryOffsets), numberSink(categoryValues), numberSink(categoryConfidences)],
      ),
    );
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

  async users(): Promise<UserTable> {
    const count = this.#file.counts.users;
    const ids = texts(count);
    const ages = new Float32Array(count);
    const genders = texts(count);
    const countries = texts(count);
    this.#expect(
      'users.parquet',
      count,
      await this.#database.columns(
        `SELECT id, age, gender, country FROM ${this.#from('users.parquet')}`,
        [textSink(ids), numberSink(ages, Number.NaN), textSink(genders), textSink(countries)],
      ),
    );
    return { count, ids, ages, genders, countries };
  }

  async events(): Promise<EventTable> {
    const count = this.#file.counts.events;
    const users = new Int32Array(count);
    const items = new Int32Array(count);
    const times = new Float64Array(count);
    const actions = new Int32Array(count);
    const values = new Float32Array(count);
    this.#expect(
      'events.parquet',
      count,
      await this.#database.columns(
        `SELECT "user", item, time, action, value FROM ${this.#from('events.parquet')}`,
        [users, items, times, actions, values].map((column) => numberSink(column)),
      ),
    );
    const userOffsets = new Int32Array(this.#file.counts.users + 1);
    for (let event = 0; event < count; event++) userOffsets[users[event]! + 1]!++;
    accumulate(userOffsets);
    return {
      count,
      users,
      items,
      times,
      actions,
      values,
      actionNames: this.#file.actionNames,
      userOffsets,
    };
  }

  async requests(): Promise<readonly RequestRecord[]> {
    const count = this.#file.counts.requests;
    if (count === 0) return [];
    const from = this.#from('requests.parquet');
    const [ids, surfaces, kinds, queries, genders, countries, slices] = Array.from(
      { length: 7 },
      () => texts(count),
    ) as [string[], string[], string[], string[], string[], string[], string[]];
    const users = new Int32Array(count);
    const subjects = new Int32Array(count);
    const times = new Float64Array(count);
    const ages = new Float32Array(count);
    const [positiveOffsets, deliveredOffsets, interestOffsets] = Array.from(
      { length: 3 },
      () => new Int32Array(count + 1),
    ) as [Int32Array, Int32Array, Int32Array];
    this.#expect(
      'requests.parquet',
      count,
      await this.#database.columns(
        `SELECT id, "user", time, surface, subject_kind, subject_item, query, age, gender, country, slice,
           len(positives)::INTEGER, len(delivered)::INTEGER, len(interests)::INTEGER FROM ${from}`,
        [
          textSink(ids),
          numberSink(users),
          numberSink(times),
          textSink(surfaces),
          textSink(kinds),
          numberSink(subjects),
          textSink(queries),
          numberSink(ages, Number.NaN),
          textSink(genders),
          textSink(countries),
          textSink(slices),
          offsetSink(positiveOffsets),
          offsetSink(deliveredOffsets),
          offsetSink(interestOffsets),
        ],
      ),
    );
    const positives = new Int32Array(positiveOffsets[count]!);
    const delivered = new Int32Array(deliveredOffsets[count]!);
    const interests = texts(interestOffsets[count]!);
    const confidences = new Float32Array(interestOffsets[count]!);
    await this.#database.columns(`SELECT unnest(positives) FROM ${from}`, [numberSink(positives)]);
    await this.#database.columns(`SELECT unnest(delivered) FROM ${from}`, [numberSink(delivered)]);
    await this.#database.columns(
      `SELECT unnest(interests), unnest(interest_confidences) FROM ${from}`,
      [textSink(interests), numberSink(confidences)],
    );
    const subject = (row: number): Subject => {
      switch (kinds[row]) {
        case 'item':
          return { kind: 'item', item: subjects[row]! };
        case 'query':
          return { kind: 'query', query: queries[row]! };
        case 'interests':
          return {
            kind: 'interests',
            interests: interests
              .slice(interestOffsets[row], interestOffsets[row + 1])
              .map((category, i) => ({
                category,
                confidence: confidences[interestOffsets[row]! + i]!,
              })),
          };
        default:
          return { kind: 'none' };
      }
    };
    return ids.map((id, row) => ({
      id,
      user: users[row]!,
      time: times[row]!,
      surface: surfaces[row] as Surface,
      subject: subject(row),
      positives: [...positives.subarray(positiveOffsets[row], positiveOffsets[row + 1])],
      delivered: [...delivered.subarray(deliveredOffsets[row], deliveredOffsets[row + 1])],
      demographics: {
        ...(Number.isNaN(ages[row]!) ? {} : { age: ages[row]! }),
        ...(genders[row] === '' ? {} : { gender: genders[row]! }),
        ...(countries[row] === '' ? {} : { country: countries[row]! }),
      },
      slice: slices[row]!,
    }));
  }

  #from(name: string): string {
    return `read_parquet(${literal(join(this.#directory, name))})`;
  }

  #expect(name: string, count: number, found: number): void {
    if (found === count) return;
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected ${count} rows in ${name} of ${this.#directory}, found ${found}. Import it again with "tandem import --force".`,
      { details: { name, count, found } },
    );
  }
}

function texts(count: number): string[] {
  return new Array<string>(count).fill('');
}

/** Counts rows by their value into `out[value + 1]`; accumulate() then makes offsets of it. */
function countSink(out: Int32Array): (value: string | number | null) => void {
  return (value) => {
    out[(value as number) + 1]!++;
  };
}

function accumulate(offsets: Int32Array): void {
  for (let i = 1; i < offsets.length; i++) offsets[i]! += offsets[i - 1]!;
}
