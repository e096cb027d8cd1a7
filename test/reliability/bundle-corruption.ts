// Truncations and flipped bits in every file of a bundle, with the digests as published and with
// matching digests. test/corrupted-indexes.test.ts damages index files of every format alone,
// without the bundle's checks.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { BUNDLE_FILES } from '../../src/bundle/manifest.ts';
import { publishTinyBundle } from '../support/tiny-bundle.ts';
import { TYPESCRIPT } from '../support/typescript.ts';
import type { DamageCounts } from './bundle-corruption-child.ts';
import type { Row, Scale } from './row.ts';

const TRUNCATIONS_AT = { quick: 10, long: 1000 } as const;
const FLIPS_AT = { quick: 100, long: 10_000 } as const;

export const BUNDLE_CORRUPTION: Row = {
  name: 'bundle-corruption',
  fault: 'Files of a bundle are cut short, or have flipped bits',
  method:
    'Each file of a bundle is cut at random places, and random bits of it are flipped. Each ' +
    'damage is tried twice: with the digests as published, and with all digests computed again ' +
    'so that they match.',
  targets: [
    'Each of 1,000 truncations and 10,000 bit flips per file (quick form: 10 and 100) is ' +
      'refused before native code runs.',
    'With matching digests a damaged bundle is refused or works; nothing crashes.',
  ],
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-corruption-'));
    try {
      const { directory } = await publishTinyBundle(folder, { items: 60 });
      const total = { stale: 0, admitted: 0, refused: 0, harmless: 0, uncoded: 0 };
      for (const file of Object.keys(BUNDLE_FILES)) {
        figures.progress(file);
        const counts = await damageInChild(directory, file, scale);
        for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += counts[key];
        if (counts.example !== undefined)
          figures.misses.push(`refused without a code: ${counts.example}`);
      }
      figures.report('files damaged', Object.keys(BUNDLE_FILES).length);
      figures.report('damages tried', total.stale);
      figures.atMost('damages that loaded although the digest did not match', total.admitted, 0);
      figures.report('with matching digests: refused', total.refused);
      figures.report('with matching digests: loaded and answered', total.harmless);
      // A crash rejects above.
      figures.report('with matching digests: crashes', 0);
      figures.atMost('refusals without an error code', total.uncoded, 0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

/**
 * Damages one file in a child process. Rejects with the number of the damage when the child
 * crashes.
 */
async function damageInChild(directory: string, file: string, scale: Scale): Promise<DamageCounts> {
  const script = fileURLToPath(new URL('bundle-corruption-child.ts', import.meta.url));
  const counts = [TRUNCATIONS_AT[scale], FLIPS_AT[scale]].map(String);
  const child = spawn(process.execPath, [...TYPESCRIPT, script, directory, file, ...counts], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let last = '';
  createInterface({ input: child.stdout }).on('line', (line) => (last = line));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (code === 0) return JSON.parse(last) as DamageCounts;
  throw new Error(
    `Expected every damage of ${file} to be refused or harmless, ` +
      `the loader ended with ${String(signal ?? code)} at number ${last}.`,
  );
}
