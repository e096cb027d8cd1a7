// Imports a source with any columns as a normalised dataset: validates, factorises and sorts in
// SQL, on disk when memory is short, and puts the result in place in one rename. dataset.ts says
// what the tables mean, sources.ts how cells are read.

import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { TandemError } from '../errors.ts';
import { syncFolder, TEMPORARY_PREFIX, writeFileSynced, writeFolderAtomic } from '../files.ts';
import { startProgress } from '../telemetry.ts';
import { openAdapter } from './adapters/registry.ts';
import {
  DATA_FILES,
  DATASET_FILE,
  DATASET_FORMAT,
  DATASET_VERSION,
  datasetDigest,
  digestFile,
  readDatasetFile,
  verifyDataFiles,
  type DatasetCounts,
  type DatasetFile,
  type FileDigest,
  type Rejection,
} from './dataset-file.ts';
import { Database, literal } from './duckdb.ts';
import { readManifest, type SourceManifest } from './manifest.ts';
import { buildTables, type BuiltTables } from './import-tables.ts';
import { checkLoss, takenRows, type TableRows } from './loss.ts';
import type { SourcePlan } from './sources.ts';

/** What to import, and where to. */
export interface ImportOptions {
  /** Exactly one of manifestPath, manifest and adapter is given. */
  readonly manifestPath?: string;
  readonly manifest?: SourceManifest;
  /** Directory that relative paths of the manifest start from. Default: that of the manifest. */
  readonly baseDirectory?: string;
  /** A public data set; docs/reference/data-format.md lists the names. */
  readonly adapter?: { readonly name: string; readonly source: string };
  /** Directory for the dataset. */
  readonly outputDirectory: string;
  /** Whether to replace another dataset at outputDirectory. Default false. */
  readonly force?: boolean;
  /** Whether more than 1 % of the rows of a table may be left out. Default false. */
  readonly allowLoss?: boolean;
}

/** What an import read, and what it left out. */
export interface ImportReport {
  readonly directory: string;
  readonly name: string;
  readonly digest: string;
  /** created; replaced: another dataset was there; unchanged: the same dataset was there. */
  readonly outcome: 'created' | 'replaced' | 'unchanged';
  readonly counts: DatasetCounts;
  /** Rows read from the source; what is no row counts in lines. */
  readonly sourceRows: TableRows;
  /** Rows of the source that were not left out. */
  readonly takenRows: TableRows;
  readonly rejected: readonly Rejection[];
  readonly hasTime: boolean;
  /** Unix seconds, NaN when the source names none. */
  readonly testFrom: number;
  readonly timeRange: readonly number[];
  readonly actionNames: readonly string[];
  readonly seconds: number;
}

const STAGES = ['open', 'items', 'events', 'users', 'requests', 'write', 'publish'] as const;

/** Makes writeFolderAtomic drop its folder, because the dataset in place is the same. */
class Unchanged extends Error {}

/**
 * Imports a source into `outputDirectory`. A failed import leaves the directory as it was.
 *
 * The same source gives the same digest. Bad rows are left out, counted by reason and sampled in
 * the report. The import fails when they are more than 1 % of a table, unless `allowLoss` is set,
 * and when no event is good.
 *
 * @throws TandemError ERR_DATASET_NOT_FOUND for a missing file; ERR_DATASET_INVALID for a wrong
 *   manifest, column or file, for a file that is cut short, for a source without events or with too
 *   many bad rows, and for an output directory that is not a dataset or holds another one.
 */
