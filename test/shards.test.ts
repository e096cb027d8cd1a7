// Trains in four shards, of 200,000 events in the long form; bench/scale.ts is the large version.
// At most two shards are in memory, and a run that is killed and continued gives the same bytes as
// an undisturbed run.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { importDataset } from '../src/data/import.ts';
import { openShards, type DatasetShards } from '../src/data/shards.ts';
import { trainForProtocol } from '../src/experiment/training-recipe.ts';
import { loadCheckpoint } from '../src/model/training/checkpoint.ts';
import type { TrainConfig } from '../src/model/train-config.ts';
import { runCli, spawnCli } from './support/cli.ts';
import { contents } from './support/contents.ts';
import { FORM } from './support/form.ts';
import { makeShop, SHOP_TRAINING, writeShop } from './support/shop.ts';

const USERS = { quick: 5250, long: 21_000 }[FORM];
const SHARD_EVENTS = { quick: 12_500, long: 50_000 }[FORM];
const SHARDS = 4;
const KILLS = { quick: 2, long: 6 }[FORM];
const CONFIG: TrainConfig = {
  ...SHOP_TRAINING,
  steps: 32,
  validateEvery: 4,
  patience: 20,
  loggedShare: 0.5,
};
const folder = mkdtempSync(join(tmpdir(), 'tandem-shards-'));
const at = (name: string): string => join(folder, name);

before(async () => {
  writeShop(at('raw'), makeShop({ items: 96, users: USERS, seed: 5 }));
  await importDataset({
    manifestPath: join(at('raw'), 'source.json'),
    outputDirectory: at('dataset'),
  });
  writeFileSync(at('settings.json'), JSON.stringify(CONFIG));
});
after(() => {
  rmSync(folder, { recursive: true });
});

/** Counts the shards that are still in memory after a garbage collection. */
class Held {
  readonly #events: WeakRef<object>[] = [];
  readonly #collect: () => void;
  most = 0;

  constructor() {
    setFlagsFromString('--expose-gc');
    this.#collect = runInNewContext('gc') as () => void;
  }

  async count(): Promise<number> {
    // After deref() the object lives until the end of the current job, so wait for the next one.
    await setImmediate();
    this.#collect();
    return this.#events.filter((reference) => reference.deref() !== undefined).length;
  }

  watch(shards: DatasetShards): DatasetShards {
    return {
      ...shards,
      read: async (shard, requests) => {
        const dataset = await shards.read(shard, requests);
        // The columns use the memory, not the object around them.
        this.#events.push(new WeakRef(dataset.events.times));
        this.most = Math.max(this.most, await this.count());
        return dataset;
      },
    };
  }

  get reads(): number {
    return this.#events.length;
  }
}

test('training never has more than two shards in memory', async () => {
  const shards = await openShards(at('dataset'), SHARD_EVENTS);
  assert.equal(shards.userCounts.length, SHARDS);
  const held = new Held();
  await trainForProtocol({
    shards: held.watch(shards),
    protocol: 'time',
    form: 'all',
    config: CONFIG,
    directory: at('watched'),
    refit: false,
  });
  shards.close();
  // Two passes for statistics, two for validation, one round of training.
  assert.equal(held.reads, 5 * SHARDS);
  assert.ok(held.most <= 2, `${held.most} shards were in memory`);
  assert.equal(loadCheckpoint(at('watched')).settings.shardEvents, SHARD_EVENTS);
});

// test/kill.test.ts kills a training run in the quick form.
const skip = FORM === 'quick' && 'npm run test:long runs it';
test(
  'a training run in shards that is killed gives the same bytes in the end',
  { skip },
  async () => {
    const command = (run: string): readonly string[] => [
      'train',
      ...['--data', at('dataset'), '--out', at(run), '--settings', at('settings.json')],
      ...['--shard-events', String(SHARD_EVENTS)],
    ];
    const calm = await runCli(command('calm'));
    assert.equal(calm.code, 0, calm.stderr);
    // Each kill comes as soon as there is a new checkpoint, however long that takes.
    for (let kill = 0; kill < KILLS; kill++) {
      const before = checkpointsOf(at('killed'));
      const child = spawnCli(command('killed'));
      const closed = once(child, 'close');
      while (child.exitCode === null && checkpointsOf(at('killed')) === before) await setTimeout(2);
      child.kill('SIGKILL');
      const [, signal] = (await closed) as [number | null, NodeJS.Signals | null];
      if (kill === 0) assert.equal(signal, 'SIGKILL');
    }
    const killed = await runCli(command('killed'));
    assert.equal(killed.code, 0, killed.stderr);
    assert.deepEqual(contents(at('killed')), contents(at('calm')));
    // The watched run in this process gave the same bytes.
    assert.deepEqual(contents(at('watched')), contents(at('calm')));
  },
);

/** Names of the checkpoints that a run has. */
function checkpointsOf(run: string): string {
  if (!existsSync(run)) return '';
  return readdirSync(run)
    .filter((name) => name.startsWith('step-'))
    .join();
}
