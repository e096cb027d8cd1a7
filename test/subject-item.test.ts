// Tests a model that reads the item in view (subjectItem) from training to an answer: it is
// published, verified at every instruction set, and served with the candidates that tfjs ranks
// first.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { embedGoldens, EMBEDDING_TOLERANCE, verifyBundle } from '../src/bundle/verify.ts';
import { resolveServerSettings } from '../src/config.ts';
import { oneShard } from '../src/data/shards.ts';
import { timeCutSplit } from '../src/data/splits.ts';
import { publish } from '../src/encode/publish.ts';
import { encodeUsers } from '../src/encode/users.ts';
import { ContextFeatures, NO_SUBJECT } from '../src/features/context.ts';
import { HeadBatchBuilder } from '../src/features/head-batch.ts';
import { stateAge } from '../src/features/sequence.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { loadBundleModel } from '../src/model/bundle-model.ts';
import { train } from '../src/model/training/train.ts';
import { nativeAddon } from '../src/native/addon.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { newStateBatch, stateOf } from '../src/store/state-batch.ts';
import { makeShop, SHOP_TEST_FROM, SHOP_TRAINING, shopDataset } from './support/shop.ts';

const K = 20;
/** An item without categories: as a subject, the model knows only its input embedding. */
const BARE = 7;
const folder = mkdtempSync(join(tmpdir(), 'tandem-subject-item-'));
const shop = makeShop({ items: 64, users: 12, seed: 6 });
const dataset = shopDataset({
  ...shop,
  items: shop.items.map((item, i) =>
    i === BARE ? { ...item, categories: [], confidences: [] } : item,
  ),
});
const ids = dataset.items.ids;
const users = dataset.users.ids as readonly UserId[];
after(() => {
  rmSync(folder, { recursive: true });
});

interface Question {
  /** Row of the user; -1 for an unknown user. */
  readonly user: number;
  readonly subject: { readonly item: string } | { readonly query: string } | undefined;
}
interface Candidate {
  readonly item: string;
  readonly score: number;
}
interface Answer {
  readonly candidates: readonly Candidate[];
  readonly ignored?: readonly string[];
}

/** Every user looks at two items of one category; unknown users have the other kinds of subject. */
const questions: Question[] = [
  ...users.flatMap((_, user) =>
    [user, user + 8].map((item) => ({ user, subject: { item: ids[item]! } })),
  ),
  { user: -1, subject: { item: ids[BARE]! } },
  { user: -1, subject: { query: dataset.items.categoryNames[0]! } },
  { user: -1, subject: undefined },
];

/** Ranks the best K items without the subject for each question, by tfjs from the stored states. */
async function rankedByTfjs(bundle: Bundle, store: MemoryStore): Promise<Candidate[][]> {
  const { catalogue, manifest, schema, vectors } = bundle;
  const { embeddingWidth: width, maxHistory, fusion } = manifest.model;
  const states = newStateBatch(users.length, width, maxHistory);
  store.read(manifest.encoderId as EncoderId, users, states);
  const features = new ContextFeatures(schema);
  const builder = new HeadBatchBuilder(width, questions.length, fusion === 'attention');
  const nowSeconds = Date.now() / 1000;
  for (const { user, subject } of questions) {
    const item = subject !== undefined && 'item' in subject ? catalogue.row(subject.item) : -1;
    let bag = NO_SUBJECT;
    if (item >= 0)
      bag = features.categoryBag(catalogue.categoryRows(item), catalogue.confidences(item));
    else if (subject !== undefined && 'query' in subject) bag = features.queryBag(subject.query);
    if (user < 0) builder.add(undefined, 0, bag, [0, 0, 0], item);
    else {
      const age = stateAge(states.lastEventSeconds[user]!, nowSeconds);
      builder.add(stateOf(states, user), age, bag, [0, 0, 0], item);
    }
  }
  const model = await loadBundleModel(bundle);
  const scores = await model.scores(await model.embedQueries(builder.batch()), vectors);
  model.dispose();
  return questions.map(({ subject }, question) =>
    ids
      .map((item, row) => ({ item, score: scores[question * ids.length + row]! }))
      .filter(({ item }) => subject === undefined || !('item' in subject && subject.item === item))
      .sort((a, b) => b.score - a.score)
      .slice(0, K),
  );
}

