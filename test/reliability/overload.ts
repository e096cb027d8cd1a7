// Three times what the server can answer, at random times that do not wait for answers, and then the calm after it.
// Server and generator have a core each, as in the benchmark of serving; where there is one for both, what the client saw has their turns
// in it. Each latency stands beside the server's own (its histogram, from the last byte of a request to its answer), and that of a refusal
// beside what the same client sees of a server that does nothing but refuse: on shared machines that alone can be more than the target.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freeCores, startGenerator, startServer } from '../../bench/serve/child.ts';
import type { LoadOutcome } from '../../bench/serve/load.ts';
import { capacityOf, loadOf, medianOf, questionsOf } from './load.ts';
import type { Row } from './row.ts';
import { p99SinceMs, scrapeDurations } from './server-durations.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions } from './versions.ts';

/** As many as the benchmark of serving has: beside requests of their cost, refusals are what they are to a server. */
const ITEMS = 100_000;
const WIDTH = 64;
/** Unloaded: enough requests for a p99, too few to queue. */
const CALM_LOAD = 0.2;
const TIMES = 3;
/** Enough to be full: capacity is what is answered then. */
const PAST_KNEE = 1.5;
/** Every load of a round beside the others: what a shared machine can do changes from minute to minute, and ratios are of neighbours. */
const ROUNDS = { quick: 3, long: 9 } as const;
const SECONDS_AT = { quick: 1.5, long: 10 } as const;
const RECOVERY_SECONDS = 10;

interface Round {
  readonly calm: LoadOutcome;
  /** Good answers a second, past the knee. */
  readonly capacity: number;
  readonly over: LoadOutcome;
  /** The same rate at a server that only refuses. */
  readonly alone: LoadOutcome;
  /** p99 by the server's own histogram, ms: of answers, and of refusals. */
  readonly inServer: Readonly<Record<'calm' | 'over' | 'refused', number>>;
}

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
    const refusing = await startServer(
      [join(import.meta.dirname, 'refusing-server.mjs')],
      cores?.[0],
    );
    const generator = startGenerator(questionsOf(users, ITEMS), cores?.[1]);
    try {
      const knee = await capacityOf(generator, server.port, figures);
      const load = loadOf(generator, server.port, SECONDS_AT[scale]);
      const refuse = loadOf(generator, refusing.port, SECONDS_AT[scale]);
      const rounds: Round[] = [];
      for (let round = 0; round < ROUNDS[scale]; round++) {
        figures.progress(`overload ${round} of ${ROUNDS[scale]}`);
        const beforeCalm = await scrapeDurations(server.port);
        const calm = await load(CALM_LOAD * knee);
        const afterCalm = await scrapeDurations(server.port);
        const capacity = (await load(PAST_KNEE * knee)).achievedRate;
        const beforeOver = await scrapeDurations(server.port);
        const over = await load(TIMES * capacity);
        const afterOver = await scrapeDurations(server.port);
        const alone = await refuse(over.sentRate);
        const inServer = {
          calm: p99SinceMs(beforeCalm, afterCalm, 200),
          over: p99SinceMs(beforeOver, afterOver, 200),
          refused: p99SinceMs(beforeOver, afterOver, 503),
        };
        rounds.push({ calm, capacity, over, alone, inServer });
      }
      const median = (of: (round: Round) => number): number => medianOf(rounds.map(of));
      const capacity = median((round) => round.capacity);
      const calmP99Ms = median(({ calm }) => calm.p99Ms);

      const second = loadOf(generator, server.port, 1);
      const after: number[] = [];
      let recoverySeconds = 0;
      for (; recoverySeconds < RECOVERY_SECONDS; recoverySeconds++) {
        const { p99Ms, failed, refused } = await second(CALM_LOAD * capacity);
        after.push(p99Ms);
        if (failed + refused === 0 && p99Ms <= 2 * calmP99Ms) break;
      }
      const refusedInServerMs = median(({ inServer }) => inServer.refused);
      figures.note(
        `medians of ${rounds.length} rounds: capacity ${capacity.toFixed(0)} requests/s (${ITEMS} items scanned), offered ${median(({ over }) => over.sentRate).toFixed(0)}`,
      );
      figures.note(
        `p99 at 20 % load ${calmP99Ms.toFixed(1)} ms (in the server <= ${median(({ inServer }) => inServer.calm)}), of what was answered under overload ${median(({ over }) => over.p99Ms).toFixed(1)} ms (<= ${median(({ inServer }) => inServer.over)}), of a refusal ${median(({ over }) => over.refusedP99Ms).toFixed(1)} ms (<= ${refusedInServerMs}), of one by a server that only refuses ${median(({ alone }) => alone.refusedP99Ms).toFixed(1)} ms`,
      );
      figures.fastAtLeast(
        'offered over capacity',
        median((round) => round.over.sentRate / round.capacity),
        0.9 * TIMES,
      );
      figures.fastAtLeast(
        'goodput over capacity',
        median((round) => round.over.achievedRate / round.capacity),
        0.9,
      );
      figures.atLeast('refused in a round', Math.min(...rounds.map(({ over }) => over.refused)), 1);
      figures.atMost('failed otherwise', Math.max(...rounds.map(({ over }) => over.failed)), 0);
      figures.fastAtMost('p99 of a refusal in the server', refusedInServerMs, 5, ' ms');
      figures.fastAtMost(
        'p99 over unloaded p99',
        median(({ over, calm }) => over.p99Ms / calm.p99Ms),
        2,
      );
      figures.fastAtMost(
        'p99 of a refusal less that',
        median(({ over, alone }) => over.refusedP99Ms - alone.refusedP99Ms),
        5,
        ' ms',
      );
      figures.note(`p99 by second after it ${after.map((ms) => ms.toFixed(1)).join(', ')} ms`);
      figures.fastAtMost('recovery', recoverySeconds, 5, ' s');
      server.expectAlive();
    } finally {
      await generator.stop();
      await refusing.stop();
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};
