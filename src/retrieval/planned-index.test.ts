import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { nativeAddon } from '../native/addon.ts';
import type { NativeExactIndex } from '../native/exact-index.ts';
import type { SearchOutput } from '../native/search-output.ts';
import { Random } from '../random.ts';
import { AllowList } from './allow-list.ts';
import { openIndex, type ApproximateIndex } from './approximate-index.ts';
import { buildIndex, measureRecall, type IndexBuild } from './build-index.ts';
import { newSearchOutput, type IndexKind } from './search-plan.ts';
import { EXACT_LIMIT, PlannedIndex } from './planned-index.ts';

const WIDTH = 16;
const SIZE = 2000;
/** More vectors than an exact scan should read. */
const MANY = 24_000;

let vectors: Float32Array;
let exact: NativeExactIndex;
let manyVectors: Float32Array;
let manyExact: NativeExactIndex;
const KINDS: readonly IndexKind[] = ['clusters', 'hnsw'];
let builds: Record<IndexKind, IndexBuild>;
let indexes: Record<IndexKind, ApproximateIndex>;

before(async () => {
  vectors = unitRows(SIZE, 1);
  exact = new (nativeAddon().ExactIndex)(vectors, WIDTH);
  manyVectors = unitRows(MANY, 10);
  manyExact = new (nativeAddon().ExactIndex)(manyVectors, WIDTH);
  builds = {
    clusters: await buildIndex(vectors, WIDTH),
    hnsw: await buildIndex(vectors, WIDTH, { kind: 'hnsw' }),
  };
  indexes = { clusters: builds.clusters.index, hnsw: builds.hnsw.index };
});

function unitRows(count: number, seed: number): Float32Array {
  const random = new Random(seed);
  const rows = Float32Array.from({ length: count * WIDTH }, () => random.normal());
  for (let begin = 0; begin < rows.length; begin += WIDTH) {
    const row = rows.subarray(begin, begin + WIDTH);
    const norm = Math.hypot(...row);
    for (let i = 0; i < WIDTH; i++) row[i]! /= norm;
  }
  return rows;
}

/** An index whose searches write what the test wants. */
function stubIndex(
  kind: IndexKind,
  size: number,
  write: (out: SearchOutput) => unknown,
): ApproximateIndex {
  return {
    kind,
    size,
    dimensions: WIDTH,
    search: (_queries, _count, _k, _allow, _selectivity, out) => {
      write(out);
      return Promise.resolve();
    },
    share: () => assert.fail('Expected no share.'),
  };
}

/** Top k by a plain loop in f64: rows, and their scores. */
function reference(
  query: Float32Array,
  k: number,
  allow: AllowList | null,
  searched = vectors,
): { rows: number[]; scores: number[] } {
  const scored: [number, number][] = [];
  for (let itemRow = 0; itemRow < searched.length / WIDTH; itemRow++) {
    if (allow !== null && !allow.has(itemRow)) continue;
    let score = 0;
    for (let i = 0; i < WIDTH; i++) score += query[i]! * searched[itemRow * WIDTH + i]!;
    scored.push([itemRow, score]);
  }
  const top = scored.sort((a, b) => b[1] - a[1]).slice(0, k);
  return { rows: top.map(([itemRow]) => itemRow), scores: top.map(([, score]) => score) };
}

