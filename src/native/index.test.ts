// The two indexes through the addon: one contract for search, and what each promises beyond it.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { nativeAddon } from './addon.ts';
import type { NativeHnswIndex } from './hnsw-index.ts';
import type { SearchOutput } from './search-output.ts';

const addon = nativeAddon();

function numbers(seed: number): () => number {
  let state = seed * 2654435761 + 12345;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

function unitVectors(count: number, dimensions: number, seed: number): Float32Array {
  const vectors = Float32Array.from({ length: count * dimensions }, numbers(seed));
  for (let i = 0; i < count; i++) {
    const row = vectors.subarray(i * dimensions, (i + 1) * dimensions);
    const norm = Math.hypot(...row);
    for (let d = 0; d < dimensions; d++) row[d]! /= norm;
  }
  return vectors;
}

function output(count: number, k: number): SearchOutput {
  return {
    rows: new Int32Array(count * k),
    scores: new Float32Array(count * k),
    counts: new Int32Array(count),
  };
}

const OPTIONS = { connectivity: 8, expansionAdd: 64, threads: 1 };

test('an async search finds the same as an inline one, with every kind of filter', async () => {
  const [size, dimensions, k] = [500, 12, 10];
  const vectors = unitVectors(size, dimensions, 3);
  const queries = unitVectors(4, dimensions, 4);
  const exact = new addon.ExactIndex(vectors, dimensions);
  const clusters = await addon.ClusterIndex.build(vectors, dimensions, {
    queries: unitVectors(20, dimensions, 5),
    k,
    recallTarget: 0.9,
  });
  const graph = await addon.HnswIndex.build(vectors, dimensions, OPTIONS);
  const bits = Uint32Array.from(
    { length: Math.ceil(size / 32) },
    (_, i) => 0x5a5a_5a5a >>> (i % 3),
  );
  type Search = 'search' | 'searchAsync';
  type Call = (search: Search, rows: number, out: SearchOutput) => void | Promise<void>;
  const calls: Record<string, Call> = {};
  for (const [name, allow] of Object.entries({ all: null, bits })) {
    calls[`exact, ${name}`] = (search, rows, out) => exact[search](queries, rows, k, allow, out);
    calls[`clusters, ${name}`] = (search, rows, out) =>
      clusters[search](queries, rows, k, allow, allow === null ? 1 : 0.5, out);
    calls[`graph, ${name}`] = (search, rows, out) =>
      graph[search](queries, rows, k, 32, allow, out);
  }
  calls['exact, rows'] = (search, rows, out) =>
    exact[search](queries, rows, k, Int32Array.of(3, 77, 401), out);
  for (const [name, call] of Object.entries(calls)) {
    const [expected, received] = [output(4, k), output(4, k)];
    void call('search', 4, expected);
    // Several at once, into arrays of their own.
    const others = Array.from({ length: 4 }, () => output(4, k));
    await Promise.all(
      [received, ...others].map(async (out) => {
        await call('searchAsync', 4, out);
      }),
    );
    for (const out of [received, ...others]) assert.deepEqual(out, expected, name);
    assert.throws(() => call('searchAsync', 5, output(5, k)), RangeError, name);
  }
  await assert.rejects(
    exact.searchAsync(queries, 4, k, Int32Array.of(0, size), output(4, k)),
    RangeError,
  );
  const wrong = Float32Array.from(queries).fill(Number.NaN, 0, 1);
  // All three have a handler before any may fail: one that fails without is an error of the whole
  // process.
  await Promise.all(
    [
      exact.searchAsync(wrong, 4, k, null, output(4, k)),
      clusters.searchAsync(wrong, 4, k, null, 1, output(4, k)),
      graph.searchAsync(wrong, 4, k, 32, null, output(4, k)),
    ].map((apart) => assert.rejects(apart, { code: 'ERR_NON_FINITE' })),
  );
});

/** Niceness of every thread of this process, by thread. */
function niceness(): Map<string, number> {
  const tasks = '/proc/self/task';
  return new Map(
    readdirSync(tasks).map((thread) => {
      const stat = readFileSync(join(tasks, thread, 'stat'), 'utf8');
      // The 19th field of proc_pid_stat(5); the second, a name in brackets, may have spaces.
      return [thread, Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16])];
    }),
  );
}

