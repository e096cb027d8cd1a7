// Bundles are swapped by the admin port, over and over, under 70 % of the load that the server bears.
// On two cores the gates of a bundle, the server and the load generator share what there is: the ratio of latencies has all of it.

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
/** Between a swap and the next: a server that only ever loads bundles measures their loading. */
const PAUSE_MS = 250;

export const SWAPS: Row = {
  name: 'swaps',
  target:
    'hot swaps at 70 % load: 0 failed requests, p99 <= 1.5x of the same load without swaps, memory <= that of two bundles + 10 %',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-swaps-'));
    const versions = await makeVersions(folder, {
      ...{ versions: 2, items: ITEMS, users: 1000, width: WIDTH },
    });
    const { bundles, store, names } = versions;
    const server = await ServerChild.start({ bundles, store, 'admin-port': '0' });
    const generator = startGenerator(questionsOf(versions.users, ITEMS), undefined);
    try {
      const capacity = await capacityOf(generator, server.port, figures);
      const rate = LOAD * capacity;
      const slice = loadOf(generator, server.port, SLICE_SECONDS);
      const calm: LoadOutcome[] = [];
      for (let i = 0; i < CALM_SLICES; i++) calm.push(await slice(rate));
      // Both bundles are in memory from the first swap on; the second one reuses what the first has left.
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
      figures.note(
        `${done} swaps under ${rate.toFixed(0)} requests/s (70 % of ${capacity.toFixed(0)})`,
      );
      figures.atMost('failed', sum(swapped.map(({ failed }) => failed)), 0);
      figures.fastAtMost('refused', sum(swapped.map(({ refused }) => refused)), 0);
      figures.note(
        `p99 ${p99(calm).toFixed(1)} ms without swaps, ${p99(swapped).toFixed(1)} ms with`,
      );
      figures.fastAtMost('p99 ratio', p99(swapped) / p99(calm), 1.5);
      figures.note(
        `memory ${mebibytes(twoBundles)} MiB with two bundles, ${mebibytes(peak)} MiB at most while a third is read`,
      );
      figures.atMost('memory after over before', settled / twoBundles, 1.1);
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

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
