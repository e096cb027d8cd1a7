// Three times what the server can answer, at random times that do not wait for answers, and then the calm after it.
// Server and generator have a core each, as in the benchmark of serving; where there is one for both, what the client saw has their turns
// in it. Each latency stands beside the server's own (its histogram, from the last byte of a request to its answer), and that of a refusal
// beside what the same client sees of a server that does nothing but refuse: on shared machines that alone can be more than the target.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freeCores, startGenerator, startServer, type Generator } from '../../bench/serve/child.ts';
import type { LoadOutcome } from '../../bench/serve/load.ts';
import { capacityOf, loadOf, medianOf, questionsOf } from './load.ts';
import type { Row } from './row.ts';
import { p99SinceMs, scrapeDurations } from './server-durations.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions } from './versions.ts';

/** As many as the benchmark of serving has: beside requests of their cost, refusals are what they are to a server. */
const ITEMS = 100_000;
const WIDTH = 64;
/** Unloaded, for a p99: enough requests to have one, too few to queue. */
const CALM_LOAD = 0.2;
const TIMES = 3;
/** Enough to be full: capacity is what is answered then. */
const PAST_KNEE = 1.5;
const ROUNDS = 3;
const SECONDS_AT = { quick: 1.5, long: 30 } as const;
const RECOVERY_SECONDS = 10;

export const OVERLOAD: Row = {
  name: 'overload',
  target:
    '3x overload, open loop: p99 of what is answered <= 2x the unloaded p99, goodput >= 90 % of capacity, the rest 503 within 5 ms (p99) of what the client sees of a server that only refuses, recovery <= 5 s (quick: times and rates noted, not held)',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-overload-'));
    const { bundles, store, users } = await makeVersions(folder, {
      ...{ versions: 1, items: ITEMS, users: 1000, width: WIDTH },
    });
    const cores = freeCores();
    const server = await ServerChild.start({ bundles, store, plan: 'exact' }, {}, cores?.[0]);
    const generator = startGenerator(questionsOf(users, ITEMS), cores?.[1]);
    try {
      const knee = await capacityOf(generator, server.port, figures);
      const load = loadOf(generator, server.port, SECONDS_AT[scale]);
      const beforeCalm = await scrapeDurations(server.port);
      const calm = await load(CALM_LOAD * knee);
      const beforeOver = await scrapeDurations(server.port);
      // In turns: what a server can answer changes from second to second where cores are shared.
      const full: number[] = [];
      const slices: LoadOutcome[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        figures.progress(`overload ${round} of ${ROUNDS}`);
        full.push((await load(PAST_KNEE * knee)).achievedRate);
        slices.push(await load(TIMES * medianOf(full)));
      }
      const afterOver = await scrapeDurations(server.port);
      const capacity = medianOf(full);
      const median = (of: (slice: LoadOutcome) => number): number => medianOf(slices.map(of));
      const over = {
        sentRate: median(({ sentRate }) => sentRate),
        achievedRate: median(({ achievedRate }) => achievedRate),
        p99Ms: median(({ p99Ms }) => p99Ms),
        refusedP99Ms: median(({ refusedP99Ms }) => refusedP99Ms),
        refused: Math.min(...slices.map(({ refused }) => refused)),
        failed: Math.max(...slices.map(({ failed }) => failed)),
      };

      const second = loadOf(generator, server.port, 1);
      const after: number[] = [];
      let recoverySeconds = 0;
      for (; recoverySeconds < RECOVERY_SECONDS; recoverySeconds++) {
        const { p99Ms, failed, refused } = await second(CALM_LOAD * capacity);
        after.push(p99Ms);
        if (failed + refused === 0 && p99Ms <= 2 * calm.p99Ms) break;
      }
      const alone = await refusedAlone(generator, SECONDS_AT[scale], over.sentRate, cores?.[0]);
      const inServer = {
        calm: p99SinceMs(beforeCalm, beforeOver, 200),
        over: p99SinceMs(beforeOver, afterOver, 200),
        refused: p99SinceMs(beforeOver, afterOver, 503),
      };
      figures.note(
        `capacity ${capacity.toFixed(0)} requests/s (${ITEMS} items scanned), offered ${over.sentRate.toFixed(0)}, refused ${over.refused}`,
      );
      figures.note(
        `p99 at 20 % load ${calm.p99Ms.toFixed(1)} ms (in the server <= ${inServer.calm}), of what was answered under overload ${over.p99Ms.toFixed(1)} ms (<= ${inServer.over}), of a refusal ${over.refusedP99Ms.toFixed(1)} ms (<= ${inServer.refused}), of one by a server that only refuses ${alone.toFixed(1)} ms`,
      );
      figures.fastAtLeast('offered over capacity', over.sentRate / capacity, 0.9 * TIMES);
      figures.fastAtLeast('goodput over capacity', over.achievedRate / capacity, 0.9);
      figures.atLeast('refused', over.refused, 1);
      figures.atMost('failed otherwise', over.failed, 0);
      figures.fastAtMost('p99 of a refusal in the server', inServer.refused, 5, ' ms');
      figures.fastAtMost('p99 over unloaded p99', over.p99Ms / calm.p99Ms, 2);
      figures.fastAtMost('p99 of a refusal less that', over.refusedP99Ms - alone, 5, ' ms');
      figures.note(`p99 by second after it ${after.map((ms) => ms.toFixed(1)).join(', ')} ms`);
      figures.fastAtMost('recovery', recoverySeconds, 5, ' s');
      server.expectAlive();
    } finally {
      await generator.stop();
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};

/** What the client sees of refusals at this rate where nothing else is done: their p99. */
async function refusedAlone(
  generator: Generator,
  seconds: number,
  rate: number,
  core: number | undefined,
): Promise<number> {
  const server = await startServer([join(import.meta.dirname, 'refusing-server.mjs')], core);
  try {
    return (await loadOf(generator, server.port, seconds)(rate)).refusedP99Ms;
  } finally {
    await server.stop();
  }
}