test(
  'a search apart gives way to this thread',
  { skip: process.platform !== 'linux' },
  async () => {
    const index = new addon.ExactIndex(unitVectors(8, 4, 3), 4);
    const loop = String(process.pid);
    const before = niceness().get(loop)!;
    await index.searchAsync(unitVectors(1, 4, 4), 1, 2, null, output(1, 2));
    const after = niceness();
    assert.equal(after.get(loop), before);
    const lowest = constants.priority.PRIORITY_LOW;
    assert.ok([...after.values()].some((nice) => nice > before || before === lowest));
  },
);

test('exact search is brute force, filters and ties included', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 200 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 30 }),
      fc.constantFrom(...addon.availableIsas),
      fc.nat(1e6),
      (size, dimensions, k, isa, seed) => {
        const next = numbers(seed);
        // Few whole values: many ties, and sums that are exact on every instruction set.
        const whole = (length: number) =>
          Float32Array.from({ length }, () => 1 + Math.floor((next() + 1) * 1.5));
        const vectors = whole(size * dimensions);
        const query = whole(dimensions);
        const allow = Uint32Array.from(
          { length: Math.ceil(size / 32) },
          () => (next() + 1) * 2 ** 31,
        );
        const index = new addon.ExactIndex(vectors, dimensions, isa);
        assert.equal(index.size, size);
        for (const filter of [null, allow]) {
          const out = output(1, k);
          index.search(query, 1, k, filter, out);
          const expected = Array.from({ length: size }, (_, row) => {
            let score = 0;
            for (let d = 0; d < dimensions; d++)
              score += vectors[row * dimensions + d]! * query[d]!;
            return { row, score };
          })
            .filter(({ row }) => filter === null || (filter[row >> 5]! >>> (row & 31)) % 2 === 1)
            .sort((a, b) => b.score - a.score || a.row - b.row)
            .slice(0, k);
          assert.equal(out.counts[0], expected.length);
          for (let i = 0; i < k; i++) {
            assert.equal(out.rows[i], expected[i]?.row ?? -1);
            assert.equal(out.scores[i], expected[i]?.score ?? -Infinity);
          }
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('an exact index notices that its vectors were transferred away', () => {
  const vectors = unitVectors(10, 4, 1);
  const index = new addon.ExactIndex(vectors, 4);
  structuredClone(vectors.buffer, { transfer: [vectors.buffer as ArrayBuffer] });
  assert.throws(() => {
    index.search(Float32Array.of(1, 0, 0, 0), 1, 1, null, output(1, 1));
  }, /transferred/);
});

test('NaN, Inf and zero rows are refused with the row', async () => {
  for (const bad of [NaN, Infinity, -Infinity, 0]) {
    const vectors = unitVectors(20, 4, 2);
    vectors.fill(bad, 28, 32);
    const expected = { code: 'ERR_NON_FINITE', message: /row 7/ };
    assert.throws(() => new addon.ExactIndex(vectors, 4), expected);
    await assert.rejects(addon.HnswIndex.build(vectors, 4, OPTIONS), expected);
    const index = new addon.ExactIndex(unitVectors(3, 4, 3), 4);
    assert.throws(
      () => {
        index.search(vectors.subarray(28, 32), 1, 1, null, output(1, 1));
      },
      { code: 'ERR_NON_FINITE' },
    );
  }
});

test('lengths that do not fit are RangeErrors by name', async () => {
  const index = new addon.ExactIndex(unitVectors(40, 4, 4), 4);
  const hnsw = await addon.HnswIndex.build(unitVectors(40, 4, 4), 4, OPTIONS);
  const query = Float32Array.of(1, 0, 0, 0);
  const searches = [
    (q: Float32Array, b: number, k: number, allow: Uint32Array | null, out: SearchOutput) => {
      index.search(q, b, k, allow, out);
    },
    (q: Float32Array, b: number, k: number, allow: Uint32Array | null, out: SearchOutput) => {
      hnsw.search(q, b, k, 16, allow, out);
    },
  ];
  for (const search of searches) {
    assert.throws(() => {
      search(query, 2, 1, null, output(2, 1));
    }, /length 8 for queries/);
    assert.throws(() => {
      search(query, 1, 2, null, output(1, 1));
    }, /length 2 for out.rows/);
    assert.throws(() => {
      search(query, 1, 0, null, output(1, 0));
    }, /for k, received 0/);
    assert.throws(() => {
      search(query, 1, NaN, null, output(1, 1));
    }, /for k, received NaN/);
    assert.throws(() => {
      search(query, 1, 1, new Uint32Array(1), output(1, 1));
    }, /length 2 for allow/);
  }
  assert.throws(() => {
    index.score(query, Int32Array.of(0, 40), new Float32Array(2));
  }, /rows below 40/);
  assert.throws(() => new addon.ExactIndex(new Float32Array(7), 4), /multiple of 4/);
  assert.throws(
    () => addon.HnswIndex.build(new Float32Array(8), 4, { ...OPTIONS, threads: 0 }),
    /threads/,
  );
});

test('HNSW: recall, exact scores, filters, bytes', async () => {
  const size = 2000;
  const dimensions = 16;
  const count = 30;
  const k = 10;
  const vectors = unitVectors(size, dimensions, 5);
  const queries = unitVectors(count, dimensions, 6);
  const progress: number[] = [];
  const built = await addon.HnswIndex.build(vectors, dimensions, {
    ...OPTIONS,
    onProgress: (added) => progress.push(added),
  });
  const again = await addon.HnswIndex.build(vectors, dimensions, OPTIONS);
  const exact = new addon.ExactIndex(vectors, dimensions);
  const bytes = built.serialize();
  assert.deepEqual(again.serialize(), bytes);
  assert.equal(progress.at(-1), 1);
  assert.equal(built.connectivity, 8);
  const loaded = await addon.HnswIndex.load(bytes, dimensions);
  assert.deepEqual([loaded.size, loaded.dimensions, loaded.connectivity], [size, dimensions, 8]);

  const half = Uint32Array.from({ length: Math.ceil(size / 32) }, () => 0x55555555);
  for (const allow of [null, half]) {
    const truth = output(count, k);
    exact.search(queries, count, k, allow, truth);
    const results = [built, loaded].map((index: NativeHnswIndex) => {
      const out = output(count, k);
      index.search(queries, count, k, 100, allow, out);
      return out;
    });
    assert.deepEqual(results[0], results[1]);
    const found = results[0]!;
    let hits = 0;
    for (let b = 0; b < count; b++) {
      assert.equal(found.counts[b], k);
      const rows = found.rows.subarray(b * k, (b + 1) * k);
      const scores = new Float32Array(k);
      exact.score(queries.subarray(b * dimensions, (b + 1) * dimensions), rows, scores);
      assert.deepEqual(scores, found.scores.slice(b * k, (b + 1) * k));
      assert.ok(scores.every((score, i) => i === 0 || scores[i - 1]! >= score));
      const expected = new Set(truth.rows.subarray(b * k, (b + 1) * k));
      hits += rows.filter((row) => expected.has(row)).length;
    }
    assert.ok(hits / (count * k) > 0.95, `recall ${String(hits / (count * k))}`);
  }
});

test('damaged index bytes are refused or searched, never a crash', async () => {
  const dimensions = 8;
  const index = await addon.HnswIndex.build(unitVectors(100, dimensions, 7), dimensions, OPTIONS);
  const bytes = index.serialize();
  const query = unitVectors(1, dimensions, 8);
  await assert.rejects(addon.HnswIndex.load(bytes, 9), { code: 'ERR_INDEX_INVALID' });
  await assert.rejects(addon.HnswIndex.load(new Uint8Array(0), 8), { code: 'ERR_INDEX_INVALID' });
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(7), fc.boolean(), async (at, bit, cut) => {
      const damaged = cut ? bytes.slice(0, at) : bytes.slice();
      if (!cut) damaged[at]! ^= 1 << bit;
      try {
        const loaded = await addon.HnswIndex.load(damaged, dimensions);
        loaded.search(query, 1, 5, 32, null, output(1, 5));
        assert.ok(!cut);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ERR_INDEX_INVALID');
      }
    }),
    { numRuns: 300 },
  );
});

