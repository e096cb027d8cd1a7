// Child process of bundle-corruption.ts: damages one file of a bundle in turn and loads the bundle. A crash takes this process
// alone; the number it wrote last says at which damage. Arguments: bundle, file, truncations, bit flips.

import { readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { BundleFile } from '../../src/bundle/files.ts';
import { loadBundle } from '../../src/bundle/load.ts';
import { BUNDLE_FILES } from '../../src/bundle/manifest.ts';
import { verifyBundle } from '../../src/bundle/verify.ts';
import { Random } from '../../src/random.ts';
import { replaceFile } from './edited-bundle.ts';

export interface DamageCounts {
  readonly stale: number;
  /** Loaded although the digest is another. */
  readonly admitted: number;
  /** With digests made right. */
  readonly refused: number;
  readonly harmless: number;
  /** Refused by an error that no table has. */
  readonly uncoded: number;
  readonly example?: string;
}

const [directory, name, truncations, flips] = process.argv.slice(2);
const file = name as BundleFile;
const path = join(directory!, BUNDLE_FILES[file]);
const valid = new Uint8Array(readFileSync(path));
const random = new Random(2026);
const counts = { stale: 0, admitted: 0, refused: 0, harmless: 0, uncoded: 0 };
let example: string | undefined;

for (let n = 0; n < Number(truncations) + Number(flips); n++) {
  writeSync(1, `${n}\n`);
  const bytes = n < Number(truncations) ? valid.slice(0, random.integer(valid.length)) : flipped();
  writeFileSync(path, bytes);
  counts.stale++;
  try {
    await loadBundle(directory!);
    counts.admitted++;
  } catch (error) {
    if (codeOf(error) !== 'ERR_BUNDLE_INVALID') throw error;
  }
  replaceFile(directory!, file, bytes);
  try {
    // Goldens that differ are refused by a server.
    if ((await verifyBundle(directory!)).passed) counts.harmless++;
    else counts.refused++;
  } catch (error) {
    if (codeOf(error)?.startsWith('ERR_') === true) counts.refused++;
    else {
      counts.uncoded++;
      example ??= `${file} ${n}: ${String(error)}`;
    }
  }
  replaceFile(directory!, file, valid);
}
writeSync(1, `${JSON.stringify({ ...counts, ...(example !== undefined && { example }) })}\n`);

function flipped(): Uint8Array {
  const bytes = valid.slice();
  bytes[random.integer(bytes.length)]! ^= 1 << random.integer(8);
  return bytes;
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string }).code;
}
