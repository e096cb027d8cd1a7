// A disk that is full whenever something is written: a dataset, a checkpoint, vectors, a bundle,
// states, and events that a running server accepts. Each job first runs with enough space, which
// shows how much it writes; then it gets a part of that. The disk is a tmpfs that this row mounts.

import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listBundles, readHistory } from '../../src/bundle/current.ts';
import { loadBundle } from '../../src/bundle/load.ts';
import { readDataset } from '../../src/data/read-dataset.ts';
import type { EncoderId } from '../../src/ids.ts';
import {
  isFinished,
  loadCheckpoint,
  loadTrainingState,
} from '../../src/model/training/checkpoint.ts';
import { LmdbStore } from '../../src/store/lmdb-store.ts';
import { runCli } from '../support/cli.ts';
import { SHOP_TRAINING, makeShop, writeShop } from '../support/shop.ts';
import { post } from './ask.ts';
import type { Figures, Row, Scale } from './row.ts';
import { ServerChild } from './server-child.ts';
import { SmallDisk } from './small-disk.ts';
import { candidatesOf, type CandidatesBody } from './versions.ts';

const DISK_MEBIBYTES = 64;
const USERS = 400;
/** Free space when a job starts, as shares of what the job writes. */
const SHARES_AT: Readonly<Record<Scale, readonly number[]>> = {
  quick: [0, 0.4],
  long: Array.from({ length: 20 }, (_, i) => i / 20),
};
/** Free space for the first events, until the store cannot grow. */
const ROOM_BYTES = 100_000;
const EVENTS_A_REQUEST = 100;
const MOST_REQUESTS = 2000;
/** A clear error: a code of the error table, or the system's own error. */
const CLEAR_ERROR = /\bERR_[A-Z_]+: |\bENOSPC\b|No space left on device/;

interface Job {
  readonly name: string;
  /** Arguments of a run that writes to `out`. */
  readonly command: (out: string) => readonly string[];
  /** Reads what a run left at `out`; throws when it is incomplete. */
  readonly check: (out: string) => Promise<void>;
}

export const DISK_FULL: Row = {
  name: 'disk-full',
  fault: 'The disk is full during every job that writes, and while events arrive',
  method:
    'Each job runs on a disk that has room for a part of what it writes, and then again with ' +
    'enough space. A server that serves from this disk gets events until the store cannot ' +
    'grow.',
  targets: [
    'Every failure has a clear error: a code of the error table, or the system error.',
    'Nothing incomplete is visible, and the answers of the server stay the same.',
    'The same job completes when there is space, and leaves no temporary file.',
  ],
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-disk-'));
    const disk = new SmallDisk(join(folder, 'disk'), DISK_MEBIBYTES);
    let server: ServerChild | undefined;
    try {
      const on = (name: string): string => join(disk.path, name);
      const [dataset, run, bundles, store] = [on('dataset'), on('run'), on('bundles'), on('store')];
      const settings = join(folder, 'settings.json');
      writeShop(join(folder, 'raw'), makeShop({ items: 96, users: USERS, seed: 5 }));
      writeFileSync(settings, JSON.stringify({ ...SHOP_TRAINING, steps: 8, validateEvery: 4 }));
      const encode = ['encode', 'users', '--histories', '--data', dataset, '--bundles', bundles];
      const manifest = join(folder, 'raw', 'source.json');
      const jobs: readonly Job[] = [
        {
          name: 'import',
          command: (out) => ['import', '--manifest', manifest, '--out', out],
          check: async (out) => {
            if (existsSync(out)) await readDataset(out);
          },
        },
        {
          name: 'train',
          command: (out) => ['train', '--data', dataset, '--out', out, '--settings', settings],
          check: (out) => {
            if (existsSync(join(out, 'run.json')))
              if (isFinished(out)) loadCheckpoint(out);
              else loadTrainingState(out);
            return Promise.resolve();
          },
        },
        {
          name: 'publish',
          command: (out) => ['publish', '--checkpoint', run, '--bundles', out],
          check: async (out) => {
            if (!existsSync(out)) return;
            for (const name of listBundles(out)) await loadBundle(join(out, name));
            if (readHistory(out).length > 0) await loadBundle(out);
          },
        },
        {
          name: 'encode users',
          command: (out) => [...encode, '--store', out],
          check: (out) => expectHonestWatermark(out, bundles),
        },
      ];
      const calm = new Map(jobs.map(({ name }, i) => [name, [dataset, run, bundles, store][i]!]));
      for (const job of jobs) {
        const out = calm.get(job.name)!;
        const before = disk.freeBytes;
        await expectDone(job, out);
        const bytes = before - disk.freeBytes;
        if (job.name === 'encode users') server = await serve(bundles, store);
        await fillDuring(job, `${out}-full`, disk, bytes, SHARES_AT[scale], figures, server);
      }
      await sendEvents(server!, disk, figures);
      server!.expectAlive();
    } finally {
      await server?.end();
      disk.unmount();
      rmSync(folder, { recursive: true });
    }
  },
};

