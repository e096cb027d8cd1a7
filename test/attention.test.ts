// Tests fusion attention from training to an answer: histories become sequences in the store, in
// every state type, and the server returns the candidates that the trained model ranks first for
// the same histories.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { resolveServerSettings } from '../src/config.ts';
import { oneShard } from '../src/data/shards.ts';
import { timeCutSplit } from '../src/data/splits.ts';
import { publish } from '../src/encode/publish.ts';
import { encodeUsers } from '../src/encode/users.ts';
import { ContextFeatures } from '../src/features/context.ts';
import { HeadBatchBuilder } from '../src/features/head-batch.ts';
import { HistoryBatchBuilder, stateAge } from '../src/features/sequence.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { loadBundleModel } from '../src/model/bundle-model.ts';
import { eventColumns } from '../src/model/training/sampling/sampler.ts';
import { train } from '../src/model/training/train.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { newStateBatch } from '../src/store/state-batch.ts';
import { makeShop, SHOP_TEST_FROM, SHOP_TRAINING, shopDataset } from './support/shop.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-attention-'));
const dataset = shopDataset(makeShop({ items: 64, users: 30, seed: 5 }));
const users = dataset.users.ids as readonly UserId[];
const SUBJECT = dataset.items.categoryNames[2]!;
const K = 20;

before(async () => {
  await train({
    shards: oneShard(dataset),
    trainingEnds: (shard) => timeCutSplit(shard, SHOP_TEST_FROM),
    config: {
      ...SHOP_TRAINING,
      model: { ...SHOP_TRAINING.model, fusion: 'attention' },
      steps: 20,
      validateEvery: 20,
    },
    directory: join(folder, 'run'),
  });
});
after(() => {
  rmSync(folder, { recursive: true });
});

/** Query embeddings of all users and of an unknown user, computed by tfjs from the events. */
async function expectedQueries(bundle: Bundle): Promise<Float32Array> {
  const model = await loadBundleModel(bundle);
  const features = new ContextFeatures(bundle.schema);
  const { userOffsets, times } = dataset.events;
  const histories = new HistoryBatchBuilder(model.config.maxHistory);
  const columns = eventColumns(dataset, features);
  for (let user = 0; user < users.length; user++)
    histories.add(columns, userOffsets[user]!, userOffsets[user + 1]!);
  const batch = histories.batch();
  const builder = new HeadBatchBuilder(model.config.embeddingWidth, users.length + 1, true);
  const subject = features.interestBag([{ category: SUBJECT, confidence: 1 }]);
  const nowSeconds = Date.now() / 1000;
  for (const [user, state] of (await model.encodeHistories(batch)).entries()) {
    const events = batch.offsets[user + 1]! - batch.offsets[user]!;
    assert.equal(state.length, events * model.config.embeddingWidth);
    const age = stateAge(times[userOffsets[user + 1]! - 1]!, nowSeconds);
    builder.add(state, age, subject, [0, 0, 0]);
  }
  builder.add(undefined, 0, subject, [0, 0, 0]);
  const queries = await model.embedQueries(builder.batch());
  model.dispose();
  return queries;
}

interface Answer {
  readonly state: { readonly status: string };
  readonly candidates: readonly { readonly item: string; readonly score: number }[];
}

async function ask(server: RunningServer, user: string): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
    method: 'POST',
    body: JSON.stringify({
      user,
      surface: 'related',
      subject: { interests: [{ category: SUBJECT, confidence: 1 }] },
      k: K,
    }),
  });
  assert.equal(response.status, 200);
  return (await response.json()) as Answer;
}

describe('fusion attention', () => {
  for (const { type, tolerance } of [
    { type: 'f32', tolerance: 1e-4 },
    { type: 'bf16', tolerance: 2e-2 },
    { type: 'int8', tolerance: 2e-2 },
  ] as const)
    it(`gives the same candidates in training and serving, with states in ${type}`, async () => {
      const published = await publish(join(folder, 'run'), join(folder, type), undefined, type);
      const bundle = await loadBundle(published.directory);
      const { embeddingWidth: width, maxHistory } = bundle.manifest.model;
      const encoder = bundle.manifest.encoderId as EncoderId;
      const store = new MemoryStore();
      await encodeUsers({ bundle, dataset, store });
      const stored = newStateBatch(users.length, width, maxHistory);
      store.read(encoder, users, stored);
      const { userOffsets } = dataset.events;
      assert.deepEqual(
        [...stored.lengths],
        users.map((_, user) => Math.min(maxHistory, userOffsets[user + 1]! - userOffsets[user]!)),
      );
      assert.equal((await encodeUsers({ bundle, dataset, store })).encoded, 0);

      const { settings } = resolveServerSettings({
        flags: { bundles: published.directory, store: 'unused', port: '0', plan: 'exact' },
      });
      const server = await startServer(settings, store);
      try {
        const expected = await expectedQueries(bundle);
        // Sent together, so that micro-batches have sequences of different lengths and a cold
        // start.
        const asked = ['nobody', ...users];
        const answers = await Promise.all(asked.map((user) => ask(server, user)));
        for (const [i, { state, candidates }] of answers.entries()) {
          assert.equal(state.status === 'missing', i === 0);
          assert.equal(candidates.length, K);
          const row = i === 0 ? users.length : i - 1;
          const query = expected.subarray(row * width, (row + 1) * width);
          const scores = new Map(
            bundle.catalogue.ids
              .all()
              .map((id, itemRow) => [
                id,
                query.reduce((sum, x, d) => sum + x * bundle.vectors[itemRow * width + d]!, 0),
              ]),
          );
          for (const { item, score } of candidates)
            assert.ok(Math.abs(score - scores.get(item)!) <= tolerance, `${asked[i]!}: ${item}`);
          const best = [...scores.values()].sort((a, b) => b - a);
          for (const [j, { score }] of candidates.entries())
            assert.ok(Math.abs(score - best[j]!) <= tolerance);
        }
      } finally {
        await server.close();
      }
    });
});