export async function importDataset(options: ImportOptions): Promise<ImportReport> {
  const startedMs = performance.now();
  const target = resolve(options.outputDirectory);
  checkOutput(target, options.force ?? false);
  const progress = startProgress('import', STAGES.length, 'stages');
  const stage = (name: (typeof STAGES)[number]): void => {
    progress.update(STAGES.indexOf(name), name);
  };
  stage('open');
  mkdirSync(dirname(target), { recursive: true });
  const work = join(dirname(target), `${TEMPORARY_PREFIX}import-${randomUUID()}`);
  mkdirSync(work);
  try {
    const database = await Database.open(work);
    try {
      const { plan, baseDirectory } = await openPlan(database, options);
      const built = await buildTables(database, plan, baseDirectory, stage);
      if (options.allowLoss !== true) checkLoss(built.sourceRows, built.rejected);
      stage('write');
      const outcome: { file?: DatasetFile; replaced?: boolean } = {};
      try {
        await writeFolderAtomic(target, async (folder) => {
          outcome.file = await writeFiles(database, folder, plan, built);
          stage('publish');
          outcome.replaced = await moveOldAside(target, work, outcome.file, options.force ?? false);
        });
      } catch (error) {
        if (outcome.replaced === true && !existsSync(target)) renameSync(join(work, 'old'), target);
        if (!(error instanceof Unchanged)) throw error;
      }
      const file = outcome.file!;
      return {
        directory: target,
        name: file.name,
        digest: file.digest,
        outcome:
          outcome.replaced === undefined ? 'unchanged' : outcome.replaced ? 'replaced' : 'created',
        counts: file.counts,
        sourceRows: built.sourceRows,
        takenRows: takenRows(built.sourceRows, built.rejected),
        rejected: built.rejected,
        hasTime: file.hasTime,
        testFrom: file.testFrom ?? Number.NaN,
        timeRange: file.timeRange,
        actionNames: file.actionNames,
        seconds: (performance.now() - startedMs) / 1000,
      };
    } finally {
      database.close();
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
    progress.end();
  }
}

async function openPlan(
  database: Database,
  options: ImportOptions,
): Promise<{ plan: SourcePlan; baseDirectory: string }> {
  const given = [options.manifestPath, options.manifest, options.adapter].filter(
    (source) => source !== undefined,
  );
  if (given.length !== 1)
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      'Expected exactly one of manifestPath, manifest and adapter for the import, ' +
        `received ${given.length}.`,
    );
  if (options.adapter !== undefined)
    return {
      plan: await openAdapter(database, options.adapter.name, options.adapter.source),
      baseDirectory: resolve('.'),
    };
  if (options.manifestPath !== undefined) {
    const { manifest, baseDirectory } = readManifest(options.manifestPath);
    return { plan: manifest, baseDirectory: options.baseDirectory ?? baseDirectory };
  }
  return { plan: options.manifest!, baseDirectory: resolve(options.baseDirectory ?? '.') };
}

/** Refuses a folder that the import must not replace, before the work instead of after it. */
function checkOutput(target: string, force: boolean): void {
  if (!existsSync(target) || readdirSync(target).length === 0) return;
  if (!existsSync(join(target, DATASET_FILE)))
    throw new TandemError(
      'ERR_DATASET_INVALID',
      'Expected an absent folder, an empty folder or a dataset for the output, ' +
        `found other files in ${target}. Choose another --out.`,
      { details: { directory: target } },
    );
  if (!force) readDatasetFile(target);
}

async function writeFiles(
  database: Database,
  folder: string,
  plan: SourcePlan,
  built: BuiltTables,
): Promise<DatasetFile> {
  // With one thread, row groups do not depend on the machine, and the same source gives the same
  // bytes.
  await database.run('SET threads = 1');
  const files: Record<string, FileDigest> = {};
  for (const name of DATA_FILES) {
    const path = join(folder, name);
    await database.run(
      `COPY (${built.selects[name]}) TO ${literal(path)} (FORMAT parquet, COMPRESSION zstd)`,
    );
    files[name] = await digestFile(path);
  }
  const content: Omit<DatasetFile, 'digest'> = {
    format: DATASET_FORMAT,
    version: DATASET_VERSION,
    name: plan.name,
    hasTime: built.hasTime,
    testFrom: plan.testFrom ?? null,
    actionNames: built.actionNames,
    timeRange: built.timeRange,
    counts: built.counts,
    rejected: built.rejected.map(({ table, reason, effect, count }) => ({
      table,
      reason,
      effect,
      count,
    })),
    files,
  };
  const file: DatasetFile = { ...content, digest: datasetDigest(content) };
  writeFileSynced(join(folder, DATASET_FILE), `${JSON.stringify(file, null, 2)}\n`);
  return file;
}

/**
 * Moves an older dataset into `work`, so that the new one can take its name.
 *
 * The target is absent between this rename and the next one. A failure in between moves the old
 * dataset back; a kill leaves it under `.tmp-import-*`.
 *
 * @returns whether there was one.
 * @throws Unchanged when the same dataset is in place; TandemError ERR_DATASET_INVALID for another
 *   dataset without `force`.
 */
async function moveOldAside(
  target: string,
  work: string,
  file: DatasetFile,
  force: boolean,
): Promise<boolean> {
  if (!existsSync(join(target, DATASET_FILE))) return false;
  let old: DatasetFile | undefined;
  try {
    old = readDatasetFile(target);
  } catch (error) {
    if (!force) throw error;
  }
  if (old?.digest === file.digest) {
    if (await isIntact(target, old)) throw new Unchanged();
  } else if (!force) {
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected no dataset or the same one in ${target}, found ${old!.name} of digest ` +
        `${old!.digest.slice(0, 12)} where the import made ${file.name} of ` +
        `${file.digest.slice(0, 12)}. Pass --force to replace it, or choose another --out.`,
      { details: { directory: target, found: old!.digest, imported: file.digest } },
    );
  }
  renameSync(target, join(work, 'old'));
  syncFolder(dirname(target));
  return true;
}

async function isIntact(target: string, file: DatasetFile): Promise<boolean> {
  try {
    await verifyDataFiles(target, file);
    return true;
  } catch (error) {
    if (error instanceof TandemError) return false;
    throw error;
  }
}
