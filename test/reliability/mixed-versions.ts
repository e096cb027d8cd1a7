// Bundles of three encoders are swapped while users whose states are of one, of all or of none of them are asked for. Every
// answer must be, to the last digit, what the bundle that it names gives alone.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { post, postUntilTaken } from './ask.ts';
import type { Row } from './row.ts';
import { ServerChild } from './server-child.ts';
import {
  answersAlone,
  isAsAlone,
  makeVersions,
  questionOf,
  type CandidatesBody,
} from './versions.ts';

const ANSWERS_AT = { quick: 20_000, long: 1_000_000 } as const;
const SWAPS_AT = { quick: 10, long: 50 } as const;
const USERS = 50;
const AT_ONCE = 4;

export const MIXED_VERSIONS: Row = {
  name: 'mixed-versions',
  target:
    'states of three encoders, 50 swaps, 1,000,000 answers (quick: 10 and 20,000): 0 answers mixed of two versions',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-mixed-'));
    const versions = await makeVersions(folder, { versions: 3, items: 150, users: USERS });
    const { bundles, store, names, users } = versions;
    const expected = await answersAlone(versions);
    const server = await ServerChild.start({ bundles, store, 'admin-port': '0' });
    const batch = { requests: users.map((user) => questionOf(user)) };
    const modes = new Map<string, number>();
    let answers = 0;
    let swaps = 0;
    let mixed = 0;
    let failed = 0;
    const isDone = (): boolean => answers >= ANSWERS_AT[scale] && swaps >= SWAPS_AT[scale];
    const ask = async (): Promise<void> => {
      while (!isDone()) {
        const body = await postUntilTaken(server.port, '/v1/candidates:batch', batch);
        const { results } = body as { results: (CandidatesBody | { error: object })[] };
        for (const [i, result] of results.entries()) {
          answers++;
          if ('error' in result) failed++;
          else {
            if (!isAsAlone(expected, result, users[i]!)) mixed++;
            const mode = result.degraded?.mode ?? 'not degraded';
            modes.set(mode, (modes.get(mode) ?? 0) + 1);
          }
        }
      }
    };
    /** Swaps are spread over the answers. */
    const swap = async (): Promise<void> => {
      while (!isDone()) {
        await post(server.adminPort, '/bundles/activate', { bundle: names[swaps % names.length] });
        if (++swaps % 5 === 0) figures.progress(`${swaps} swaps, ${answers} answers`);
        const due = (): number =>
          Math.min(ANSWERS_AT[scale], (swaps * ANSWERS_AT[scale]) / SWAPS_AT[scale]);
        while (answers < due()) await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    try {
      await Promise.all([swap(), ...Array.from({ length: AT_ONCE }, ask)]);
      figures.note(`${answers} answers over ${swaps} swaps`);
      figures.note([...modes].map(([mode, times]) => `${mode} x ${times}`).join(', '));
      figures.atMost('mixed', mixed, 0);
      figures.atMost('failed', failed, 0);
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};
