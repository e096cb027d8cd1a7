// The request path in process, on a bundle of random weights: its answers are those of a server.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { publishTinyBundle, tinyItem } from '../../test/support/tiny-bundle.ts';
import { resolveServerSettings } from '../config.ts';
import { TandemError } from '../errors.ts';
import { LmdbStore } from '../store/lmdb-store.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { CandidateGenerator } from './candidate-generator.ts';
import { startServer } from './process/server.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-generator-'));
const bundles = join(folder, 'bundles');
const QUERY = { user: 'u', surface: 'related', subject: { item: tinyItem(3).id } } as const;

before(async () => {
  await publishTinyBundle(bundles, { items: 200 });
});
after(() => {
  rmSync(folder, { recursive: true });
});

const withCode = (code: string) => (error: unknown) =>
  error instanceof TandemError && error.code === code;

/** An answer without the members that differ from request to request. */
function comparable(answer: object): object {
  return { ...answer, request_id: '' };
}

describe('a candidate generator', () => {
  it('answers as a server does over HTTP', async () => {
    const store = new MemoryStore();
    const generator = await CandidateGenerator.open({ bundles, store });
    const { settings } = resolveServerSettings({
      flags: { bundles, store: 'unused', port: 0, transport: 'node' },
    });
    const server = await startServer(settings, new MemoryStore());
    const post = async (path: string, body: object): Promise<object> => {
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
        method: 'POST',
        body: JSON.stringify(body),
      });
      return comparable((await response.json()) as object);
    };
    try {
      const filter = { countries: ['DE'], advertisers: { max_each: 2 } };
      for (const body of [QUERY, { ...QUERY, k: 7, filter }])
        assert.deepEqual(
          comparable(await generator.candidates(body)),
          await post('/v1/candidates', body),
        );
      assert.deepEqual(
        comparable(await generator.embedding(QUERY)),
        await post('/v1/embeddings', QUERY),
      );
      const items = [tinyItem(1).id, tinyItem(2).id];
      const scored = { ...QUERY, items };
      assert.deepEqual(comparable(await generator.scores(scored)), await post('/v1/score', scored));
    } finally {
      await server.close();
      await generator.close();
    }
  });

  it('answers requests of one turn in one micro-batch, each with its own result', async () => {
    const generator = await CandidateGenerator.open({ bundles, store: new MemoryStore() });
    try {
      const asked = Array.from({ length: 40 }, (_, i) =>
        generator.candidates({
          ...QUERY,
          subject: { item: tinyItem(i).id },
          k: 1 + i,
          explain: true,
        }),
      );
      const answers = await Promise.all(asked);
      assert.equal(new Set(answers.map(({ request_id: id }) => id)).size, 40);
      for (const [i, { candidates, explain }] of answers.entries()) {
        assert.equal(candidates.length, 1 + i);
        assert.equal(explain!.batch_size, 40);
        assert.ok(candidates.every(({ item }) => item !== tinyItem(i).id));
      }
      assert.match(await generator.metrics(), /tandem_micro_batch_requests_sum 40/);
    } finally {
      await generator.close();
    }
  });

  it('rejects what a server refuses, with the same codes', async () => {
    const generator = await CandidateGenerator.open({ bundles, store: new MemoryStore() });
    const unknown = { ...QUERY, subject: { item: 'none' } };
    const misspelled = { ...QUERY, surfaces: 'related' };
    try {
      await assert.rejects(generator.candidates(unknown), withCode('ERR_UNKNOWN_ITEM'));
      await assert.rejects(generator.candidates(misspelled), withCode('ERR_INVALID_REQUEST'));
      await assert.rejects(
        generator.candidates(QUERY, { timeoutMs: 0 }),
        withCode('ERR_DEADLINE_EXCEEDED'),
      );
    } finally {
      await generator.close();
    }
  });

  it('follows the current bundle', async () => {
    const swapped = join(folder, 'swapped');
    await publishTinyBundle(swapped, { items: 50 });
    const generator = await CandidateGenerator.open({
      bundles: swapped,
      store: new MemoryStore(),
      bundlePollSeconds: 0.05,
    });
    try {
      const { bundleId } = await publishTinyBundle(swapped, { items: 50, seed: 2 });
      for (let tries = 0; generator.bundleId !== bundleId && tries < 200; tries++) await sleep(50);
      const { bundle_id: answered } = await generator.candidates(QUERY);
      assert.equal(answered, bundleId);
    } finally {
      await generator.close();
    }
  });

  it('answers open requests before it closes, and none afterwards', async () => {
    const location = join(folder, 'store');
    await LmdbStore.open(location).close();
    const generator = await CandidateGenerator.open({ bundles, store: location });
    const open = generator.candidates(QUERY);
    await Promise.all([generator.close(), generator.close()]);
    assert.equal((await open).candidates.length, 100);
    await assert.rejects(generator.candidates(QUERY), withCode('ERR_DRAINING'));
    // The store is closed, so it can be opened for writing.
    await LmdbStore.open(location).close();
  });

  it('leaves the store of the caller open, and degrades when it fails', async () => {
    const store = new MemoryStore();
    const generator = await CandidateGenerator.open({ bundles, store });
    await store.close();
    const { degraded } = await generator.candidates(QUERY);
    assert.deepEqual(degraded, { mode: 'context-only', reason: 'store_unavailable' });
    await generator.close();

    const shared = new MemoryStore();
    await (await CandidateGenerator.open({ bundles, store: shared })).close();
    assert.equal(await shared.itemChangesVersion(), 0);
  });

  it('refuses wrong settings and places', async () => {
    const store = new MemoryStore();
    const open = (more: object): Promise<CandidateGenerator> =>
      CandidateGenerator.open({ bundles, store, ...more });
    await assert.rejects(open({ maxMicroBatch: 0 }), withCode('ERR_CONFIG_INVALID'));
    await assert.rejects(open({ microBatch: 8 }), withCode('ERR_CONFIG_INVALID'));
    await assert.rejects(open({ bundles: folder }), withCode('ERR_BUNDLE_NOT_FOUND'));
    await assert.rejects(open({ store: 'http://x' }), withCode('ERR_CONFIG_INVALID'));
  });
});
