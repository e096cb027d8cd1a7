// Truncations and flipped bits in every file of a bundle, as it lies there, and with every digest made right again.
// Indexes alone, past the bundle and in every format, are damaged in test/corrupted-indexes.test.ts.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { BUNDLE_FILES } from '../../src/bundle/manifest.ts';
import { publishTinyBundle } from '../support/tiny-bundle.ts';
import type { DamageCounts } from './bundle-corruption-child.ts';
import type { Row } from './row.ts';

const TRUNCATIONS_AT = { quick: 10, long: 1000 } as const;
const FLIPS_AT = { quick: 100, long: 10_000 } as const;

export const BUNDLE_CORRUPTION: Row = {
  name: 'bundle-corruption',
  target:
    '1,000 truncations and 10,000 bit flips a file (quick: 10 and 100): all refused before native code; 0 crashes even with digests made right',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-corruption-'));
    try {
      const { directory } = await publishTinyBundle(folder, { items: 60 });
      const total = { stale: 0, admitted: 0, refused: 0, harmless: 0, uncoded: 0 };
      for (const file of Object.keys(BUNDLE_FILES)) {
        figures.progress(file);
        const counts = await damageInChild(
          ...([directory, file, TRUNCATIONS_AT[scale], FLIPS_AT[scale]] as const),
        );
        for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += counts[key];
        if (counts.example !== undefined) figures.note(`without a code: ${counts.example}`);
      }
      figures.note(`${total.stale} damages of ${Object.keys(BUNDLE_FILES).length} files`);
      figures.atMost('admitted past the digest', total.admitted, 0);
      figures.note(
        `digests made right: ${total.refused} refused, ${total.harmless} loaded and answered, 0 crashes`,
      );
      figures.atMost('refusals without an error code', total.uncoded, 0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

/** A crash takes the child, and rejects with the number of the damage. */
async function damageInChild(
  directory: string,
  file: string,
  truncations: number,
  flips: number,
): Promise<DamageCounts> {
  const script = fileURLToPath(new URL('bundle-corruption-child.ts', import.meta.url));
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', script, directory, file, String(truncations), String(flips)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let last = '';
  createInterface({ input: child.stdout }).on('line', (line) => (last = line));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (code === 0) return JSON.parse(last) as DamageCounts;
  throw new Error(
    `Expected every damage of ${file} to be refused or harmless, the loader ended with ${String(signal ?? code)} at number ${last}.`,
  );
}