test('clusters: recall of held-out queries, exact scores, bytes, refusals', async () => {
  const { ClusterIndex, ExactIndex } = addon;
  const [size, width, k] = [3000, 12, 10];
  const vectors = unitVectors(size, width, 31);
  const queries = unitVectors(60, width, 32);
  for (const isa of addon.availableIsas) {
    const index = await ClusterIndex.build(vectors, width, { queries, k, recallTarget: 0.95 }, isa);
    assert.equal(index.size, size);
    assert.equal(index.dimensions, width);
    assert.equal(index.isa, isa);
    assert.ok(index.clusters > 1 && index.recall > 0.9);
    const found = output(60, k);
    index.search(queries, 60, k, null, 1, found);
    const exact = new ExactIndex(vectors, width, isa);
    const scores = new Float32Array(k);
    exact.score(queries.subarray(0, width), found.rows.subarray(0, k), scores);
    assert.deepEqual(scores, found.scores.subarray(0, k));

    const loaded = await ClusterIndex.load(index.serialize(), vectors, width, isa);
    assert.equal(loaded.recall, index.recall);
    const again = output(60, k);
    loaded.search(queries, 60, k, null, 1, again);
    assert.deepEqual(again, found);
    const damaged = index.serialize();
    damaged[damaged.length >> 1]! ^= 4;
    await assert.rejects(ClusterIndex.load(damaged, vectors, width, isa), {
      code: 'ERR_INDEX_INVALID',
    });
  }
  const build = (options: object): unknown =>
    ClusterIndex.build(vectors, width, { queries, k, recallTarget: 0.95, ...options });
  assert.throws(() => build({ queries: new Float32Array(7) }), RangeError);
  assert.throws(() => build({ k: 0 }), RangeError);
  assert.throws(() => build({ recallTarget: '1' }), TypeError);
  assert.throws(() => build({ onProgress: 1 }), TypeError);
  await assert.rejects(build({ recallTarget: 2 }) as Promise<unknown>, RangeError);
  await assert.rejects(build({ queries: new Float32Array(2 * width) }) as Promise<unknown>, {
    code: 'ERR_NON_FINITE',
  });
  const other = vectors.slice();
  const index = await ClusterIndex.build(other, width, { queries, k, recallTarget: 0.5 });
  structuredClone(other, { transfer: [other.buffer] });
  assert.throws(() => {
    index.search(queries.subarray(0, width), 1, k, null, 1, output(1, k));
  }, /transferred/);
});

