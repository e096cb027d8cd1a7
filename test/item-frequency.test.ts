// Tests a model with history boosts (itemFrequency) from training to an answer: tfjs in the
// evaluation and the server compute the same scores. It covers candidates in JSON and in binary,
// given items, filters and caps, single requests and batches, and fresh events.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readAnswer } from '../examples/binary-candidates.ts';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { verifyBundle } from '../src/bundle/verify.ts';
import { resolveServerSettings } from '../src/config.ts';
import type { Dataset } from '../src/data/dataset.ts';
import { oneShard } from '../src/data/shards.ts';
import { timeCutSplit } from '../src/data/splits.ts';
import { publish } from '../src/encode/publish.ts';
import { encodeUsers } from '../src/encode/users.ts';
import { ModelEvaluation } from '../src/evaluate/model-scorer.ts';
import { historyBoosts } from '../src/features/item-frequency.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { loadBundleModel } from '../src/model/bundle-model.ts';
import { train } from '../src/model/training/train.ts';
import { BINARY_TYPE } from '../src/serve/answer/encode-binary.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { boostsOf, newStateBatch, stateOf } from '../src/store/state-batch.ts';
import type { StateStore } from '../src/store/store.ts';
import { makeShop, SHOP_TEST_FROM, SHOP_TRAINING, shopDataset } from './support/shop.ts';

const TOLERANCE = 1e-5;
const folder = mkdtempSync(join(tmpdir(), 'tandem-item-frequency-'));
const bundles = join(folder, 'bundles');
const { maxHistory } = SHOP_TRAINING.model;
/** Users who return to a few items each. */
const dataset = comingBack(shopDataset(makeShop({ items: 64, users: 12, seed: 6 })));
const { events, items, users } = dataset;
let bundle: Bundle;
/** Scores of tfjs without subject, by user and item row. */
let expected: Float32Array[];

function comingBack(shop: Dataset): Dataset {
  const own = shop.events.items.map((item, i) => (i % 3 === 0 ? item : item % 5));
  return { ...shop, events: { ...shop.events, items: own } };
}

before(async () => {
  const run = join(folder, 'run');
  await train({
    shards: oneShard(dataset),
    trainingEnds: (shard) => timeCutSplit(shard, SHOP_TEST_FROM),
    config: {
      ...SHOP_TRAINING,
      model: { ...SHOP_TRAINING.model, itemFrequency: true },
      steps: 20,
      validateEvery: 20,
    },
    directory: run,
  });
  const { directory } = await publish(run, bundles);
  assert.ok((await verifyBundle(directory)).passed);
  bundle = await loadBundle(directory);

  const model = await loadBundleModel(bundle);
  const scorer = new ModelEvaluation(model, dataset).scorer({ name: 'tfjs', context: 'none' });
  const scores = new Float32Array(users.count * items.count);
  await scorer.score(
    users.ids.map((id, user) => ({
      id,
      user,
      subject: { kind: 'none' },
      demographics: {},
      slice: '',
      historyBegin: events.userOffsets[user]!,
      historyEnd: events.userOffsets[user + 1]!,
      timeSeconds: Date.now() / 1000,
      positives: new Int32Array(0),
      excluded: new Int32Array(0),
    })),
    scores,
  );
  model.dispose();
  expected = users.ids.map((_, user) =>
    scores.subarray(user * items.count, (user + 1) * items.count),
  );
});
after(() => {
  rmSync(folder, { recursive: true });
});

interface Candidate {
  readonly item: string;
  readonly score: number;
}

async function encodedStore(name: string, more: object = {}): Promise<string> {
  const path = join(folder, name);
  const store = LmdbStore.open(path);
  await encodeUsers({ bundle, dataset, store, ...more });
  await store.close();
  return path;
}

function serve(store: string, flags: object = {}): Promise<RunningServer> {
  const { settings } = resolveServerSettings({ flags: { bundles, store, port: '0', ...flags } });
  return startServer(settings);
}

