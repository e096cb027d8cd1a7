// A disk that fills up, on a small tmpfs: publishing and writing states fail loudly, and what was there before is served on.
// Needs the right to mount.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readHistory } from '../../src/bundle/current.ts';
import { loadBundle } from '../../src/bundle/load.ts';
import type { UserId } from '../../src/ids.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { newStateBatch } from '../../src/store/store.ts';
import { post } from './ask.ts';
import { BATCH_USERS, ENCODER, STATE_WIDTH, userOf } from './kills-child.ts';
import { Skipped, type Row } from './row.ts';
import { ServerChild } from './server-child.ts';
import { makeVersions, questionOf } from './versions.ts';

const DISK_KIBIBYTES = 16_384;
/** Each leaves another number of bytes free, so that another write is the one that fails. */
const ROUNDS_AT = { quick: 4, long: 60 } as const;

export const DISK_FULL: Row = {
  name: 'disk-full',
  target: 'disk full at a write of bundles or states: loud failure, what is served untouched',
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-disk-'));
    const disk = join(folder, 'disk');
    mkdirSync(disk);
    const mounted = spawnSync('mount', [
      ...['-t', 'tmpfs', '-o', `size=${DISK_KIBIBYTES}k`, 'tmpfs', disk],
    ]);
    if (mounted.status !== 0) {
      rmSync(folder, { recursive: true });
      throw new Skipped('a tmpfs cannot be mounted here: run it as root');
    }
    let server: ServerChild | undefined;
    try {
      const { bundles, store, names } = await makeVersions(disk, {
        ...{ versions: 1, items: 60, users: 20 },
      });
      server = await ServerChild.start({ bundles, store });
      let silent = 0;
      let touched = 0;
      let lost = 0;
      const rounds = ROUNDS_AT[scale];
      for (let round = 0; round < rounds; round++) {
        figures.progress(`full disk ${round} of ${rounds}`);
        const { bavail, bsize } = statfsSync(disk);
        const free = bavail * bsize;
        const ballast = join(disk, 'ballast');
        const bundle = await fullBy(
          'publish',
          bundles,
          ballast,
          free - Math.round((round * 80_000) / rounds),
        );
        if (!bundle.saysWhy) silent++;
        // Publications that fit before the disk was full may be current: whole, then.
        const { directory } = await loadBundle(bundles);
        if (!directory.endsWith(readHistory(bundles)[0]!)) touched++;
        const { status } = await post(server.port, '/v1/candidates', questionOf('user-1'));
        if (status !== 200) touched++;
        for (const name of readHistory(bundles))
          if (name !== names[0]) rmSync(join(bundles, name), { recursive: true, force: true });
        writeFileSync(join(bundles, 'current'), `${names[0]!}\n`);

        const states = join(disk, `states-${round}`);
        const written = await fullBy('write', states, ballast, free - 400_000 - round * 4096);
        if (!written.saysWhy) silent++;
        lost += await missing(states, written.acknowledged);
        rmSync(states, { recursive: true });
      }
      figures.note(
        `${rounds} publications and ${rounds} writers of states on a disk that fills up`,
      );
      figures.atMost('failures without ENOSPC or an error code', silent, 0);
      figures.atMost('bundles or answers touched', touched, 0);
      figures.atMost('acknowledged states lost', lost, 0);
    } finally {
      await server?.end();
      spawnSync('umount', ['-l', disk]);
      rmSync(folder, { recursive: true });
    }
  },
};

/** Lets the child of kills.ts work until the disk, of which ballast takes all but a rest, is full. */
async function fullBy(
  job: 'publish' | 'write',
  directory: string,
  ballast: string,
  ballastBytes: number,
): Promise<{ saysWhy: boolean; acknowledged: number }> {
  writeFileSync(ballast, Buffer.alloc(Math.max(0, ballastBytes)));
  const file = fileURLToPath(new URL('kills-child.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', file, job, directory, '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (chunk: string) => (text[name] += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  rmSync(ballast);
  const saysWhy = code !== null && code !== 0 && /ENOSPC|ERR_STORE_UNAVAILABLE/.test(text.stderr);
  return { saysWhy, acknowledged: text.stdout.split('\n').length - 1 };
}

/** States of acknowledged batches that a reader does not find. */
async function missing(directory: string, batches: number): Promise<number> {
  const store = LmdbStore.open(directory);
  try {
    let found = 0;
    for (let batch = 0; batch < batches; batch++) {
      const users = Array.from({ length: BATCH_USERS }, (_, i) => userOf(batch, i) as UserId);
      const states = newStateBatch(users.length, STATE_WIDTH);
      store.read(ENCODER, users, states);
      found += states.lengths.filter((length) => length === 1).length;
    }
    return batches * BATCH_USERS - found;
  } finally {
    await store.close();
  }
}
