// Memory of one server over many requests, in batches and alone. Resident memory rises and falls
// with the garbage collector, so this row fits a line through samples of the whole run, after
// caches, compiled code and the heap have reached their size. The quick form is too short for a
// slope: one arena of the allocator is as large as all that its requests could leave. It bounds the
// growth of the whole run instead.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { postUntilTaken } from './ask.ts';
import type { Row } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions, questionOf } from './versions.ts';

const REQUESTS_AT = { quick: 100_000, long: 10_000_000 } as const;
const WARM_UP_AT = { quick: 100_000, long: 1_000_000 } as const;
/**
 * Requests in one body: cheaper to send than as many HTTP requests, and the same for the pipeline.
 */
const BATCH = 64;
/** After so many batches come a few single requests, so that HTTP has its share. */
const ALONE_EVERY = 16;
const AT_ONCE = 4;
const USERS = 1000;
const SAMPLES = 400;
const QUICK_GROWTH_MB = 16;

interface Sample {
  readonly requests: number;
  readonly rssBytes: number;
}

export const STEADY_MEMORY: Row = {
  name: 'steady-memory',
  fault: 'Memory that a server never gives back, over many requests',
  method:
    'One server answers batches and single requests, after a warm-up. A line is fitted through ' +
    '400 samples of its resident memory.',
  targets: [
    'Over 10,000,000 requests memory grows by less than 1 MB per million.',
    `Quick form: over 100,000 requests it grows by at most ${QUICK_GROWTH_MB} MB in all.`,
  ],
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-memory-'));
    const size = { versions: 1, items: 500, users: USERS };
    const { bundles, store, users } = await makeVersions(folder, size);
    const server = await ServerChild.start({ bundles, store });
    const questions = users.map((user) => questionOf(user));
    const ask = async (count: number, what: string): Promise<Sample[]> => {
      const samples: Sample[] = [];
      let sent = 0;
      let batches = 0;
      const client = async (): Promise<void> => {
        while (sent < count) {
          const requests = Array.from({ length: BATCH }, (_, i) => questions[(sent + i) % USERS]!);
          sent += BATCH;
          await postUntilTaken(server.port, '/v1/candidates:batch', { requests });
          if (++batches % ALONE_EVERY === 0) {
            for (const question of requests.slice(0, 4))
              await postUntilTaken(server.port, '/v1/candidates', question);
            sent += 4;
          }
          if (sent < (samples.length * count) / SAMPLES) continue;
          if (samples.length % 100 === 0) figures.progress(`${sent} of ${count} ${what}`);
          samples.push({ requests: sent, rssBytes: server.rssBytes() });
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, client));
      return samples;
    };
    try {
      await ask(WARM_UP_AT[scale], 'to warm up');
      const samples = await ask(REQUESTS_AT[scale], 'requests');
      const [first, last] = [lowest(samples.slice(0, 100)), lowest(samples.slice(-100))];
      const slope = slopeOf(samples);
      figures.report('requests', REQUESTS_AT[scale]);
      figures.report('least resident memory in the first quarter', first / 1e6, 'MB');
      figures.report('least resident memory in the last quarter', last / 1e6, 'MB');
      if (scale === 'long') figures.atMost('growth per million requests', slope * 1e6, 1, 'MB');
      else {
        const grown = slope * REQUESTS_AT[scale];
        figures.atMost('growth over all requests', grown, QUICK_GROWTH_MB, 'MB');
      }
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};

/** @returns the slope of the least-squares line, in MB per request. */
function slopeOf(samples: readonly Sample[]): number {
  const mean = (of: (sample: Sample) => number): number =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / samples.length;
  const [meanRequests, meanBytes] = [mean((s) => s.requests), mean((s) => s.rssBytes)];
  const covariance = mean((s) => (s.requests - meanRequests) * (s.rssBytes - meanBytes));
  const variance = mean((s) => (s.requests - meanRequests) ** 2);
  return covariance / variance / 1e6;
}

function lowest(samples: readonly Sample[]): number {
  return Math.min(...samples.map(({ rssBytes }) => rssBytes));
}