test('codes and lists of rows give what the scan gives', () => {
  const [size, width, count, k] = [5000, 24, 20, 30];
  const vectors = unitVectors(size, width, 33);
  const queries = unitVectors(count, width, 34);
  for (const isa of addon.availableIsas) {
    const plain = new addon.ExactIndex(vectors, width, isa);
    const coded = new addon.ExactIndex(vectors, width, isa);
    coded.addCodes();
    const rows = Int32Array.from({ length: 700 }, (_, i) => i * 7);
    const bits = new Uint32Array(Math.ceil(size / 32));
    for (const row of rows) bits[row >> 5]! |= 1 << (row & 31);
    for (const allow of [null, bits]) {
      const [a, b] = [output(count, k), output(count, k)];
      plain.search(queries, count, k, allow, a);
      coded.search(queries, count, k, allow, b);
      assert.deepEqual(a, b);
      if (allow === null) continue;
      plain.search(queries, count, k, rows, b);
      assert.deepEqual(a, b);
    }
    assert.throws(() => {
      plain.search(queries, count, k, Int32Array.of(0, size), output(count, k));
    }, RangeError);
  }
});

test('an empty index answers with nothing', async () => {
  const exact = new addon.ExactIndex(new Float32Array(0), 4);
  const hnsw = await addon.HnswIndex.build(new Float32Array(0), 4, OPTIONS);
  const loaded = await addon.HnswIndex.load(hnsw.serialize(), 4);
  const query = Float32Array.of(1, 0, 0, 0);
  const out = output(1, 3);
  exact.search(query, 1, 3, null, out);
  assert.deepEqual([out.counts[0], ...out.rows], [0, -1, -1, -1]);
  for (const index of [hnsw, loaded]) {
    out.counts[0] = 7;
    index.search(query, 1, 3, 16, new Uint32Array(0), out);
    assert.deepEqual([out.counts[0], ...out.rows], [0, -1, -1, -1]);
  }
});
