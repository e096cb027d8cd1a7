// The public data sets that can be imported by name. An adapter makes SQL relations from the
// published files and returns a plan as a manifest does, so both go through the same import.

import { nearestName, TandemError } from '../../errors.ts';
import { databaseError, type Database } from '../duckdb.ts';
import type { SourcePlan } from '../sources.ts';
import { AdapterFiles, type Adapter } from './adapter.ts';
import { movielens } from './movielens.ts';
import { onlineRetail } from './online-retail.ts';
import { s3rec } from './s3rec.ts';
import { sasrec } from './sasrec.ts';

export const ADAPTERS: readonly Adapter[] = [onlineRetail, movielens, sasrec, s3rec];

/**
 * Runs an adapter.
 *
 * @param source - path of a file or a folder.
 * @throws TandemError ERR_INVALID_ARGUMENT for an unknown name; ERR_DATASET_NOT_FOUND for missing
 *   files; ERR_DATASET_INVALID for files that are not the published ones.
 */
export async function openAdapter(
  database: Database,
  name: string,
  source: string,
): Promise<SourcePlan> {
  const names = ADAPTERS.map((adapter) => adapter.name);
  const adapter = ADAPTERS.find((candidate) => candidate.name === name);
  if (adapter === undefined) {
    const nearest = nearestName(name, names);
    const suggestion = nearest === undefined ? '' : ` Did you mean "${nearest}"?`;
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      `Expected an adapter, received "${name}".${suggestion} Known: ${names.join(', ')}.`,
      { details: { name, nearest } },
    );
  }
  const files = new AdapterFiles(name, source);
  try {
    return await adapter.prepare(database, files);
  } catch (error) {
    throw databaseError(error, `${files.path}, where the adapter ${name} reads published files`);
  }
}
