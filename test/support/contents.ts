// Reads whole directories, so that tests can compare them byte by byte.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Returns every file below a directory: its content in base64, by its path in the directory. */
export function contents(directory: string): Map<string, string> {
  return new Map(
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .map((path) => [path.slice(directory.length), readFileSync(path, 'base64')]),
  );
}
