// Embeddings, scores and items against the candidates of the same server: one query tower, read in
// four ways.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { TINY_CATEGORIES, publishTinyBundle, tinyItem } from '../../../test/support/tiny-bundle.ts';
import { loadBundle, type Bundle } from '../../bundle/load.ts';
import { resolveServerSettings } from '../../config.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import { startServer, type RunningServer } from '../process/server.ts';

interface Scored {
  readonly item: string;
  readonly score?: number;
  readonly error?: { readonly code: string; readonly field: string | null };
}

interface Body {
  readonly bundle_id: string;
  readonly candidates: readonly Scored[];
  readonly scores: readonly Scored[];
  readonly embedding: readonly number[];
  readonly ignored?: readonly string[];
  readonly error: { readonly code: string; readonly field: string | null };
}

const ITEMS = 60;
const folder = mkdtempSync(join(tmpdir(), 'tandem-endpoints-'));
let bundle: Bundle;
let server: RunningServer;

before(async () => {
  await publishTinyBundle(folder, { items: ITEMS });
  bundle = await loadBundle(folder);
  const { settings } = resolveServerSettings({
    flags: { bundles: folder, store: join(folder, 'unused'), port: '0', transport: 'node' },
  });
  server = await startServer(settings, new MemoryStore());
});
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

async function ask(path: string, body?: object): Promise<{ status: number; body: Body }> {
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
    ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Body };
}

const query = fc.record({
  user: fc.constantFrom('u', 'v'),
  surface: fc.constantFrom('related', 'search'),
  subject: fc.oneof(
    fc.nat(ITEMS - 1).map((i) => ({ item: tinyItem(i).id })),
    fc.constantFrom(...TINY_CATEGORIES).map((category) => ({
      interests: [{ category, confidence: 0.5 }],
    })),
    fc.constant({ query: 'red shoes' }),
  ),
});

test('scores of given items are the scores of the same items as candidates', async () => {
  const items = Array.from({ length: ITEMS }, (_, i) => tinyItem(i).id);
  await fc.assert(
    fc.asyncProperty(query, async (request) => {
      const { candidates } = (await ask('/v1/candidates', { ...request, k: ITEMS })).body;
      const { scores } = (await ask('/v1/score', { ...request, items })).body;
      assert.deepEqual(
        scores.map(({ item }) => item),
        items,
      );
      const scoreOf = new Map(scores.map(({ item, score }) => [item, score!]));
      for (const { item, score } of candidates)
        assert.ok(Math.abs(scoreOf.get(item)! - score!) <= 2e-6, item);
    }),
    { numRuns: 20 },
  );
});

test('an embedding times an item vector is the score of the item', async () => {
  const width = bundle.manifest.model.embeddingWidth;
  await fc.assert(
    fc.asyncProperty(query, fc.nat(ITEMS - 1), async (request, i) => {
      const { embedding } = (await ask('/v1/embeddings', request)).body;
      assert.equal(embedding.length, width);
      const { scores } = (await ask('/v1/score', { ...request, items: [tinyItem(i).id] })).body;
      const vector = bundle.vectors.subarray(i * width, (i + 1) * width);
      const product = embedding.reduce((sum, value, d) => sum + value * vector[d]!, 0);
      assert.ok(Math.abs(product - scores[0]!.score!) <= 2e-6);
    }),
    { numRuns: 20 },
  );
});

test('an unknown item has its error in its place, also when no other is asked for', async () => {
  const request = { user: 'u', surface: 'related' };
  const known = tinyItem(5).id;
  const { status, body } = await ask('/v1/score', { ...request, items: ['?', known, '?'] });
  assert.equal(status, 200);
  assert.deepEqual(
    body.scores.map(({ error }) => error && [error.code, error.field]),
    [['ERR_UNKNOWN_ITEM', 'items.0'], undefined, ['ERR_UNKNOWN_ITEM', 'items.2']],
  );
  const alone = await ask('/v1/score', { ...request, items: ['?'] });
  assert.equal(alone.body.scores[0]!.error!.code, 'ERR_UNKNOWN_ITEM');
});

test('wrong members are named, per endpoint', async () => {
  const request = { user: 'u', surface: 'related' };
  const cases = [
    ['/v1/embeddings', { ...request, k: 3 }, 400, 'k'],
    ['/v1/score', request, 400, 'items'],
    ['/v1/score', { ...request, items: [] }, 400, 'items'],
    ['/v1/score', { ...request, items: Array(1001).fill('a') }, 400, 'items'],
    ['/v1/embeddings', { ...request, subject: { item: '?' } }, 404, 'subject.item'],
  ] as const;
  for (const [path, body, expected, field] of cases) {
    const answer = await ask(path, body);
    assert.equal(answer.status, expected, JSON.stringify(body).slice(0, 80));
    assert.equal(answer.body.error.field, field);
  }
});

test('an item is described in the words of filters', async () => {
  for (const i of [0, 1, 2, 7]) {
    const item = tinyItem(i);
    const { status, body } = await ask(`/v1/items/${encodeURIComponent(item.id)}`);
    assert.equal(status, 200);
    const [strong, weak] = item.categories;
    assert.deepEqual(body, {
      bundle_id: bundle.manifest.bundleId,
      item: item.id,
      title: item.title,
      advertiser: item.advertiser,
      price: Number.isNaN(item.price) ? null : item.price,
      categories: [
        { category: TINY_CATEGORIES[strong], confidence: 1 },
        { category: TINY_CATEGORIES[weak], confidence: 0.5 },
      ],
      countries: item.countries,
      recent_events: 0,
    });
  }
  assert.equal((await ask('/v1/items/%69tem-000001')).status, 200);
  assert.equal((await ask('/v1/items/a%2Fb')).body.error.code, 'ERR_UNKNOWN_ITEM');
  assert.equal((await ask('/v1/items/%ff')).body.error.code, 'ERR_INVALID_REQUEST');
});