function serve(bundles: string, store: string): Promise<ServerChild> {
  return ServerChild.start({ bundles, store, 'fresh-events': 'on' });
}

async function expectDone(job: Job, out: string): Promise<void> {
  const { code, stderr } = await runCli(job.command(out));
  if (code !== 0) throw new Error(`Expected ${job.name} to end well with space left: ${stderr}`);
  await job.check(out);
}

/**
 * Runs a job with too little space, once for each share, checks what it left, and then runs it with
 * enough.
 */
async function fillDuring(
  job: Job,
  out: string,
  disk: SmallDisk,
  bytes: number,
  shares: readonly number[],
  figures: Figures,
  server: ServerChild | undefined,
): Promise<void> {
  let failed = 0;
  for (const share of shares) {
    figures.progress(`${job.name} with ${Math.round(100 * share)} % of ${bytes} bytes`);
    disk.fill(Math.round(share * bytes));
    const { code, signal, stderr } = await runCli(job.command(out), { killAfterMs: 60_000 });
    // A job may complete with less space than it was measured to write, so success is no miss.
    if (code !== null && code !== 0 && CLEAR_ERROR.test(stderr)) failed++;
    else if (code !== 0)
      figures.misses.push(
        `${job.name} with ${share} of its space ended with ${String(signal ?? code)}: ` +
          stderr.slice(-300),
      );
    await job.check(out);
    if (server !== undefined) await candidatesFrom(server);
    disk.free();
  }
  figures.report(`${job.name}: runs with too little space`, shares.length);
  figures.atLeast(`${job.name}: runs that failed with a clear error`, failed, 1);
  await expectDone(job, out);
  const leftovers = readdirSync(disk.path, { recursive: true, encoding: 'utf8' });
  figures.atMost(
    `${job.name}: temporary files left after it completed`,
    leftovers.filter((name) => name.includes('.tmp-')).length,
    0,
  );
  rmSync(out, { recursive: true });
}

/** A watermark says that the state of every user is there; throws when one is missing. */
async function expectHonestWatermark(directory: string, bundles: string): Promise<void> {
  if (!existsSync(join(directory, 'data.mdb'))) return;
  const encoder = (await loadBundle(bundles)).manifest.encoderId as EncoderId;
  const store = LmdbStore.open(directory);
  try {
    const [watermark, count] = [await store.readWatermark(encoder), await store.count(encoder)];
    if (watermark !== undefined && count !== USERS)
      throw new Error(`Expected ${USERS} states under a watermark, found ${count}.`);
  } finally {
    await store.close();
  }
}

async function candidatesFrom(server: ServerChild): Promise<string> {
  const question = { user: 'nobody', surface: 'search', subject: { query: 'coffee' }, k: 10 };
  const { status, body } = await post(server.port, '/v1/candidates', question);
  if (status !== 200) throw new Error(`Expected candidates from a full disk, received ${status}.`);
  return candidatesOf(body as CandidatesBody);
}

/**
 * Sends events until the store cannot grow, then the last two requests again with space: refused
 * events were not kept.
 */
async function sendEvents(server: ServerChild, disk: SmallDisk, figures: Figures): Promise<void> {
  figures.progress('events');
  const sound = await candidatesFrom(server);
  const send = (request: number): ReturnType<typeof post> =>
    post(server.port, '/v1/events', {
      events: Array.from({ length: EVENTS_A_REQUEST }, (_, i) => {
        const name = `${request}-${i}`;
        return { user: `fresh-user-${name}`, item: 'unknown', time: 1, event_id: `event-${name}` };
      }),
    });
  disk.fill(ROOM_BYTES);
  let taken = 0;
  let refusal = await send(taken);
  while (refusal.status === 200 && ++taken < MOST_REQUESTS) refusal = await send(taken);
  const { error } = refusal.body as { error?: { code: string } };
  figures.report('events: requests accepted before the disk was full', taken);
  figures.report('events: answer on the full disk', `${refusal.status} ${String(error?.code)}`);
  figures.holds(
    'events: refused with 503 ERR_STORE_UNAVAILABLE',
    refusal.status === 503 && error?.code === 'ERR_STORE_UNAVAILABLE',
  );
  const unchanged = (await candidatesFrom(server)) === sound;
  figures.holds('events: candidates on the full disk are those before', unchanged);
  disk.free();
  const accepted = async (request: number): Promise<number> =>
    ((await send(request)).body as { accepted?: number }).accepted ?? -1;
  figures.equals(
    'events: of a refused request, accepted when sent again with space',
    await accepted(taken),
    EVENTS_A_REQUEST,
  );
  if (taken > 0)
    figures.equals(
      'events: of an accepted request, accepted when sent again',
      await accepted(taken - 1),
      0,
    );
}
