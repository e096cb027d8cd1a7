// kill -9 at random moments: of a process that publishes bundles, of one that writes states, and of
// a server that swaps bundles. test/kill.test.ts kills the commands as a user runs them; this row
// kills many more times. A killed process loses no page that the kernel has, so this does not
// measure a power cut.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readHistory } from '../../src/bundle/current.ts';
import { loadBundle } from '../../src/bundle/load.ts';
import type { UserId } from '../../src/ids.ts';
import { Random } from '../../src/random.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { newStateBatch } from '../../src/store/state-batch.ts';
import { post } from './ask.ts';
import { BATCH_USERS, ENCODER, STATE_WIDTH, userOf, valueOf } from './kills-child.ts';
import type { Figures, Row, Scale } from './row.ts';
import { ServerChild } from './server-child.ts';
import {
  answersAlone,
  isAsAlone,
  makeVersions,
  questionOf,
  type CandidatesBody,
} from './versions.ts';
import { TYPESCRIPT } from '../support/typescript.ts';

/** Kills of each of the three processes. */
const KILLS_AT = { quick: 7, long: 167 } as const;
const random = new Random(2026);

export const KILLS: Row = {
  name: 'kills',
  fault: 'kill -9 while bundles are published, states are written, bundles are swapped',
  method:
    'Each of the three processes is killed at random moments, a third of 500 times (quick ' +
    'form: of 21). After each kill the bundles or the store are opened and compared with what ' +
    'was acknowledged.',
  targets: [
    'No acknowledged write is lost, and no batch of states is there in part.',
    'The current bundle is the old one or the new one, never a mixture.',
  ],
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-kills-'));
    try {
      await killPublishing(join(folder, 'published'), KILLS_AT[scale], figures);
      await killWriting(join(folder, 'written'), KILLS_AT[scale], figures);
      await killSwapping(join(folder, 'swapped'), scale, figures);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

/** Starts the child, kills it at a random time after its first line, and returns its lines. */
async function killed(
  job: 'publish' | 'write',
  directory: string,
  from: number,
): Promise<string[]> {
  const file = fileURLToPath(new URL('kills-child.ts', import.meta.url));
  const child = spawn(process.execPath, [...TYPESCRIPT, file, job, directory, String(from)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const output = createInterface({ input: child.stdout });
  output.on('line', (line) => lines.push(line));
  const closed = once(output, 'close');
  await Promise.race([once(output, 'line'), closed]);
  await sleep(random.uniform() * 150);
  child.kill('SIGKILL');
  await closed;
  if (lines.length === 0) throw new Error(`Expected the child to ${job} before it is killed.`);
  return lines;
}

async function killPublishing(bundles: string, kills: number, figures: Figures): Promise<void> {
  let from = 0;
  let published = 0;
  let forgotten = 0;
  for (let kill = 0; kill < kills; kill++) {
    figures.progress(`kill ${kill} of publishing`);
    const lines = await killed('publish', bundles, from);
    const acknowledged = lines.map((line) => line.split(' ')[1]!);
    // Throws when the bundle is incomplete.
    const { manifest } = await loadBundle(bundles);
    const history = readHistory(bundles);
    const last = acknowledged.at(-1)!;
    // The current bundle is the last one acknowledged, or the one after it, whose acknowledgement
    // the kill cut off.
    if (history[0] !== last && history[1] !== last) forgotten++;
    if (!manifest.bundleId.startsWith(history[0]!)) forgotten++;
    published += lines.length;
    from += lines.length + 1;
  }
  figures.report('kills of a process that publishes', kills);
  figures.report('bundles published', published);
  figures.atMost('published bundles lost or mixed', forgotten, 0);
}

async function killWriting(directory: string, kills: number, figures: Figures): Promise<void> {
  let from = 0;
  let acknowledged = 0;
  let lost = 0;
  let torn = 0;
  for (let kill = 0; kill < kills; kill++) {
    figures.progress(`kill ${kill} of writing`);
    const lines = await killed('write', directory, from);
    const batches = lines.map(Number);
    const store = LmdbStore.open(directory);
    try {
      // The batch after the last acknowledged one may be there completely or not at all.
      for (const batch of [...batches, batches.at(-1)! + 1]) {
        const users = Array.from({ length: BATCH_USERS }, (_, i) => userOf(batch, i) as UserId);
        const states = newStateBatch(users.length, STATE_WIDTH);
        store.read(ENCODER, users, states);
        const whole = users.filter(
          (_, i) => states.lengths[i] === 1 && states.states[i * STATE_WIDTH] === valueOf(batch, i),
        ).length;
        if (batches.includes(batch)) lost += BATCH_USERS - whole;
        else if (whole !== 0 && whole !== BATCH_USERS) torn++;
      }
    } finally {
      await store.close();
    }
    acknowledged += batches.length * BATCH_USERS;
    from = batches.at(-1)! + 2;
  }
  figures.report('kills of a process that writes states', kills);
  figures.report('states acknowledged', acknowledged);
  figures.atMost('acknowledged states lost', lost, 0);
  figures.atMost('batches of states there in part', torn, 0);
}

async function killSwapping(folder: string, scale: Scale, figures: Figures): Promise<void> {
  const versions = await makeVersions(folder, { versions: 2, items: 120, users: 8 });
  const { bundles, store, names, users } = versions;
  const expected = await answersAlone(versions);
  let mixed = 0;
  let swapMs = 0;
  const served = new Set<string>();
  for (let kill = 0; kill < KILLS_AT[scale]; kill++) {
    figures.progress(`kill ${kill} of swapping`);
    const server = await ServerChild.start({ bundles, store, 'admin-port': '0' });
    const running = new AbortController();
    const check = async (user: string): Promise<void> => {
      const body = (await post(server.port, '/v1/candidates', questionOf(user)))
        .body as CandidatesBody;
      served.add(body.bundle_id);
      if (!isAsAlone(expected, body, user)) mixed++;
    };
    try {
      for (const user of users) await check(user);
      if (kill === 0) swapMs = await swapTime(server, names);
      // Both end when the server is killed.
      const swapping = (async (): Promise<void> => {
        for (let i = kill + 1; !running.signal.aborted; i++)
          await post(server.adminPort, '/bundles/activate', { bundle: names[i % 2] });
      })();
      const asking = (async (): Promise<void> => {
        for (let i = 0; !running.signal.aborted; i++) await check(users[i % users.length]!);
      })();
      const ended = Promise.allSettled([swapping, asking]);
      await sleep(random.uniform() * 3 * swapMs);
      server.expectAlive();
      running.abort();
      await server.end('SIGKILL');
      await ended;
    } finally {
      await server.end('SIGKILL');
    }
  }
  figures.report('kills of a server that swaps bundles', KILLS_AT[scale]);
  figures.atLeast('bundles that answered', served.size, 2);
  figures.atMost('answers mixed of two bundles', mixed, 0);
}

/** @returns how long a swap takes on this machine, in milliseconds. */
async function swapTime(server: ServerChild, names: readonly string[]): Promise<number> {
  const startedMs = performance.now();
  for (const name of names) await post(server.adminPort, '/bundles/activate', { bundle: name });
  return (performance.now() - startedMs) / names.length;
}
