// Writes that survive a crash: under its final name, a file or directory is either complete or
// absent.

import { randomUUID } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

/**
 * Prefix of the names of unfinished or replaced files. They are safe to delete when no job runs.
 */
export const TEMPORARY_PREFIX = '.tmp-';

/** Writes all of `data` and calls fsync. Throws on a full disk. */
export function writeFileSynced(path: string, data: string | Uint8Array): void {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  const file = openSync(path, 'w');
  try {
    for (let offset = 0; offset < bytes.length;)
      offset += writeSync(file, bytes, offset, bytes.length - offset);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Replaces `path` with `data` in one step: a reader sees either the old or the new content. */
export function writeFileAtomic(path: string, data: string | Uint8Array): void {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true });
  const temporary = join(folder, `${TEMPORARY_PREFIX}${basename(path)}-${randomUUID()}`);
  try {
    writeFileSynced(temporary, data);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(folder);
}

/** Calls fsync on a directory, which makes the renames and creations in it durable. */
export function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/**
 * Builds a directory under a temporary name and renames it to `target`.
 *
 * @param build - fills the temporary folder that it receives. Its entries are synced afterwards;
 *   files in subfolders are not, so write those with writeFileSynced().
 * @throws what `build` throws, after the temporary folder is removed.
 * @throws ENOTEMPTY when `target` already has content.
 */
export async function writeFolderAtomic(
  target: string,
  build: (folder: string) => void | Promise<void>,
): Promise<void> {
  const parent = dirname(target);
  mkdirSync(parent, { recursive: true });
  const temporary = join(parent, `${TEMPORARY_PREFIX}${basename(target)}-${randomUUID()}`);
  mkdirSync(temporary);
  try {
    await build(temporary);
    for (const name of readdirSync(temporary)) syncFolder(join(temporary, name));
    syncFolder(temporary);
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
  syncFolder(parent);
}

/** Removes what killed jobs left in `folder`. Call it only when no other job writes there. */
export function removeTemporaries(folder: string): void {
  for (const name of readdirSync(folder))
    if (name.startsWith(TEMPORARY_PREFIX))
      rmSync(join(folder, name), { recursive: true, force: true });
}
