// Three times the load that the server can answer, at random times that do not wait for answers,
// and then little load. Server and load generator have a core each, as in the benchmark of serving.
// Where they share one, the client's latencies include their waiting for each other. So each
// latency is reported beside the server's own (its histogram, from the last byte of a request to
// its answer), and the latency of a refusal beside that of a server that only refuses: on shared
// machines that alone can exceed the target.

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

/**
 * As many as in the benchmark of serving: the cost of a refusal is compared with answers of this
 * cost.
 */
const ITEMS = 100_000;
const WIDTH = 64;
/** Share of the capacity that counts as unloaded: enough requests for a p99, too few to queue. */
const CALM_LOAD = 0.2;
const TIMES = 3;
/**
 * Load, over the probed capacity, at which the server is full: what it answers then is its
 * capacity.
 */
const PAST_KNEE = 1.5;
/**
 * Each round has all loads, and ratios are taken within a round: a shared machine is faster in one
 * minute than in the next.
 */
const ROUNDS = { quick: 3, long: 9 } as const;
const SECONDS_AT = { quick: 1.5, long: 10 } as const;
const RECOVERY_SECONDS = 10;

interface Round {
  readonly calm: LoadOutcome;
  /** Good answers a second under full load. */
  readonly capacity: number;
  readonly over: LoadOutcome;
  /** The rate of `over`, sent to a server that only refuses. */
  readonly alone: LoadOutcome;
  /** p99 in the server's own histogram, ms: of answers (`calm`, `over`) and of refusals. */
  readonly inServer: Readonly<Record<'calm' | 'over' | 'refused', number>>;
}

export const OVERLOAD: Row = {
  name: 'overload',
  fault: 'Three times the load that the server can answer, then little load',
  method:
    'The client sends at random times and does not wait for answers (open loop). In every ' +
    'round it sends little load, full load, three times the full load, and the same to a ' +
    'server that only refuses. Figures are medians of the rounds; ratios are taken within a ' +
    'round.',
  targets: [
    'p99 of answers under overload is at most 2 times the p99 at 20 % load.',
    'Goodput (good answers a second) is at least 90 % of capacity.',
    'All other requests get 503, with a p99 at most 5 ms above that of a server that only refuses.',
    'The server recovers within 5 s.',
  ],
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-overload-'));
    const size = { versions: 1, items: ITEMS, users: 1000, width: WIDTH };
    const { bundles, store, users } = await makeVersions(folder, size);
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
      figures.report('rounds', rounds.length);
      figures.report('items scanned for each request', ITEMS);
      figures.report('capacity', Math.round(capacity), 'requests/s');
      const offered = median(({ over }) => over.sentRate);
      figures.report('load offered under overload', Math.round(offered), 'requests/s');
      figures.fastAtLeast(
        'load offered / capacity',
        median((round) => round.over.sentRate / round.capacity),
        0.9 * TIMES,
      );
      figures.fastAtLeast(
        'goodput / capacity',
        median((round) => round.over.achievedRate / round.capacity),
        0.9,
      );
      figures.report('p99 at 20 % load', calmP99Ms, 'ms');
      const bucket = 'in the server (upper bound of its bucket)';
      figures.report(
        `p99 at 20 % load, ${bucket}`,
        median((round) => round.inServer.calm),
        'ms',
      );
      figures.report(
        'p99 of answers under overload',
        median(({ over }) => over.p99Ms),
        'ms',
      );
      figures.report(
        `p99 of answers under overload, ${bucket}`,
        median(({ inServer }) => inServer.over),
        'ms',
      );
      figures.fastAtMost(
        'p99 of answers under overload / p99 at 20 % load',
        median(({ over, calm }) => over.p99Ms / calm.p99Ms),
        2,
      );
      const fewest = Math.min(...rounds.map(({ over }) => over.refused));
      figures.atLeast('requests refused in the round with the fewest', fewest, 1);
      const most = Math.max(...rounds.map(({ over }) => over.failed));
      figures.atMost('requests failed in other ways in the round with the most', most, 0);
      figures.report(
        'p99 of a refusal',
        median(({ over }) => over.refusedP99Ms),
        'ms',
      );
      figures.report(
        'p99 of a refusal by a server that only refuses',
        median(({ alone }) => alone.refusedP99Ms),
        'ms',
      );
      figures.fastAtMost(
        'p99 of a refusal, less that of a server that only refuses',
        median(({ over, alone }) => over.refusedP99Ms - alone.refusedP99Ms),
        5,
        'ms',
      );
      figures.fastAtMost(
        `p99 of a refusal, ${bucket}`,
        median(({ inServer }) => inServer.refused),
        5,
        'ms',
      );
      const seconds = after.map((ms) => ms.toFixed(1)).join(', ');
      figures.report('p99 in each second after the overload', seconds, 'ms');
      figures.fastAtMost('time to recover', recoverySeconds, 5, 's');
      server.expectAlive();
    } finally {
      await generator.stop();
      await refusing.stop();
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};
