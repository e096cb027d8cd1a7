// Memory of one server over many requests, of every kind that answers from the pipeline. Resident memory goes up and down with the garbage
// collector; what counts is the slope of a line through samples of all the run, after caches, compiled code and the heap found their size.
// The quick form is too short for a slope: an arena of the allocator weighs as much as its requests. It bounds what is left in the end.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { postUntilTaken } from './ask.ts';
import type { Row } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions, questionOf } from './versions.ts';

const REQUESTS_AT = { quick: 100_000, long: 10_000_000 } as const;
const WARM_UP_AT = { quick: 100_000, long: 1_000_000 } as const;
/** In one body: this many cost less than one HTTP request each, and are as many for the pipeline. */
const BATCH = 64;
/** Every so many batches, a few requests of their own, so that all of HTTP has its share. */
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
  target: `10,000,000 requests: memory grows < 1 MB a million (quick: 100,000, at most ${QUICK_GROWTH_MB} MB in all)`,
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-memory-'));
    const { bundles, store, users } = await makeVersions(folder, {
      ...{ versions: 1, items: 500, users: USERS },
    });
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
      figures.note(
        `${REQUESTS_AT[scale]} requests; resident ${megabytes(first)} MB at least in the first quarter, ${megabytes(last)} MB in the last`,
      );
      if (scale === 'long') figures.atMost('growth a million', slope * 1e6, 1, ' MB');
      else {
        const grown = slope * REQUESTS_AT[scale];
        figures.atMost('growth by the line through all samples', grown, QUICK_GROWTH_MB, ' MB');
      }
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};

/** Least squares: MB a request. */
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

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
