// Runs the commands of a daily retrain: a model is trained on the shop as it was some weeks ago,
// then on the shop of today, with new items, from these weights. It also trains a head alone and
// publishes it with the states and vectors that it was trained on.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { resolveServerSettings } from '../src/config.ts';
import { readDataset } from '../src/data/read-dataset.ts';
import { publish } from '../src/encode/publish.ts';
import { encodeUsers } from '../src/encode/users.ts';
import { loadCheckpoint, loadModel } from '../src/model/training/checkpoint.ts';
import type { TrainingResult } from '../src/model/training/run.ts';
import { startServer } from '../src/serve/process/server.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { runCli } from './support/cli.ts';
import {
  earlierShop,
  makeShop,
  SHOP_CATEGORIES,
  SHOP_START,
  SHOP_TRAINING,
  writeShop,
} from './support/shop.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-warm-start-'));
const at = (...names: string[]): string => join(folder, ...names);
const EARLIER = SHOP_START + 46 * 86_400;
const OLD_ITEMS = 80;
const shop = makeShop({ items: 96, users: 200, seed: 6 });

/**
 * Runs a command that must succeed.
 *
 * @returns its standard output.
 */
async function tandem(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** Trains and writes the run to `run`. */
async function train(
  data: string,
  run: string,
  ...flags: readonly string[]
): Promise<TrainingResult> {
  const out = ['--data', at(data), '--out', at(run)];
  return JSON.parse(await tandem('train', ...out, ...flags)) as TrainingResult;
}

before(async () => {
  writeShop(at('raw-then'), earlierShop(shop, OLD_ITEMS, EARLIER), EARLIER);
  writeShop(at('raw-now'), shop);
  for (const when of ['then', 'now'])
    await tandem('import', '--manifest', at(`raw-${when}`, 'source.json'), '--out', at(when));
  const settings = (name: string, values: object): void => {
    writeFileSync(at(name), JSON.stringify(values));
  };
  settings('long.json', { ...SHOP_TRAINING, steps: 150, validateEvery: 50 });
  // A warm start takes the layers from its run; a cold start needs them in its settings.
  const { model, ...rest } = SHOP_TRAINING;
  const few = { ...rest, steps: 10, validateEvery: 10 };
  settings('few.json', few);
  settings('few-cold.json', { ...few, model });
  await train('then', 'old', '--settings', at('long.json'));
});
after(() => {
  rmSync(folder, { recursive: true });
});

/** Returns recall@50 on the validation requests after all steps. */
function recall({ validations }: TrainingResult): number {
  return validations.at(-1)!.metric;
}

describe('a warm start on newer data', () => {
  it('has a higher recall than a cold start with as many steps', async () => {
    const warm = await train(
      'now',
      'warm',
      '--warm-start',
      at('old'),
      '--settings',
      at('few.json'),
    );
    const cold = await train('now', 'cold', '--settings', at('few-cold.json'));
    assert.equal(warm.stepsRun, cold.stepsRun);
    assert.ok(recall(warm) > recall(cold) + 0.05, `${recall(warm)} and ${recall(cold)}`);
    assert.ok(loadCheckpoint(at('old')).settings.dataUntilSeconds < EARLIER);
  });

  it('places new items near items of the same category', async () => {
    writeFileSync(at('still.json'), JSON.stringify({ steps: 1, learningRate: 1e-30 }));
    await train('now', 'still', '--warm-start', at('old'), '--settings', at('still.json'));
    const { catalogue } = loadCheckpoint(at('still'));
    const model = await loadModel(at('still'));
    const vectors = await model.itemVectors();
    const width = model.config.embeddingWidth;
    model.dispose();
    assert.equal(catalogue.count, shop.items.length);
    const groupOf = (row: number): number => row % SHOP_CATEGORIES.length;
    const score = (a: number, b: number): number => {
      let sum = 0;
      for (let d = 0; d < width; d++) sum += vectors[a * width + d]! * vectors[b * width + d]!;
      return sum;
    };
    let alike = 0;
    for (let item = OLD_ITEMS; item < catalogue.count; item++) {
      const others = Array.from({ length: OLD_ITEMS }, (_, other) => other);
      const nearest = others.reduce((best, other) =>
        score(item, other) > score(item, best) ? other : best,
      );
      alike += Number(groupOf(nearest) === groupOf(item));
    }
    assert.ok(alike >= 0.8 * (catalogue.count - OLD_ITEMS), `${alike}`);
  });

  it('starts the search from the old search, and the refit from the old refit', async () => {
    const few = ['--refit', '--settings', at('few.json')];
    await train('then', 'old-refit', '--warm-start', at('old'), ...few);
    await train('now', 'refit', '--warm-start', at('old-refit'), ...few);
    const startOf = (run: string): string => loadCheckpoint(at(run)).settings.start!.digest;
    // The old run's search and refit began from one run, those of the new run from one each.
    assert.equal(startOf('old-refit'), startOf('old-refit/search'));
    assert.notEqual(startOf('refit'), startOf('refit/search'));
    const { code, stderr } = await runCli([
      'train',
      ...['--data', at('then'), '--out', at('judged'), '--warm-start', at('old-refit')],
    ]);
    assert.equal(code, 1);
    assert.match(stderr, /ERR_CHECKPOINT_INVALID: .*has seen events until/);
  });
});

describe('a head that is trained alone', () => {
  let before: Bundle;
  let after: Bundle;

  it('is published with the encoderId and itemTowerId of its start', async () => {
    const flags = ['--head-only', '--warm-start', at('warm'), '--settings', at('few.json')];
    await train('now', 'head', ...flags);
    before = await loadBundle((await publish(at('warm'), at('bundles'))).directory);
    after = await loadBundle((await publish(at('head'), at('bundles'))).directory);
    const [was, is] = [before.manifest, after.manifest];
    assert.deepEqual(
      [is.encoderId, is.itemTowerId, is.schemaHash],
      [was.encoderId, was.itemTowerId, was.schemaHash],
    );
    assert.notEqual(is.headId, was.headId);
    assert.notEqual(is.bundleId, was.bundleId);
    assert.deepEqual(after.vectors, before.vectors);
  });

  it('uses the states that were encoded for its start', async () => {
    const dataset = await readDataset(at('now'));
    const store = new MemoryStore();
    await encodeUsers({ bundle: before, dataset, store });
    // The new bundle has nothing to encode.
    assert.equal((await encodeUsers({ bundle: after, dataset, store })).active, 0);
    const { settings } = resolveServerSettings({
      flags: { bundles: after.directory, store: 'unused', port: '0' },
    });
    const server = await startServer(settings, store);
    try {
      const ask = async (
        user: string,
      ): Promise<{ state: { status: string }; candidates: unknown[] }> => {
        const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
          method: 'POST',
          body: JSON.stringify({ user, surface: 'related', subject: { item: 'item-001' }, k: 10 }),
        });
        assert.equal(response.status, 200);
        return (await response.json()) as Awaited<ReturnType<typeof ask>>;
      };
      const { state, candidates } = await ask(shop.users[0]!.id);
      assert.equal(state.status, 'fresh');
      assert.equal(candidates.length, 10);
      assert.equal((await ask('nobody')).state.status, 'missing');
    } finally {
      await server.close();
    }
  });

  it('is rejected on a newer catalogue, with a remedy', async () => {
    const { code, stderr } = await runCli([
      'train',
      ...['--data', at('now'), '--out', at('other'), '--head-only', '--warm-start', at('old')],
    ]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /ERR_CHECKPOINT_INVALID: Expected the schema of .*Train without --head-only/,
    );
  });
});