for (const mode of ['inline', 'async'] as const)
  describe(`PlannedIndex, searched ${mode}`, () => {
    it('answers exactly below the limit for any filter and k, past the size, too', async () => {
      const index = new PlannedIndex({ exact, approximate: indexes.clusters });
      const queries = unitRows(3, 2);
      await fc.assert(
        fc.asyncProperty(
          fc.oneof(fc.integer({ min: 1, max: 50 }), fc.constantFrom(SIZE - 1, SIZE, SIZE + 5)),
          fc.option(fc.uniqueArray(fc.nat(SIZE - 1), { maxLength: 60 })),
          async (k, rows) => {
            const allow = rows === null ? null : AllowList.of(SIZE, rows);
            const out = newSearchOutput(3, k);
            out.rows.fill(77);
            const plan = await index.search(queries, 3, k, allow, out, mode);
            assert.deepEqual(plan, { plan: 'exact', reason: 'few-vectors' });
            for (let row = 0; row < 3; row++) {
              const expected = reference(
                queries.subarray(row * WIDTH, (row + 1) * WIDTH),
                k,
                allow,
              );
              const found = [...out.rows.subarray(row * k, (row + 1) * k)];
              const count = Math.min(k, allow?.count ?? SIZE);
              assert.equal(out.counts[row], count);
              // Near ties may change places between f32 and f64: scores by position, and distinct
              // allowed rows.
              assert.equal(new Set(found.slice(0, count)).size, count);
              for (let i = 0; i < count; i++) {
                assert.ok(allow === null || allow.has(found[i]!));
                assert.ok(Math.abs(out.scores[row * k + i]! - expected.scores[i]!) < 1e-5);
              }
              assert.ok(found.slice(count).every((itemRow) => itemRow === -1));
              const rest = out.scores.subarray(row * k + count, (row + 1) * k);
              assert.ok(rest.every((score) => score === -Infinity));
            }
          },
        ),
        { numRuns: 30 },
      );
    });

    for (const kind of KINDS) {
      it(`takes the ${kind} above the limit, by count and not by share`, async () => {
        const index = new PlannedIndex({
          exact: manyExact,
          approximate: stubIndex(kind, MANY, (out) => out.counts.fill(10)),
        });
        const query = unitRows(1, 3);
        const out = newSearchOutput(1, 10);
        const plan = (allow: AllowList | null): Promise<unknown> =>
          index.search(query, 1, 10, allow, out, mode);
        assert.deepEqual(await plan(null), { plan: kind, reason: 'many-vectors' });
        const few = AllowList.of(
          MANY,
          Array.from({ length: EXACT_LIMIT / 8 }, (_, i) => i * 7),
        );
        assert.deepEqual(await plan(few), { plan: 'exact', reason: 'few-vectors' });
        assert.deepEqual([...out.rows], reference(query, 10, few, manyVectors).rows);
        few.set(1);
        assert.deepEqual(await plan(few), { plan: kind, reason: 'many-vectors' });
        const half = AllowList.of(
          MANY,
          Array.from({ length: MANY / 2 }, (_, i) => i * 2),
        );
        assert.deepEqual(await plan(half), { plan: kind, reason: 'many-vectors' });
        const none = AllowList.none(MANY);
        assert.deepEqual(await plan(none), { plan: 'exact', reason: 'few-vectors' });
        assert.equal(out.counts[0], 0);
        assert.deepEqual([...out.rows], Array<number>(10).fill(-1));
      });

      it(`returns k allowed items whatever the filter leaves, from ${kind}`, async () => {
        const index = new PlannedIndex({ exact, approximate: indexes[kind], plan: 'approximate' });
        const queries = unitRows(20, 4);
        for (const every of [1, 2, 10, 100, 1000]) {
          const allow = AllowList.none(SIZE);
          for (let itemRow = 0; itemRow < SIZE; itemRow += every) allow.set(itemRow);
          const k = 20;
          const out = newSearchOutput(20, k);
          await index.search(queries, 20, k, allow, out, mode);
          const count = Math.min(k, allow.count);
          for (let row = 0; row < 20; row++) {
            const found = [...out.rows.subarray(row * k, row * k + count)];
            assert.equal(out.counts[row], count);
            assert.equal(new Set(found).size, count);
            assert.ok(found.every((itemRow) => allow.has(itemRow)));
          }
        }
      });
    }

    it('falls back to the scan when the index falls short', async () => {
      const short = stubIndex('hnsw', SIZE, (out) => out.counts.fill(3));
      const index = new PlannedIndex({ exact, approximate: short, plan: 'approximate' });
      const query = unitRows(1, 5);
      const out = newSearchOutput(1, 10);
      assert.deepEqual(await index.search(query, 1, 10, null, out, mode), {
        plan: 'exact',
        reason: 'index-fell-short',
      });
      assert.deepEqual([...out.rows], reference(query, 10, null).rows);
      const three = AllowList.of(SIZE, [1, 2, 3]);
      assert.deepEqual(await index.search(query, 1, 10, three, out, mode), {
        plan: 'hnsw',
        reason: 'forced',
      });
    });

    it('does as it is told, and says so', async () => {
      const query = unitRows(1, 6);
      const out = newSearchOutput(1, 5);
      const plan = async (options: object): Promise<unknown> =>
        new PlannedIndex({ exact, ...options }).search(query, 1, 5, null, out, mode);
      const approximate = indexes.clusters;
      assert.deepEqual(await plan({ approximate, plan: 'exact' }), {
        plan: 'exact',
        reason: 'forced',
      });
      assert.deepEqual(await plan({ approximate, plan: 'approximate' }), {
        plan: 'clusters',
        reason: 'forced',
      });
      assert.deepEqual(await plan({ exact: manyExact }), { plan: 'exact', reason: 'no-index' });
      await assert.rejects(plan({ plan: 'approximate' }), RangeError);
    });

    it('scores given rows', () => {
      const index = new PlannedIndex({ exact });
      const query = vectors.slice(0, WIDTH);
      const out = new Float32Array(2);
      index.score(query, Int32Array.of(0, 7), out);
      assert.ok(Math.abs(out[0]! - 1) < 1e-6);
    });

    it('refuses sizes that do not fit', async () => {
      const index = new PlannedIndex({ exact });
      const query = unitRows(1, 7);
      const out = newSearchOutput(1, 5);
      for (const k of [0, -1, 1.5, NaN])
        await assert.rejects(index.search(query, 1, k, null, out, mode), RangeError);
      await assert.rejects(index.search(query, 1, 5, AllowList.all(3), out, mode), RangeError);
      const { ExactIndex } = nativeAddon();
      const smaller = new ExactIndex(vectors.slice(0, 10 * WIDTH), WIDTH);
      assert.throws(
        () => new PlannedIndex({ exact: smaller, approximate: indexes.hnsw }),
        RangeError,
      );
    });
  });

