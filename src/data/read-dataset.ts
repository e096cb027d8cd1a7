// Reads an imported dataset, or a part of its users, into the columns of dataset.ts.

import type { Dataset } from './dataset.ts';
import { DatasetFiles, type UserPart } from './dataset-files.ts';
import { ALL_TIME, readRequests, type TimeRange } from './read-requests.ts';
import { readEvents, readItems, readUsers } from './read-tables.ts';

/**
 * Reads and verifies the dataset in `directory`, about a million events per second.
 *
 * @throws TandemError ERR_DATASET_NOT_FOUND when nothing was imported there; ERR_DATASET_INVALID
 *   when a file is missing, changed or of another version.
 */
export async function readDataset(directory: string): Promise<Dataset> {
  const files = await DatasetFiles.open(directory);
  try {
    return await readPart(files, await readItems(files), files.whole, ALL_TIME);
  } finally {
    files.close();
  }
}

/**
 * Reads a part of the users as a dataset in which their rows count from 0.
 *
 * @param requests - times of the requests to read; none when absent.
 */
export async function readPart(
  files: DatasetFiles,
  items: Dataset['items'],
  part: UserPart,
  requests?: TimeRange,
): Promise<Dataset> {
  const { name, digest, hasTime, testFrom } = files.file;
  return {
    name,
    directory: files.directory,
    digest,
    items,
    users: await readUsers(files, part),
    events: await readEvents(files, part),
    requests: requests === undefined ? [] : await readRequests(files, part, requests),
    hasTime,
    testFrom: testFrom ?? Number.NaN,
  };
}