async function post(server: RunningServer, path: string, body: object): Promise<unknown> {
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
    method: 'POST',
    headers: { Connection: 'close' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return JSON.parse(text) as unknown;
}

const asking = (user: number, more: object = {}): object => ({
  user: users.ids[user]!,
  surface: 'related',
  k: items.count,
  ...more,
});

async function candidates(
  server: RunningServer,
  user: number,
  more: object = {},
): Promise<readonly Candidate[]> {
  const answer = await post(server, '/v1/candidates', asking(user, more));
  return (answer as { candidates: readonly Candidate[] }).candidates;
}

/**
 * Asserts that an answer has the best `passing` items by the scores of tfjs, except for near ties.
 */
function assertBest(
  answer: readonly Candidate[],
  user: number,
  k: number,
  passing: (row: number) => boolean = () => true,
): void {
  const best = items.ids
    .flatMap((item, row) => (passing(row) ? [{ item, score: expected[user]![row]! }] : []))
    .sort((a, b) => b.score - a.score)
    .slice(0, k);
  assert.equal(answer.length, best.length);
  assert.equal(new Set(answer.map(({ item }) => item)).size, best.length);
  for (const [i, { item, score }] of answer.entries()) {
    const own = expected[user]![items.ids.indexOf(item)]!;
    assert.ok(passing(items.ids.indexOf(item)), item);
    assert.ok(Math.abs(score - own) < TOLERANCE, `${item}: expected ${own}, received ${score}`);
    assert.ok(Math.abs(score - best[i]!.score) < TOLERANCE, `user ${user}, position ${i}`);
  }
}

/** History boosts of all users, read from a store. */
function boostsIn(store: StateStore): ReturnType<typeof boostsOf>[] {
  const { embeddingWidth } = bundle.manifest.model;
  const batch = newStateBatch(users.count, embeddingWidth, 1, maxHistory);
  void store.read(bundle.manifest.encoderId as EncoderId, users.ids as readonly UserId[], batch);
  return users.ids.map((_, user) => {
    assert.equal(stateOf(batch, user).length, embeddingWidth);
    return boostsOf(batch, user);
  });
}

describe('item frequency', () => {
  it('gives the same history boosts in both engines, counted over the newest events', async () => {
    const weights = bundle.tensors();
    const [logWeight, logGain] = ['encoder.frequencyWeight', 'encoder.frequencyGain'].map(
      (name) => weights.get(name)!.data[0] as number,
    );
    for (const engine of ['native', 'tfjs'] as const) {
      const store = LmdbStore.open(await encodedStore(engine, { engine }), { readOnly: true });
      const stored = boostsIn(store);
      await store.close();
      for (const [user, boosts] of stored.entries()) {
        const [begin, end] = [events.userOffsets[user]!, events.userOffsets[user + 1]!];
        const frequency = { logWeight: logWeight!, logGain: logGain! };
        assert.deepEqual(boosts, historyBoosts(events, begin, end, maxHistory, frequency));
      }
      assert.ok(stored.some(({ items: { length } }) => length < maxHistory));
    }
  });

  for (const [plan, transport] of [
    ['exact', 'uws'],
    ['approximate', 'node'],
  ] as const)
    it(`gives the scores of tfjs in every kind of answer, plan ${plan}`, async () => {
      const server = await serve(await encodedStore(`served-${plan}`), { plan, transport });
      try {
        const all = users.ids.map((_, user) => user);
        for (const [k, more] of [
          [items.count, {}],
          [5, { k: 5 }],
        ] as const) {
          // Sent together: one micro-batch of users with different boosts.
          const answers = await Promise.all(all.map((user) => candidates(server, user, more)));
          for (const [user, answer] of answers.entries()) assertBest(answer, user, k);
        }
        const batch = (await post(server, '/v1/candidates:batch', {
          requests: all.map((user) => asking(user, { k: 7 })),
        })) as { results: { candidates: Candidate[] }[] };
        for (const [user, answer] of batch.results.entries())
          assertBest(answer.candidates, user, 7);
        for (const user of all) {
          const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
            method: 'POST',
            headers: { Connection: 'close', Accept: BINARY_TYPE },
            body: JSON.stringify(asking(user, { k: 7 })),
          });
          const bytes = new Uint8Array(await response.arrayBuffer());
          assertBest(readAnswer(bytes).candidates, user, 7);
        }

        for (const user of all) {
          const excluded = boostedRowsOf(user).slice(0, 2);
          const more = {
            k: 6,
            filter: { exclude_items: excluded.map((row) => items.ids[row]!) },
          };
          const answer = await candidates(server, user, more);
          assertBest(answer, user, 6, (row) => !excluded.includes(row));
          const { scores } = (await post(server, '/v1/score', {
            user: users.ids[user]!,
            surface: 'related',
            items: items.ids,
          })) as { scores: Candidate[] };
          for (const [row, { item, score }] of scores.entries()) {
            assert.equal(item, items.ids[row]);
            assert.ok(Math.abs(score - expected[user]![row]!) < TOLERANCE);
          }
        }
      } finally {
        await server.close();
      }
    });

  it('does not override a filter, and counts when advertisers are capped', async () => {
    const server = await serve(await encodedStore('filtered'));
    try {
      for (const [user] of users.ids.entries()) {
        const boosted = boostedRowsOf(user).find((row) => items.advertisers[row] !== '')!;
        const advertiser = items.advertisers[boosted]!;
        const without = { filter: { advertisers: { out: [advertiser] } } };
        assertBest(
          await candidates(server, user, without),
          user,
          items.count,
          (row) => items.advertisers[row] !== advertiser,
        );
        const capped = await candidates(server, user, {
          k: 3,
          filter: { advertisers: { max_each: 1 } },
        });
        const bestOf = new Set<string>();
        const kept = Array.from(items.ids.keys())
          .sort((a, b) => expected[user]![b]! - expected[user]![a]!)
          .filter((row) => {
            const own = items.advertisers[row]!;
            if (own === '') return true;
            if (bestOf.has(own)) return false;
            bestOf.add(own);
            return true;
          });
        assert.equal(capped.length, 3);
        for (const [i, { score }] of capped.entries())
          assert.ok(Math.abs(score - expected[user]![kept[i]!]!) < TOLERANCE);
      }
    } finally {
      await server.close();
    }
  });

  it('counts a fresh event at once, as a job over all events does', async () => {
    const path = await encodedStore('fresh', { histories: true });
    const server = await serve(path, { freshEvents: 'on' });
    const [user, row] = [0, 63];
    const time = events.times[events.userOffsets[1]! - 1]! + 3600;
    const scoreOf = async (): Promise<number> => {
      const { scores } = (await post(server, '/v1/score', {
        user: users.ids[user]!,
        surface: 'related',
        items: [items.ids[row]!],
      })) as { scores: Candidate[] };
      return scores[0]!.score;
    };
    try {
      assert.ok(!boostedRowsOf(user).includes(row));
      const before = await scoreOf();
      await post(server, '/v1/events', {
        events: [{ user: users.ids[user]!, item: items.ids[row]!, action: 'purchase', time }],
      });
      const score = await scoreOf();
      assert.ok(score > before + 0.05, `${before} became ${score}`);
      const answer = await candidates(server, user);
      assert.equal(answer.find(({ item }) => item === items.ids[row])!.score, score);
    } finally {
      await server.close();
    }
    const store = LmdbStore.open(path, { readOnly: true });
    const boosts = boostsIn(store)[user]!;
    await store.close();
    const begin = events.userOffsets[user]!;
    const end = events.userOffsets[user + 1]!;
    const own = (column: ArrayLike<number>, last: number): number[] => [
      ...Array.from(column).slice(begin, end),
      last,
    ];
    const together = { items: own(events.items, row), times: own(events.times, time) };
    const weights = bundle.tensors();
    const expectedBoosts = historyBoosts(together, 0, together.items.length, maxHistory, {
      logWeight: weights.get('encoder.frequencyWeight')!.data[0] as number,
      logGain: weights.get('encoder.frequencyGain')!.data[0] as number,
    });
    assert.deepEqual(boosts, expectedBoosts);
  });
});

/** Rows of the items that have a history boost for a user. */
function boostedRowsOf(user: number): number[] {
  const end = events.userOffsets[user + 1]!;
  const begin = Math.max(events.userOffsets[user]!, end - maxHistory);
  return [...new Set(events.items.subarray(begin, end))];
}
