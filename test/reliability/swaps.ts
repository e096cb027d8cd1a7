// Bundles are swapped through the admin port, again and again, under 70 % of the load that the
// server can answer. On two cores the checks of a bundle, the server and the load generator share
// the cores, and the ratio of latencies includes that.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startGenerator } from '../../bench/serve/child.ts';
import type { LoadOutcome } from '../../bench/serve/load.ts';
import { post } from './ask.ts';
import { capacityOf, loadOf, medianOf, questionsOf } from './load.ts';
import type { Row } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions } from './versions.ts';

const SWAPS_AT = { quick: 6, long: 200 } as const;
const ITEMS = 20_000;
const WIDTH = 64;
const LOAD = 0.7;
const SLICE_SECONDS = 2;
const CALM_SLICES = 4;
/** Pause between two swaps: without it the server would load bundles all the time. */
const PAUSE_MS = 250;

export const SWAPS: Row = {
  name: 'swaps',
  fault: 'Bundles are swapped again and again under 70 % of the capacity',
  method:
    'Capacity is found first by doubling the load. Then the same load is sent without swaps ' +
    'and with swaps, one every 250 ms after the one before has ended.',
  targets: [
    'No request fails or is refused.',
    'p99 with swaps is at most 1.5 times the p99 without.',
    'Memory afterwards is at most that of two bundles plus 10 %.',
  ],
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-swaps-'));
    const size = { versions: 2, items: ITEMS, users: 1000, width: WIDTH };
    const versions = await makeVersions(folder, size);
    const { bundles, store, names } = versions;
    const server = await ServerChild.start({ bundles, store, 'admin-port': '0' });
    const generator = startGenerator(questionsOf(versions.users, ITEMS), undefined);
    try {
      const capacity = await capacityOf(generator, server.port, figures);
      const rate = LOAD * capacity;
      const slice = loadOf(generator, server.port, SLICE_SECONDS);
      const calm: LoadOutcome[] = [];
      for (let i = 0; i < CALM_SLICES; i++) calm.push(await slice(rate));
      // Both bundles are in memory after the first swap; the second swap reuses memory that the
      // first one freed.
      const activate = async (swap: number): Promise<void> => {
        const name = names[swap % names.length];
        const { status, body } = await post(server.adminPort, '/bundles/activate', {
          bundle: name,
        });
        if (status !== 200)
          throw new Error(`Expected ${name} to be swapped in: ${JSON.stringify(body)}`);
      };
      await activate(0);
      await activate(1);
      const twoBundles = server.rssBytes();
      let peak = twoBundles;
      let done = 0;
      const swapping = (async (): Promise<void> => {
        for (; done < SWAPS_AT[scale]; done++) {
          await activate(done);
          await sleep(PAUSE_MS);
          if (done % 10 === 0) figures.progress(`swap ${done}`);
        }
      })();
      const watch = setInterval(() => {
        peak = Math.max(peak, server.rssBytes());
      }, 50);
      const swapped: LoadOutcome[] = [];
      try {
        do swapped.push(await slice(rate));
        while (done < SWAPS_AT[scale]);
        await swapping;
      } finally {
        clearInterval(watch);
      }
      const settled = server.rssBytes();
      const p99 = (outcomes: readonly LoadOutcome[]): number =>
        medianOf(outcomes.map(({ p99Ms }) => p99Ms));
      figures.report('swaps', done);
      figures.report('capacity', Math.round(capacity), 'requests/s');
      figures.report('load', Math.round(rate), 'requests/s');
      figures.atMost('requests failed', sum(swapped.map(({ failed }) => failed)), 0);
      figures.fastAtMost('requests refused', sum(swapped.map(({ refused }) => refused)), 0);
      figures.report('p99 without swaps', p99(calm), 'ms');
      figures.report('p99 with swaps', p99(swapped), 'ms');
      figures.fastAtMost('p99 with swaps / p99 without', p99(swapped) / p99(calm), 1.5);
      figures.report('memory with two bundles', mebibytes(twoBundles), 'MiB');
      figures.report('peak memory while a third is loaded', mebibytes(peak), 'MiB');
      figures.atMost('memory after the swaps / before', settled / twoBundles, 1.1);
    } finally {
      await generator.stop();
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
