// A dataset in shards of consecutive users, read one at a time: what training draws from. A dataset in memory is one shard.
// In memory is the catalogue, and of the users nothing but how many are in each shard.

import type { Dataset, ItemTable } from './dataset.ts';
import { DatasetFiles, type UserPart } from './dataset-files.ts';
import { readPart } from './read-dataset.ts';
import { ALL_TIME, type TimeRange } from './read-requests.ts';
import { readItems } from './read-tables.ts';

/** Below so many events a dataset is one shard, unless told otherwise. */
export const DEFAULT_SHARD_EVENTS = 2_000_000;

export interface DatasetShards {
  readonly name: string;
  /** Of the whole dataset. */
  readonly digest: string;
  readonly hasTime: boolean;
  readonly testFrom: number;
  readonly items: ItemTable;
  readonly actionNames: readonly string[];
  /** Of the users of all shards; each at least once. */
  readonly genders: readonly string[];
  readonly countries: readonly string[];
  /** Users of each shard; its length is the number of shards. */
  readonly userCounts: readonly number[];
  /** Where shards were cut: part of what a run is. Undefined for one shard. */
  readonly shardEvents: number | undefined;
  /**
   * Reads a shard: a dataset whose users count from 0, with the shared catalogue. The caller owns it; nothing is kept here.
   *
   * @param requests - it has at least the requests of that time; perhaps none when absent.
   */
  read(shard: number, requests?: TimeRange): Promise<Dataset>;
  close(): void;
}

/** A dataset that is in memory, as the one shard that it is. */
export function oneShard(dataset: Dataset): DatasetShards {
  return {
    name: dataset.name,
    digest: dataset.digest,
    hasTime: dataset.hasTime,
    testFrom: dataset.testFrom,
    items: dataset.items,
    actionNames: dataset.events.actionNames,
    genders: dataset.users.genders,
    countries: dataset.users.countries,
    userCounts: [dataset.users.count],
    shardEvents: undefined,
    read: () => Promise.resolve(dataset),
    close: () => undefined,
  };
}

/**
 * Opens and verifies the dataset in `directory`. A shard holds at most `shardEvents` events and the rest of its last user's.
 *
 * @throws TandemError what readDataset throws.
 */
export async function openShards(
  directory: string,
  shardEvents: number = DEFAULT_SHARD_EVENTS,
): Promise<DatasetShards> {
  const files = await DatasetFiles.open(directory);
  try {
    const parts = await partsOf(files, shardEvents);
    const items = await readItems(files);
    if (parts.length === 1) {
      const dataset = await readPart(files, items, parts[0]!, ALL_TIME);
      files.close();
      return oneShard(dataset);
    }
    const { name, digest, hasTime, testFrom, actionNames } = files.file;
    return {
      name,
      digest,
      hasTime,
      testFrom: testFrom ?? Number.NaN,
      items,
      actionNames,
      genders: await distinct(files, 'gender'),
      countries: await distinct(files, 'country'),
      userCounts: parts.map(({ begin, end }) => end - begin),
      shardEvents,
      read: (shard, requests) => readPart(files, items, parts[shard]!, requests),
      close: () => {
        files.close();
      },
    };
  } catch (error) {
    files.close();
    throw error;
  }
}

/** Cuts behind the users of rows N, 2 N, ...: every shard begins with a user's first event and in another N rows. */
async function partsOf(files: DatasetFiles, shardEvents: number): Promise<UserPart[]> {
  const cuts = new Set<number>();
  let newest = 0;
  await files.columns('max("user")', 'events.parquet', '', () => [
    (user) => {
      newest = user as number;
    },
  ]);
  await files.columns(
    '"user"',
    'events.parquet',
    `WHERE (file_row_number + 1) % ${shardEvents} = 0 AND "user" < ${newest} ORDER BY "user"`,
    () => [(user) => cuts.add((user as number) + 1)],
  );
  const begins = [0, ...cuts];
  return begins.map((begin, index) => ({
    begin,
    end: begins[index + 1] ?? files.file.counts.users,
    index,
    count: begins.length,
  }));
}

async function distinct(files: DatasetFiles, column: 'gender' | 'country'): Promise<string[]> {
  const values: string[] = [];
  await files.columns(`DISTINCT ${column}`, 'users.parquet', `ORDER BY ${column}`, () => [
    (value) => values.push(value as string),
  ]);
  return values;
}