async function ask(server: RunningServer, { user, subject }: Question): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
    method: 'POST',
    body: JSON.stringify({ user: users[user] ?? 'nobody', surface: 'related', subject, k: K }),
  });
  assert.equal(response.status, 200);
  return (await response.json()) as Answer;
}

for (const fusion of ['concat', 'attention'] as const)
  describe(`the item in view, fusion ${fusion}`, () => {
    let bundle: Bundle;

    it('changes the goldens of the published bundle that have an item', async () => {
      await train({
        shards: oneShard(dataset),
        trainingEnds: (shard) => timeCutSplit(shard, SHOP_TEST_FROM),
        config: {
          ...SHOP_TRAINING,
          model: { ...SHOP_TRAINING.model, fusion, subjectItem: true },
          loggedShare: 0.5,
          steps: 20,
          validateEvery: 20,
        },
        directory: join(folder, fusion),
      });
      const { directory } = await publish(join(folder, fusion), join(folder, `${fusion}-bundles`));
      assert.ok((await verifyBundle(directory)).passed);
      bundle = await loadBundle(directory);
      const { embeddingWidth: width } = bundle.manifest.model;
      const head = new (nativeAddon().Head)(bundle.headWeights);
      const blind = embedGoldens(bundle, {
        isa: head.isa,
        embed(batch, out): void {
          head.embed({ ...batch, subjectItems: new Int32Array(batch.count).fill(-1) }, out);
        },
      });
      const kinds = new Set<string>();
      for (const [row, { subject, state, embedding }] of bundle.goldens.entries()) {
        const viewing = subject !== null && 'item' in subject;
        const error = Math.max(...embedding.map((x, i) => Math.abs(x - blind[row * width + i]!)));
        assert.equal(error > EMBEDDING_TOLERANCE, viewing, `golden ${row}: ${error}`);
        if (viewing) kinds.add(state === undefined ? 'stranger' : 'known');
      }
      assert.deepEqual(kinds, new Set(['known', 'stranger']));
    });

    it('gives the same ranking in tfjs and in the server', async () => {
      const store = new MemoryStore();
      await encodeUsers({ bundle, dataset, store });
      const expected = await rankedByTfjs(bundle, store);
      const { settings } = resolveServerSettings({
        flags: { bundles: bundle.directory, store: 'unused', port: '0', plan: 'exact' },
      });
      const server = await startServer(settings, store);
      try {
        // Sent together, so that micro-batches mix requests with and without an item in view.
        const answers = await Promise.all(questions.map((question) => ask(server, question)));
        for (const [q, { candidates, ignored }] of answers.entries()) {
          assert.equal(ignored, undefined);
          assert.equal(candidates.length, K);
          // Without history and context the server answers with popular items.
          if (q === questions.length - 1) {
            const popular = bundle.catalogue.byPopularity().subarray(0, K);
            const wanted = Array.from(popular, (row) => bundle.catalogue.id(row));
            assert.deepEqual(
              candidates.map(({ item }) => item),
              wanted,
            );
            continue;
          }
          for (const [i, { item, score }] of candidates.entries()) {
            const { item: wanted, score: best } = expected[q]![i]!;
            assert.ok(Math.abs(score - best) < 1e-5, `question ${q}, position ${i}`);
            if (item === wanted) continue;
            const tie = expected[q]!.find((other) => other.item === item)?.score ?? best;
            assert.ok(Math.abs(tie - best) < 1e-5, `question ${q}: ${item} before ${wanted}`);
          }
        }
        const without = answers.at(-1)!.candidates;
        assert.notDeepEqual(answers.at(-3)!.candidates, without);
      } finally {
        await server.close();
      }
    });
  });
