// Kills every job at random moments and runs it again until it is done. Its result must equal that
// of an undisturbed job, and in between readers must never find incomplete files.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CURRENT_FILE } from '../src/bundle/manifest.ts';
import { loadBundle } from '../src/bundle/load.ts';
import { readDataset } from '../src/data/read-dataset.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { isFinished, loadCheckpoint, loadTrainingState } from '../src/model/training/checkpoint.ts';
import { Random } from '../src/random.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { newStateBatch, type StateBatch } from '../src/store/state-batch.ts';
import { runCli } from './support/cli.ts';
import { contents } from './support/contents.ts';
import { FORM } from './support/form.ts';
import { makeShop, SHOP_TRAINING, writeShop } from './support/shop.ts';

/** Kills of each job. */
const KILLS = { quick: 2, long: 8 }[FORM];
let hits = 0;
const USERS = 1300;
const random = new Random(2026);
const folder = mkdtempSync(join(tmpdir(), 'tandem-kill-'));
const at = (side: 'calm' | 'killed', name: string): string => join(folder, side, name);

before(() => {
  writeShop(join(folder, 'raw'), makeShop({ items: 96, users: USERS, seed: 5 }));
  writeFileSync(
    join(folder, 'settings.json'),
    // A checkpoint every few steps, so that kills hit before, during and after the writing of one.
    JSON.stringify({ ...SHOP_TRAINING, steps: 20, validateEvery: 4, patience: 20 }),
  );
});
after(() => {
  rmSync(folder, { recursive: true });
});

/**
 * Runs a job undisturbed on one side. On the other side it kills the job at random moments, then
 * lets it finish.
 *
 * @param check - called after every kill; checks that readers find complete files.
 * @returns standard output of both jobs.
 */
async function killAndFinish(
  command: (side: 'calm' | 'killed') => readonly string[],
  check: () => void | Promise<void>,
): Promise<{ calm: string; killed: string }> {
  const startedMs = performance.now();
  const calm = await runCli(command('calm'));
  assert.equal(calm.code, 0, calm.stderr);
  const lifeMs = performance.now() - startedMs;
  for (let kill = 0; kill < KILLS; kill++) {
    // In the first third of its life a job loads code.
    const killAfterMs = (0.3 + 0.7 * random.uniform()) * lifeMs;
    const { code, signal, stderr } = await runCli(command('killed'), { killAfterMs });
    assert.ok(signal === 'SIGKILL' || code === 0, stderr);
    await check();
    // The job has ended, and there is nothing left to kill.
    if (signal !== 'SIGKILL') break;
    hits++;
  }
  const killed = await runCli(command('killed'));
  assert.equal(killed.code, 0, killed.stderr);
  return { calm: calm.stdout, killed: killed.stdout };
}

test('an import that is killed gives the same dataset in the end', async () => {
  const out = at('killed', 'dataset');
  await killAndFinish(
    (side) => [
      'import',
      '--manifest',
      join(folder, 'raw', 'source.json'),
      '--out',
      at(side, 'dataset'),
    ],
    async () => {
      if (existsSync(out)) await readDataset(out);
    },
  );
  const [calm, killed] = [await readDataset(at('calm', 'dataset')), await readDataset(out)];
  assert.equal(killed.digest, calm.digest);
  assert.equal(killed.events.count, calm.events.count);
  assert.deepEqual(contents(out), contents(at('calm', 'dataset')));
});

test('a training run that is killed gives the same checkpoint in the end', async () => {
  const run = at('killed', 'run');
  await killAndFinish(
    (side) => [
      'train',
      ...['--data', at('calm', 'dataset'), '--out', at(side, 'run')],
      ...['--settings', join(folder, 'settings.json')],
    ],
    () => {
      if (!existsSync(join(run, 'run.json'))) return;
      if (isFinished(run)) loadCheckpoint(run);
      else loadTrainingState(run);
    },
  );
  assert.deepEqual(contents(run), contents(at('calm', 'run')));
});

test('encoding items gives the same index after kills', async () => {
  const { calm, killed } = await killAndFinish(
    (side) => ['encode', 'items', '--checkpoint', at(side, 'run')],
    () => undefined,
  );
  const index = (stdout: string): object => ({ ...(JSON.parse(stdout) as object), checkpoint: '' });
  assert.deepEqual(index(killed), index(calm));
});

test('publishing gives the same bundle after kills, and never an incomplete one', async () => {
  // Without these files publishing encodes the items again, so that kills hit that part as well.
  for (const part of ['item-vectors', 'item-index-clusters'])
    for (const side of ['calm', 'killed'] as const)
      rmSync(join(at(side, 'run'), part), { recursive: true });
  const bundles = at('killed', 'bundles');
  const { calm, killed } = await killAndFinish(
    (side) => ['publish', '--checkpoint', at(side, 'run'), '--bundles', at(side, 'bundles')],
    async () => {
      if (existsSync(join(bundles, CURRENT_FILE))) await loadBundle(bundles);
    },
  );
  const id = (stdout: string): string => (JSON.parse(stdout) as { bundleId: string }).bundleId;
  assert.equal(id(killed), id(calm));
  const bundle = await loadBundle(bundles);
  assert.equal(bundle.manifest.bundleId, id(calm));
  const calmBundle = await loadBundle(at('calm', 'bundles'));
  assert.deepEqual(contents(bundle.directory), contents(calmBundle.directory));
});

async function readStore(
  directory: string,
  encoder: EncoderId,
  users: readonly string[],
  width: number,
): Promise<{ states: StateBatch; count: number; watermark: number | undefined }> {
  const store = LmdbStore.open(directory);
  try {
    const states = newStateBatch(users.length, width);
    store.read(encoder, users as readonly UserId[], states);
    return {
      states,
      count: await store.count(encoder),
      watermark: await store.readWatermark(encoder),
    };
  } finally {
    await store.close();
  }
}

test('encoding users gives the same states after kills, and no early watermark', async () => {
  const { manifest } = await loadBundle(at('calm', 'bundles'));
  const { users } = await readDataset(at('calm', 'dataset'));
  const read = (side: 'calm' | 'killed'): ReturnType<typeof readStore> =>
    readStore(
      at(side, 'store'),
      manifest.encoderId as EncoderId,
      users.ids,
      manifest.model.embeddingWidth,
    );
  await killAndFinish(
    (side) => [
      'encode',
      'users',
      ...['--data', at('calm', 'dataset'), '--bundles', at('calm', 'bundles')],
      ...['--store', at(side, 'store')],
    ],
    async () => {
      if (!existsSync(at('killed', 'store'))) return;
      // A watermark says that all states are written.
      const { count, watermark } = await read('killed');
      if (watermark !== undefined) assert.equal(count, USERS);
    },
  );
  const [calm, killed] = [await read('calm'), await read('killed')];
  assert.equal(calm.count, USERS);
  assert.equal(killed.count, calm.count);
  assert.equal(killed.watermark, calm.watermark);
  assert.deepEqual(killed.states.lengths, calm.states.lengths);
  assert.deepEqual(killed.states.lastEventSeconds, calm.states.lastEventSeconds);
  // Only encodedAtSeconds may differ.
  assert.deepEqual(killed.states.states, calm.states.states);
});

test('enough kills hit a running job', () => {
  // A kill after the end of a job does not count; most come before it.
  assert.ok(hits >= KILLS, `${hits} of ${5 * KILLS}`);
});
