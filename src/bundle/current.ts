// The file `current` of a directory of bundles, which is replaced atomically. Its first line names
// the bundle to serve; the lines below name the bundles that were current before, the latest first.
// So every process goes back to the same bundle on a rollback.

import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { TandemError } from '../errors.ts';
import { reasonOf } from '../foreign-errors.ts';
import { writeFileAtomic } from '../files.ts';
import { CURRENT_FILE, MANIFEST_FILE } from './manifest.ts';

/** Largest number of names in `current`. */
const MAX_HISTORY = 16;
/**
 * Fewest bundles that pruning keeps: the served bundle, the bundle before it, and one more to
 * return to after a rollback.
 */
export const MIN_KEPT_BUNDLES = 3;

/**
 * The directory of the bundle at `path`: the path itself when it is a bundle, or the bundle that
 * `current` names when it is a directory of bundles.
 *
 * @returns absolute path.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND when it is neither.
 */
export function resolveBundle(path: string): string {
  const directory = resolve(path);
  if (isBundle(directory)) return directory;
  const [name] = readHistory(directory);
  if (name === undefined)
    throw notFound(
      `Expected a bundle (${MANIFEST_FILE}) or a directory of bundles (a file "${CURRENT_FILE}") ` +
        `at ${directory}, ${whyNeither(directory)}.`,
      directory,
    );
  const current = join(directory, name);
  if (!isBundle(current))
    throw notFound(
      `Expected a bundle at ${current}, which ${join(directory, CURRENT_FILE)} names, found none.`,
      directory,
    );
  return current;
}

/** Tells a directory without bundles from a path that is no directory or may not be read. */
function whyNeither(directory: string): string {
  try {
    readdirSync(directory);
    return 'found neither';
  } catch (error) {
    return `but: ${reasonOf(error)}`;
  }
}

/**
 * Names of the bundles in `current`, the current one first; empty without such a file.
 *
 * @throws TandemError ERR_BUNDLE_NOT_FOUND when a line is not the name of a directory.
 */
export function readHistory(bundlesDirectory: string): readonly string[] {
  const pointer = join(bundlesDirectory, CURRENT_FILE);
  let text: string;
  try {
    text = readFileSync(pointer, 'utf8');
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR'].includes((cause as NodeJS.ErrnoException).code ?? '')) return [];
    throw notFound(
      `Expected a readable file ${pointer}, but: ${reasonOf(cause)}.`,
      bundlesDirectory,
    );
  }
  const names = text.trim().split('\n');
  for (const name of names)
    if (name === '' || basename(name) !== name || name === '..' || name === '.')
      throw notFound(
        `Expected the name of a directory in ${pointer}, received "${name}".`,
        bundlesDirectory,
      );
  return names;
}

/**
 * Makes a published bundle current, by one atomic replacement of a small file.
 *
 * @param name - name of its directory in bundlesDirectory.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND when there is no such bundle.
 */
export function activateBundle(bundlesDirectory: string, name: string): void {
  requireBundle(bundlesDirectory, name);
  const before = readHistory(bundlesDirectory).filter((other) => other !== name);
  writeHistory(bundlesDirectory, [name, ...before]);
}

/**
 * Name of the bundle that was current before, among the bundles that still exist.
 *
 * @throws TandemError ERR_BUNDLE_NOT_FOUND when there is none.
 */
export function bundleBefore(bundlesDirectory: string): string {
  const before = readHistory(bundlesDirectory)
    .slice(1)
    .find((name) => isBundle(join(bundlesDirectory, name)));
  if (before === undefined)
    throw notFound(
      `Expected an earlier current bundle in ${bundlesDirectory}, found none.`,
      bundlesDirectory,
    );
  return before;
}

/**
 * Makes the bundle before the current one current again, and removes the name of the current one
 * from the file `current`. So another rollback goes further back. The directory of the removed
 * bundle stays, and the bundle can be activated by name.
 *
 * @returns the name of the bundle that is current now.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND when there is none.
 */
export function rollbackBundle(bundlesDirectory: string): string {
  const name = bundleBefore(bundlesDirectory);
  const history = readHistory(bundlesDirectory);
  writeHistory(bundlesDirectory, history.slice(history.indexOf(name)));
  return name;
}

/**
 * Deletes the bundles that the file `current` names, except its first `keep`. Bundles that the file
 * does not name stay. A server can continue, because it holds its bundle in memory.
 *
 * @returns names of the deleted directories.
 * @throws RangeError for fewer than MIN_KEPT_BUNDLES.
 */
export function pruneBundles(bundlesDirectory: string, keep: number): string[] {
  checkKept(keep);
  // A directory that somebody has deleted does not take the place of a bundle to roll back to.
  const there = readHistory(bundlesDirectory).filter((name) =>
    isBundle(join(bundlesDirectory, name)),
  );
  const old = there.slice(keep);
  for (const name of old) rmSync(join(bundlesDirectory, name), { recursive: true, force: true });
  if (old.length > 0) writeHistory(bundlesDirectory, there.slice(0, keep));
  return old;
}

/** @throws RangeError unless that many bundles are enough to keep. */
export function checkKept(keep: number): void {
  if (!Number.isInteger(keep) || keep < MIN_KEPT_BUNDLES)
    throw new RangeError(
      `Expected at least ${MIN_KEPT_BUNDLES} bundles to keep, received ${keep}: ` +
        'a rollback needs them.',
    );
}

/** Names of all bundles in a directory of bundles, sorted. */
export function listBundles(bundlesDirectory: string): string[] {
  return readdirSync(bundlesDirectory)
    .filter((name) => isBundle(join(bundlesDirectory, name)))
    .sort();
}

/**
 * Checks that a bundle exists.
 *
 * @param name - name of its directory in bundlesDirectory.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND when there is none.
 */
export function requireBundle(bundlesDirectory: string, name: string): void {
  if (basename(name) === name && isBundle(join(bundlesDirectory, name))) return;
  throw new TandemError(
    'ERR_BUNDLE_NOT_FOUND',
    `Expected a bundle named ${name} in ${bundlesDirectory}, but there is none. ` +
      `Choose a directory with a ${MANIFEST_FILE}.`,
    { details: { directory: bundlesDirectory, name } },
  );
}

function writeHistory(bundlesDirectory: string, names: readonly string[]): void {
  const text = names.slice(0, MAX_HISTORY).map((name) => `${name}\n`);
  writeFileAtomic(join(bundlesDirectory, CURRENT_FILE), text.join(''));
}

function isBundle(directory: string): boolean {
  return existsSync(join(directory, MANIFEST_FILE));
}

function notFound(message: string, directory: string): TandemError {
  return new TandemError(
    'ERR_BUNDLE_NOT_FOUND',
    `${message} Name a published bundle, or publish one.`,
    { details: { directory } },
  );
}
