// Evaluation and serving give the same ranking. A model is trained on imported files, its users are
// encoded into LMDB and its bundle is served; then the evaluator's scorer in tfjs and the server
// over HTTP answer the same requests.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { trainForProtocol } from '../src/experiment/training-recipe.ts';
import { resolveServerSettings } from '../src/config.ts';
import type { Dataset } from '../src/data/dataset.ts';
import { importDataset } from '../src/data/import.ts';
import { readDataset } from '../src/data/read-dataset.ts';
import { oneShard } from '../src/data/shards.ts';
import { eventsBefore } from '../src/data/splits.ts';
import { publish } from '../src/encode/publish.ts';
import { encodeUsers } from '../src/encode/users.ts';
import { ModelEvaluation } from '../src/evaluate/model-scorer.ts';
import type { EvaluationQuery } from '../src/evaluate/query.ts';
import { loadModel } from '../src/model/training/checkpoint.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { assertSameTop, type RankedItem } from './support/same-top.ts';
import { makeShop, SHOP_TEST_FROM, SHOP_TRAINING, writeShop } from './support/shop.ts';

const ITEMS = 250;
const K = 100;
const REQUESTS = 60;
/** The batch job encodes the events before this time. */
const UNTIL = SHOP_TEST_FROM + 5 * 86_400;

const folder = mkdtempSync(join(tmpdir(), 'tandem-same-'));
after(() => {
  rmSync(folder, { recursive: true });
});

interface Served {
  readonly candidates: RankedItem[];
  readonly plan: string;
}

for (const fusion of ['concat', 'none'] as const)
  describe(`evaluation and serving, fusion ${fusion}`, () => {
    const at = (name: string): string => join(folder, fusion, name);
    let dataset: Dataset;
    let bundle: Bundle;
    let server: RunningServer;

    before(async () => {
      writeShop(at('raw'), makeShop({ items: ITEMS, users: 140, seed: 11 }));
      await importDataset({
        manifestPath: join(at('raw'), 'source.json'),
        outputDirectory: at('dataset'),
      });
      dataset = await readDataset(at('dataset'));
      await trainForProtocol({
        shards: oneShard(dataset),
        protocol: 'time',
        form: 'all',
        config: {
          ...SHOP_TRAINING,
          model: { ...SHOP_TRAINING.model, fusion },
          steps: 40,
          validateEvery: 40,
        },
        directory: at('run'),
        refit: false,
      });
      await publish(at('run'), at('bundles'));
      bundle = await loadBundle(at('bundles'));
      const store = LmdbStore.open(at('store'));
      await encodeUsers({ bundle, dataset, store, untilSeconds: UNTIL });
      await store.close();
      const { settings } = resolveServerSettings({
        flags: { bundles: at('bundles'), store: at('store'), port: '0', plan: 'exact' },
      });
      server = await startServer(settings);
    });
    after(() => server.close());

    /** The candidates of the evaluator: all items but the subject, ranked by tfjs in f32. */
    async function evaluated(queries: readonly EvaluationQuery[]): Promise<RankedItem[][]> {
      const model = await loadModel(at('run'));
      const scores = new Float32Array(queries.length * ITEMS);
      await new ModelEvaluation(model, dataset)
        .scorer({ name: fusion, context: 'real' })
        .score(queries, scores);
      model.dispose();
      return queries.map(({ subject }, q) =>
        Array.from(scores.subarray(q * ITEMS, (q + 1) * ITEMS), (score, row) => ({ score, row }))
          .filter(({ row }) => subject.kind !== 'item' || subject.item !== row)
          .sort((a, b) => b.score - a.score || a.row - b.row)
          .slice(0, K)
          .map(({ score, row }) => ({ score, item: dataset.items.ids[row]! })),
      );
    }

    async function served({ user, subject }: EvaluationQuery): Promise<Served> {
      const { users, items } = dataset;
      const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
        method: 'POST',
        body: JSON.stringify({
          user: user < 0 ? 'nobody' : users.ids[user]!,
          surface: subject.kind === 'query' ? 'search' : 'related',
          ...(subject.kind === 'item' && { subject: { item: items.ids[subject.item]! } }),
          ...(subject.kind === 'query' && { subject: { query: subject.query } }),
          ...(subject.kind === 'interests' && { subject: { interests: subject.interests } }),
          ...(user >= 0 && {
            demographics: {
              ...(Number.isNaN(users.ages[user]!) ? {} : { age: users.ages[user]! }),
              gender: users.genders[user]!,
              country: users.countries[user]!,
            },
          }),
          k: K,
        }),
      });
      const body = (await response.json()) as Served;
      assert.equal(response.status, 200, JSON.stringify(body));
      return body;
    }

    it(`gives the same top ${K} for the same requests`, async () => {
      const { events } = dataset;
      const logged = dataset.requests.filter(({ time }) => time >= UNTIL).slice(0, REQUESTS);
      assert.equal(logged.length, REQUESTS);
      const interests = { category: dataset.items.categoryNames[1]!, confidence: 0.5 };
      const queries = logged.map((request, i): EvaluationQuery => {
        // Some unknown users, and every kind of subject.
        const user = i % 10 === 9 ? -1 : request.user;
        const begin = user < 0 ? 0 : events.userOffsets[user]!;
        return {
          id: request.id,
          user,
          historyBegin: begin,
          historyEnd: begin + eventsBefore(dataset, user, UNTIL),
          // The time of the server, because the age of a state is a feature.
          timeSeconds: Date.now() / 1000,
          subject:
            i % 10 === 7
              ? { kind: 'interests', interests: [interests] }
              : i % 10 === 8
                ? { kind: 'none' }
                : request.subject,
          demographics: {},
          positives: Int32Array.from(request.positives),
          excluded: new Int32Array(0),
          slice: '',
        };
      });
      assert.ok(new Set(queries.map(({ subject }) => subject.kind)).size === 4);
      const expected = await evaluated(queries);
      for (const [i, query] of queries.entries()) {
        const { plan, candidates } = await served(query);
        // Without history and context there is nothing to rank by, so the server answers with
        // popular items.
        const stateless = query.historyEnd === query.historyBegin;
        const nothing = stateless && (fusion === 'none' || (query.user < 0 && i % 10 === 8));
        assert.equal(plan, nothing ? 'popular' : 'exact', `request ${i}`);
        if (!nothing) assertSameTop(candidates, expected[i]!, { score: 1e-5, tie: 1e-5 });
      }
      // The rankings differ, so an answer that ignores the request would not pass.
      const tops = new Set(
        expected.map((list) =>
          list
            .slice(0, 10)
            .map(({ item }) => item)
            .join(),
        ),
      );
      assert.ok(tops.size > REQUESTS / 2);
    });
  });
