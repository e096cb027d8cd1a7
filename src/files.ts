// Writes that survive a crash: a file or a directory is either there whole under its name, or not there.

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

/** Prefix of names that are not yet, or no longer, part of anything; safe to delete when no job runs. */
export const TEMPORARY_PREFIX = '.tmp-';

/** Writes all of `data` (looping over short writes) and fsyncs; fails loudly on a full disk. */
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

/** Replaces `path` with `data` in one step: a reader sees the old or the new content, never a part. */
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

/** fsync of a directory, which makes renames and creations in it durable. */
export function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/**
 * Builds a directory aside and renames it into place: `target` exists whole or not at all.
 *
 * @param build - fills the temporary folder it is given; every file must be synced by writeFileSynced or here.
 * @throws whatever `build` throws, after removing the temporary folder; ENOTEMPTY when target already has content.
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

/** Removes leftovers of jobs that were killed in `folder`. Call only when no other job writes there. */
export function removeTemporaries(folder: string): void {
  for (const name of readdirSync(folder))
    if (name.startsWith(TEMPORARY_PREFIX))
      rmSync(join(folder, name), { recursive: true, force: true });
}
