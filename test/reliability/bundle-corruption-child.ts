// Child process of bundle-corruption.ts: damages one file of a bundle again and again, and loads
// the bundle each time. A crash ends this process only; the last number that it wrote says at which
// damage. Arguments: bundle, file, truncations, bit flips.

import { readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { BundleFile } from '../../src/bundle/files.ts';
import { loadBundle } from '../../src/bundle/load.ts';
import { BUNDLE_FILES } from '../../src/bundle/manifest.ts';
import { verifyBundle } from '../../src/bundle/verify.ts';
import { Random } from '../../src/random.ts';
import { replaceFile } from './edited-bundle.ts';

export interface DamageCounts {
  /** Damages tried, with the digests as published. */
  readonly stale: number;
  /** Damages that loaded although the digest did not match. */
  readonly admitted: number;
  /** Damages that were refused although all digests matched. */
  readonly refused: number;
  /** Damages that loaded, with matching digests, and answered the golden requests. */
  readonly harmless: number;
  /** Damages that were refused by an error without a code of the error table. */
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
    // A server refuses a bundle whose golden requests give other answers.
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
