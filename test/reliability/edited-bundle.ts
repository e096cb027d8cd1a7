// Edits a published bundle and computes its digests again. Digests do not protect against this:
// whoever can write the directory can do the same.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BundleFile } from '../../src/bundle/files.ts';
import { bundleId } from '../../src/bundle/identity.ts';
import {
  BUNDLE_FILES,
  MANIFEST_FILE,
  manifestText,
  parseManifest,
} from '../../src/bundle/manifest.ts';
import { sha256Hex } from '../../src/json.ts';

/**
 * Replaces a file of the bundle and updates its size, its digest, the indexId for an index, and the
 * bundleId.
 */
export function replaceFile(directory: string, file: BundleFile, bytes: Uint8Array): void {
  const path = join(directory, MANIFEST_FILE);
  const before = parseManifest(JSON.parse(readFileSync(path, 'utf8')));
  const sha256 = sha256Hex(bytes);
  const edited = {
    ...before,
    ...(file === 'index' && { indexId: sha256 }),
    files: { ...before.files, [BUNDLE_FILES[file]]: { bytes: bytes.length, sha256 } },
  };
  writeFileSync(join(directory, BUNDLE_FILES[file]), bytes);
  writeFileSync(path, manifestText({ ...edited, bundleId: bundleId(edited) }));
}
