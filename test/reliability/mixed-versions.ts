// Bundles of three encoders are swapped while requests come for users that have a state of one
// encoder, of all, or of none. Every answer must be equal, to the last digit, to that of a server
// with only the bundle that it names.

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
  fault: 'Bundles of three encoders are swapped while users have states of some of them',
  method:
    'Requests come for users with a state of one encoder, of all, or of none. Each answer is ' +
    'compared, to the last digit, with that of a server that serves only the bundle that the ' +
    'answer names.',
  targets: [
    'Over 50 swaps and 1,000,000 answers (quick form: 10 and 20,000) no answer mixes two bundles.',
    'No request fails.',
  ],
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
    /** Swaps at equal distances, counted in answers. */
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
      figures.report('swaps', swaps);
      figures.report('answers', answers);
      for (const [mode, times] of modes) figures.report(`answers with mode: ${mode}`, times);
      figures.atMost('answers mixed of two bundles', mixed, 0);
      figures.atMost('requests failed', failed, 0);
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};
