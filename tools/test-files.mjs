// Finds the tests in TypeScript, and says how node:test runs them.
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

/**
 * @param roots - the folders to search.
 * @param parts - a file is taken when its path contains one of them; all files without any.
 * @returns the paths of *.test.ts, folder by folder.
 */
export function testFiles(roots, parts = []) {
  const files = roots
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.test.ts'))
        .map((name) => join(folder, name))
        .sort(),
    )
    .filter((path) => parts.length === 0 || parts.some((part) => path.includes(part)));
  if (files.length === 0)
    throw new Error(`Expected at least one test file for "${parts.join(' ')}", found none.`);
  return files;
}

/** Whether a test file draws random cases. */
export const hasProperties = (path) =>
  readFileSync(join(root, path), 'utf8').includes("from 'fast-check'");

/**
 * Many times the duration of the longest file. A file that never ends, because a test left a server
 * open, must not withhold the results of the others.
 */
const TIMEOUT_MS = 600_000;

/** Node's arguments that run these files, one more at a time than CPUs, because tests also wait. */
export function testArguments(files) {
  return [
    ...['--import', join(import.meta.dirname, 'typescript.mjs')],
    ...['--import', join(import.meta.dirname, 'property-seed.mjs')],
    ...[
      '--test',
      '--test-reporter=spec',
      `--test-concurrency=${availableParallelism() + 1}`,
      `--test-timeout=${TIMEOUT_MS}`,
    ],
    ...files,
  ];
}
