// A dataset in shards of consecutive users, which training reads one at a time. Only the catalogue
// and the number of users of each shard stay in memory. A dataset in memory is one shard.

import type { Dataset, ItemTable } from './dataset.ts';
import { DatasetFiles, type UserPart } from './dataset-files.ts';
import { readPart } from './read-dataset.ts';
import { ALL_TIME, type TimeRange } from './read-requests.ts';
import { readItems } from './read-tables.ts';

/** Default size of a shard: a dataset with fewer events is one shard. */
export const DEFAULT_SHARD_EVENTS = 2_000_000;

export interface DatasetShards {
  readonly name: string;
  /** Digest of the whole dataset. */
  readonly digest: string;
  readonly hasTime: boolean;
  readonly testFrom: number;
  readonly items: ItemTable;
  readonly actionNames: readonly string[];
  /** Genders of the users of all shards, each at least once. */
  readonly genders: readonly string[];
  readonly countries: readonly string[];
  /** [shards] number of users of each shard. */
  readonly userCounts: readonly number[];
  /** Size at which shards are cut; a resumed run needs the same. Undefined for one shard. */
  readonly shardEvents: number | undefined;
  /**
   * Reads a shard as a dataset in which user rows count from 0. All shards share the catalogue. The
   * caller owns the shard; nothing of it is kept here.
   *
   * @param requests - times of the requests that are needed. The shard may have others, too.
   */
  read(shard: number, requests?: TimeRange): Promise<Dataset>;
  close(): void;
}

/** A dataset in memory as one shard. */
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
 * Opens and verifies the dataset in `directory`. The caller closes it.
 *
 * @param shardEvents - N: a shard ends with the user of the N-th event after the last cut.
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

/**
 * Cuts the dataset after the users of event rows N, 2 N, ... So every shard begins with the first
 * event of a user.
 */
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
