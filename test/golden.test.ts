// Tests the committed bundle, which was trained once and is loaded by every build. tfjs computed
// its goldens; tfjs, the native head at every instruction set and a running server must still give
// the same answers.

import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { useBackend } from '../src/backend/select.ts';
import { catalogueItemFeatures } from '../src/bundle/weights/item-features.ts';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { embedGoldens, verifyBundle } from '../src/bundle/verify.ts';
import { resolveServerSettings } from '../src/config.ts';
import type { HeadBatch } from '../src/features/head-batch.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { TwoTower, type WeightMap } from '../src/model/network/two-tower.ts';
import { nativeAddon } from '../src/native/addon.ts';
import { packageRoot } from '../src/package-root.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { assertSameTop } from './support/same-top.ts';

const directory = join(packageRoot(), 'models', 'tiny');
const TOLERANCE = 1e-5;
let bundle: Bundle;

before(async () => {
  bundle = await loadBundle(directory);
});

function near(received: ArrayLike<number>, expected: ArrayLike<number>): void {
  assert.equal(received.length, expected.length);
  for (let i = 0; i < expected.length; i++)
    assert.ok(
      Math.abs(received[i]! - expected[i]!) <= TOLERANCE,
      `at ${i}: expected ${expected[i]!}, received ${received[i]!}`,
    );
}

describe('models/tiny', () => {
  it('is a complete bundle of at most 200 kB that verifies at every instruction set', async () => {
    const sizes = readdirSync(directory).map((name) => statSync(join(directory, name)).size);
    assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= 200_000);
    const report = await verifyBundle(directory);
    assert.deepEqual(
      report.isas.map(({ isa, failures }) => ({ isa, failures })),
      nativeAddon().availableIsas.map((isa) => ({ isa, failures: [] })),
    );
    assert.ok(report.passed && report.indexRecall > 0.95);
    for (const { maxAbsoluteError } of report.isas) assert.ok(maxAbsoluteError <= TOLERANCE);
  });

  it('has goldens for every kind of request', () => {
    const kinds = bundle.goldens.map(({ state, subject, demographics }) => [
      state === undefined ? 'cold' : 'known',
      subject === null ? 'nothing' : Object.keys(subject)[0]!,
      Object.keys(demographics).length > 0 ? 'demographics' : 'nobody',
    ]);
    assert.deepEqual([...new Set(kinds.flat())].sort(), [
      'cold',
      'demographics',
      'interests',
      'item',
      'known',
      'nobody',
      'nothing',
      'query',
    ]);
  });

  for (const backend of ['native', 'cpu'] as const)
    it(`has weights that give its goldens and item vectors in tfjs on "${backend}"`, async () => {
      await useBackend(backend);
      const model = new TwoTower(
        bundle.manifest.model,
        bundle.schema,
        catalogueItemFeatures(bundle.schema, bundle.catalogue),
        bundle.tensors() as WeightMap,
      );
      const batches: HeadBatch[] = [];
      embedGoldens(bundle, {
        isa: 'scalar',
        embed(batch) {
          batches.push(batch);
        },
      });
      assert.equal(batches.length, 1);
      near(
        await model.embedQueries(batches[0]!),
        bundle.goldens.flatMap(({ embedding }) => embedding),
      );
      near(await model.itemVectors(), bundle.vectors);
      model.dispose();
    });

  it('has learnt: items of one category are closer to each other than to others', () => {
    const { catalogue, vectors, manifest } = bundle;
    const width = manifest.model.embeddingWidth;
    const sums = { same: 0, other: 0 };
    const counts = { same: 0, other: 0 };
    for (let a = 0; a < catalogue.count; a++)
      for (let b = 0; b < a; b++) {
        let cosine = 0;
        for (let d = 0; d < width; d++) cosine += vectors[a * width + d]! * vectors[b * width + d]!;
        const kind =
          catalogue.categoryRows(a)[0] === catalogue.categoryRows(b)[0] ? 'same' : 'other';
        sums[kind] += cosine;
        counts[kind]++;
      }
    const [same, other] = [sums.same / counts.same, sums.other / counts.other];
    assert.ok(same > 0.3 + other, `mean cosine ${same} within and ${other} across categories`);
  });
});

/** The inverse of stateAge(): the seconds after which a state has that age. */
function secondsOfAge(age: number): number {
  return 3600 * Math.expm1(age * Math.log1p(24 * 365));
}

describe('a server on models/tiny', () => {
  let server: RunningServer;
  const store = new MemoryStore();

  before(async () => {
    const { settings } = resolveServerSettings({
      flags: { bundles: directory, store: 'unused', port: '0', plan: 'exact' },
    });
    server = await startServer(settings, store);
  });
  after(() => server.close());

  it('answers the golden requests with the golden candidates', async () => {
    for (const { user, state, stateAge, subject, demographics, candidates } of bundle.goldens) {
      const nowSeconds = Date.now() / 1000;
      if (state !== undefined)
        await store.write(bundle.manifest.encoderId as EncoderId, [
          {
            user: user as UserId,
            state: {
              state: Float32Array.from(state),
              dimensions: bundle.manifest.model.embeddingWidth,
              type: 'f32',
              lastEventSeconds: nowSeconds - secondsOfAge(stateAge),
              encodedAtSeconds: nowSeconds,
            },
          },
        ]);
      const response = await fetch(`http://127.0.0.1:${server.port}/v1/candidates`, {
        method: 'POST',
        body: JSON.stringify({
          user,
          surface: subject !== null && 'query' in subject ? 'search' : 'related',
          ...(subject !== null && { subject }),
          demographics,
          k: candidates.length - 1,
        }),
      });
      const body = (await response.json()) as { candidates: { item: string; score: number }[] };
      assert.equal(response.status, 200, JSON.stringify(body));
      // The server excludes the subject from the candidates.
      const expected = candidates
        .filter(({ item }) => subject === null || !('item' in subject) || subject.item !== item)
        .slice(0, candidates.length - 1);
      // A state ages while the request is open: 1e-4 is about ten seconds of a fresh state.
      assertSameTop(body.candidates, expected, { tie: 1e-4, score: 1e-4 });
    }
  });
});
