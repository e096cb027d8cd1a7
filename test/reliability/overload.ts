// Three times what the server can answer, at random times that do not wait for answers, and then the calm after it.
// Where server, load generator and whatever else runs share few cores, capacity is what is left of them, and a refusal waits
// for the generator's turn, too: figures say what the client saw.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startGenerator } from '../../bench/serve/child.ts';
import { capacityOf, loadOf, medianOf, questionsOf } from './load.ts';
import type { Row } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions } from './versions.ts';

/** A scan of all of them is most of a request: capacity stays low enough for a generator on the other core. */
const ITEMS = 60_000;
const WIDTH = 64;
const CALM_LOAD = 0.2;
const TIMES = 3;
const SECONDS_AT = { quick: 6, long: 60 } as const;
const RECOVERY_SECONDS = 8;

export const OVERLOAD: Row = {
  name: 'overload',
  target:
    '3x overload, open loop: p99 of what is answered <= 2x the unloaded p99, goodput >= 90 % of capacity, the rest 503 within 5 ms, recovery <= 5 s',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-overload-'));
    const { bundles, store, users } = await makeVersions(folder, {
      ...{ versions: 1, items: ITEMS, users: 1000, width: WIDTH },
    });
    const server = await ServerChild.start({ bundles, store, plan: 'exact' });
    const generator = startGenerator(questionsOf(users, ITEMS), undefined);
    try {
      const capacity = await capacityOf(generator, server.port, figures);
      const during = loadOf(generator, server.port, SECONDS_AT[scale]);
      const calm = await during(CALM_LOAD * capacity);
      const over = await during(TIMES * capacity);
      let recoverySeconds = 0;
      const second = loadOf(generator, server.port, 1);
      const after: number[] = [];
      for (; recoverySeconds < RECOVERY_SECONDS; recoverySeconds++) {
        const { p99Ms, failed, refused } = await second(CALM_LOAD * capacity);
        after.push(p99Ms);
        if (failed + refused === 0 && p99Ms <= 2 * calm.p99Ms) break;
      }
      figures.note(
        `capacity ${capacity.toFixed(0)} requests/s, offered ${over.sentRate.toFixed(0)}, of ${ITEMS} items scanned`,
      );
      figures.note(
        `p99 ${calm.p99Ms.toFixed(1)} ms at 20 %, ${over.p99Ms.toFixed(1)} ms of what was answered`,
      );
      figures.atMost('p99 ratio', over.p99Ms / calm.p99Ms, 2);
      figures.atLeast('goodput over capacity', over.achievedRate / capacity, 0.9);
      figures.note(`${over.refused} refused`);
      figures.atMost('failed otherwise', over.failed, 0);
      figures.atMost('p99 of a refusal', over.refusedP99Ms, 5, ' ms');
      figures.atMost('recovery', recoverySeconds, 5, ' s');
      figures.note(`p99 by second after it ${after.map((ms) => ms.toFixed(1)).join(', ')} ms`);
      figures.progress(`median afterwards ${medianOf(after).toFixed(1)} ms`);
      server.expectAlive();
    } finally {
      await generator.stop();
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};
