// Reads an imported dataset, whole, into the columns of dataset.ts.

import type { Dataset } from './dataset.ts';
import { DatasetFiles, type UserPart } from './dataset-files.ts';
import { ALL_TIME, readRequests, type TimeRange } from './read-requests.ts';
import { readEvents, readItems, readUsers } from './read-tables.ts';

/**
 * Reads and verifies the dataset in `directory`; a million events take about a second.
 *
 * @throws TandemError ERR_DATASET_NOT_FOUND when nothing was imported there; ERR_DATASET_INVALID when a file is missing,
 *   changed or of another version.
 */
export async function readDataset(directory: string): Promise<Dataset> {
  const files = await DatasetFiles.open(directory);
  try {
    return await readPart(files, await readItems(files), files.whole, ALL_TIME);
  } finally {
    files.close();
  }
}

/** The dataset of some consecutive users, who count from 0 in it. @param requests - it has those of that time; none when absent. */
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
