// Memory over many requests, in batches of 64 on a few connections. Resident memory goes up and down with the garbage collector:
// the lowest of a quarter is compared with the lowest of an earlier one. In the quick form a million is extrapolated from a
// tenth of it, so that one arena of the allocator weighs ten times; the long form is the measurement.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { postUntilTaken } from './ask.ts';
import type { Row } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions, questionOf } from './versions.ts';

const REQUESTS_AT = { quick: 200_000, long: 10_000_000 } as const;
/** Caches, compiled code and the heap find their size first. */
const WARM_UP_AT = { quick: 200_000, long: 1_000_000 } as const;
const BATCH = 64;
const AT_ONCE = 4;
const USERS = 1000;
const SAMPLES = 200;

export const STEADY_MEMORY: Row = {
  name: 'steady-memory',
  target: '10,000,000 requests (quick: 200,000): memory grows < 1 MB a million',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-memory-'));
    const { bundles, store, users } = await makeVersions(folder, {
      ...{ versions: 1, items: 500, users: USERS },
    });
    const server = await ServerChild.start({ bundles, store });
    const batches = Array.from({ length: 16 }, (_, b) => ({
      requests: Array.from({ length: BATCH }, (_, i) =>
        questionOf(users[(b * BATCH + i) % USERS]!),
      ),
    }));
    /** Resident bytes, in order. */
    const run = async (count: number, what: string): Promise<number[]> => {
      const samples: number[] = [];
      let sent = 0;
      const client = async (): Promise<void> => {
        while (sent < count) {
          const batch = batches[(sent / BATCH) % batches.length]!;
          sent += BATCH;
          await postUntilTaken(server.port, '/v1/candidates:batch', batch);
          if (sent < (samples.length * count) / SAMPLES) continue;
          if (samples.length % 50 === 0) figures.progress(`${sent} of ${count} ${what}`);
          samples.push(server.rssBytes());
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, client));
      return samples;
    };
    try {
      await run(WARM_UP_AT[scale], 'to warm up');
      const samples = await run(REQUESTS_AT[scale], 'requests');
      const quarter = samples.length >> 2;
      const lowest = (begin: number): number => Math.min(...samples.slice(begin, begin + quarter));
      const [first, last] = [lowest(0), lowest(samples.length - quarter)];
      const between = (REQUESTS_AT[scale] * 3) / 4;
      figures.note(
        `${REQUESTS_AT[scale]} requests; resident memory ${(first / 1e6).toFixed(1)} MB at least in the first quarter, ${(last / 1e6).toFixed(1)} MB in the last`,
      );
      figures.atMost('growth a million', ((last - first) / 1e6 / between) * 1e6, 1, ' MB');
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};