for (const kind of KINDS)
  describe(`buildIndex of ${kind}`, () => {
    it('gives the same bytes for the same vectors, and a recall of about 0.99', async () => {
      const shares: number[] = [];
      const first = await buildIndex(vectors, WIDTH, {
        kind,
        onProgress: (share) => shares.push(share),
      });
      const second = builds[kind];
      assert.deepEqual(Buffer.from(first.bytes), Buffer.from(second.bytes));
      assert.deepEqual(first.settings, second.settings);
      assert.ok(first.settings.recallAt100 >= 0.98);
      assert.ok(shares.length > 0 && shares.every((share) => share >= 0 && share <= 1));
      assert.equal(shares.at(-1), 1);
      const opened = await openIndex(first.settings, first.bytes, vectors, WIDTH);
      assert.equal(opened.size, SIZE);
      const queries = noisyRows(50, 8);
      assert.ok((await measureRecall(opened, vectors, queries, 100)) > 0.95);
    });

    it('builds an index of one item', async () => {
      const { index, settings } = await buildIndex(unitRows(1, 9), WIDTH, { kind });
      assert.equal(index.size, 1);
      assert.equal(settings.recallAt100, 1);
    });

    it('refuses vectors that are not finite', async () => {
      const damaged = vectors.slice();
      damaged[5 * WIDTH] = NaN;
      await assert.rejects(buildIndex(damaged, WIDTH, { kind }), { code: 'ERR_NON_FINITE' });
    });

    it('refuses the bytes of the other kind', async () => {
      const { bytes } = builds[kind];
      const { settings } = builds[kind === 'hnsw' ? 'clusters' : 'hnsw'];
      await assert.rejects(openIndex(settings, bytes, vectors, WIDTH), {
        code: 'ERR_INDEX_INVALID',
      });
    });
  });

/** Rows near the first `count` vectors. */
function noisyRows(count: number, seed: number): Float32Array {
  return unitRows(count, seed).map((value, i) => 0.3 * value + vectors[i]!);
}
