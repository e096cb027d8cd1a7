// The head through the addon against its formula in f64 loops, and the requests and weights that it
// refuses.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nativeAddon } from './addon.ts';
import type { HeadBatch } from '../features/head-batch.ts';
import type { AttentionWeights, ContextWeights, HeadWeights } from './head.ts';

const addon = nativeAddon();

/** Deterministic numbers in [-1, 1). */
function numbers(seed: number): () => number {
  let state = seed * 2654435761 + 12345;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

interface Shape {
  readonly d: number;
  readonly h: number;
  readonly f: number;
  readonly e: number;
  readonly g: number;
  readonly heads: number;
}

type Fusion = HeadWeights['fusion'];

const SUBJECTS = 9;
const ROWS = [4, 5, 3] as const;

function makeWeights(shape: Shape, fusion: Fusion, seed: number): HeadWeights {
  const { d, h, f, e, g } = shape;
  const next = numbers(seed);
  const floats = (length: number) => Float32Array.from({ length }, next);
  const z = fusion === 'none' ? d : fusion === 'concat' ? d + f + 1 : 2 * d + f + 1;
  return {
    fusion,
    embeddingWidth: d,
    hiddenWidth: h,
    coldStart: floats(d),
    hiddenWeight: floats(h * z),
    hiddenBias: floats(h),
    outputWeight: floats(d * h),
    outputBias: floats(d),
    skipWeight: floats(d * z),
    ...(fusion === 'attention' && {
      attention: {
        heads: shape.heads,
        queryWeight: floats(d * f),
        keyWeight: floats(d * d),
        valueWeight: floats(d * d),
        outputWeight: floats(d * d),
      },
    }),
    ...(fusion !== 'none' && {
      context: {
        contextWidth: f,
        subjectWidth: e,
        demographicWidth: g,
        subjectTable: floats(SUBJECTS * e),
        noSubject: floats(e),
        ageTable: floats(ROWS[0] * g),
        countryTable: floats(ROWS[1] * g),
        genderTable: floats(ROWS[2] * g),
        contextWeight: floats(f * (e + 3 * g)),
        contextBias: floats(f),
      },
    }),
  };
}

function makeBatch(shape: Shape, count: number, seed: number): HeadBatch {
  const next = numbers(seed);
  const below = (n: number) => Math.floor(((next() + 1) / 2) * n);
  const offsets = [0];
  const rows: number[] = [];
  const weights: number[] = [];
  const sequenceOffsets = [0];
  for (let i = 0; i < count; i++) {
    sequenceOffsets.push(sequenceOffsets[i]! + below(7));
    for (let t = below(4); t > 0; t--) {
      rows.push(below(SUBJECTS));
      weights.push(below(4) === 0 ? 0 : Math.abs(next()));
    }
    offsets.push(rows.length);
  }
  return {
    count,
    states: Float32Array.from({ length: count * shape.d }, next),
    hasState: Uint8Array.from({ length: count }, () => below(2)),
    stateAge: Float32Array.from({ length: count }, () => Math.abs(next())),
    subjectOffsets: Int32Array.from(offsets),
    subjectRows: Int32Array.from(rows),
    subjectWeights: Float32Array.from(weights),
    demographics: Int32Array.from({ length: 3 * count }, (_, i) => below(ROWS[i % 3]!)),
    sequenceOffsets: Int32Array.from(sequenceOffsets),
    sequenceRows: Float32Array.from({ length: sequenceOffsets[count]! * shape.d }, next),
  };
}

/** W x (+ bias), W [n, x.length]. */
function dense(weight: Float32Array, x: readonly number[], bias?: Float32Array): number[] {
  return Array.from({ length: weight.length / x.length }, (_, i) =>
    x.reduce((sum, value, j) => sum + weight[i * x.length + j]! * value, bias?.[i] ?? 0),
  );
}

const relu = (x: readonly number[]): number[] => x.map((value) => Math.max(0, value));

/** Multi-head attention of c over the states, keys and values computed as the formula says them. */
function attend(
  { heads, queryWeight, keyWeight, valueWeight, outputWeight }: AttentionWeights,
  states: readonly number[][],
  c: readonly number[],
): number[] {
  const query = dense(queryWeight, c);
  const keys = states.map((state) => dense(keyWeight, state));
  const values = states.map((state) => dense(valueWeight, state));
  const width = query.length / heads;
  const merged = query.map((_, j) => {
    const begin = Math.floor(j / width) * width;
    const scores = keys.map((key) => {
      let score = 0;
      for (let i = begin; i < begin + width; i++) score += query[i]! * key[i]!;
      return score / Math.sqrt(width);
    });
    const best = Math.max(...scores);
    const shares = scores.map((score) => Math.exp(score - best));
    const total = shares.reduce((sum, share) => sum + share, 0);
    return shares.reduce((sum, share, t) => sum + (share / total) * values[t]![j]!, 0);
  });
  return dense(outputWeight, merged);
}

interface Reference {
  /** [D]. */
  readonly embedding: readonly number[];
  /**
   * The vector before normalisation is a sum of terms. This is how much larger the terms are than
   * the sum. Rounding errors are relative to the terms, so the normalisation multiplies them by
   * this number. It is more often large when the embedding is narrow.
   */
  readonly condition: number;
}

/** The embedding of request b, as docs/explanation/model.md defines it. */
function reference(weights: HeadWeights, batch: HeadBatch, b: number): Reference {
  const { embeddingWidth: d, context, attention } = weights;
  const rows = (table: Float32Array, begin: number, end: number, width: number): number[][] =>
    Array.from({ length: end - begin }, (_, i) => [
      ...table.subarray((begin + i) * width, (begin + i + 1) * width),
    ]);
  const known = batch.hasState[b] === 1 ? rows(batch.states, b, b + 1, d) : [];
  const { sequenceOffsets, sequenceRows } = batch;
  let states =
    attention === undefined
      ? known
      : rows(sequenceRows!, sequenceOffsets![b]!, sequenceOffsets![b + 1]!, d);
  const age = states.length === 0 ? 0 : batch.stateAge[b]!;
  if (states.length === 0) states = [[...weights.coldStart]];
  let z = states.at(-1)!;
  if (context !== undefined) {
    const { subjectWidth, demographicWidth: g } = context;
    const [begin, end] = [batch.subjectOffsets[b]!, batch.subjectOffsets[b + 1]!];
    const shares = batch.subjectWeights.subarray(begin, end);
    const total = shares.reduce((sum, share) => sum + share, 0);
    const subject =
      total === 0
        ? [...context.noSubject]
        : Array.from({ length: subjectWidth }, (_, j) =>
            shares.reduce((sum, share, i) => {
              const row = batch.subjectRows[begin + i]!;
              return sum + (share / total) * context.subjectTable[row * subjectWidth + j]!;
            }, 0),
          );
    const tables = [context.ageTable, context.countryTable, context.genderTable];
    const demographics = tables.flatMap((table, t) => {
      const row = batch.demographics[3 * b + t]!;
      return [...table.subarray(row * g, (row + 1) * g)];
    });
    const c = relu(
      dense(context.contextWeight, [...subject, ...demographics], context.contextBias),
    );
    z = [...(attention === undefined ? [] : attend(attention, states, c)), ...z, ...c, age];
  }
  const hidden = relu(dense(weights.hiddenWeight, z, weights.hiddenBias));
  const skip = dense(weights.skipWeight, z);
  const u = dense(weights.outputWeight, hidden, weights.outputBias).map((x, j) => x + skip[j]!);
  const norm = Math.hypot(...u);
  const absolute = (values: Iterable<number>): number[] => Array.from(values, Math.abs);
  const terms = dense(Float32Array.from(absolute(weights.outputWeight)), absolute(hidden)).map(
    (x, j) => x + Math.abs(weights.outputBias[j]!),
  );
  const skipped = dense(Float32Array.from(absolute(weights.skipWeight)), absolute(z));
  const sizes = terms.map((x, j) => x + skipped[j]!);
  return { embedding: u.map((x) => x / norm), condition: Math.hypot(...sizes) / norm };
}

/**
 * Errors of the sums before normalisation, relative to their terms. bf16 has 8 bits, and four sums
 * in a row round weights and inputs. f32 has 24 bits, and a sum of n terms loses log2 n of them.
 */
const ERRORS = { bf16: 4 * 2 ** -8, f32: 2 ** -18 } as const;

test('every instruction set, fusion and precision computes the formula', () => {
  const shapes = fc
    .record({
      width: fc.integer({ min: 1, max: 18 }),
      heads: fc.integer({ min: 1, max: 4 }),
      h: fc.integer({ min: 1, max: 70 }),
      f: fc.integer({ min: 1, max: 40 }),
      e: fc.integer({ min: 1, max: 20 }),
      g: fc.integer({ min: 1, max: 9 }),
    })
    .map(({ width, ...shape }): Shape => ({ ...shape, d: width * shape.heads }));
  fc.assert(
    fc.property(
      shapes,
      fc.constantFrom('none' as const, 'concat' as const, 'attention' as const),
      fc.integer({ min: 0, max: 20 }),
      fc.nat(1e6),
      (shape, fusion, count, seed) => {
        const weights = makeWeights(shape, fusion, seed);
        const batch = makeBatch(shape, count, seed + 1);
        const expected = Array.from({ length: count }, (_, b) => reference(weights, batch, b));
        for (const isa of addon.availableIsas)
          for (const precision of ['f32', 'bf16'] as const) {
            const head = new addon.Head(weights, isa, precision);
            assert.equal(head.isa, isa);
            const out = new Float32Array(count * shape.d);
            head.embed(batch, out);
            for (const [b, { embedding, condition }] of expected.entries()) {
              const row = out.subarray(b * shape.d, (b + 1) * shape.d);
              assert.ok(Math.abs(Math.hypot(...row) - 1) < 1e-5);
              const distance = Math.hypot(...embedding.map((x, j) => x - row[j]!));
              assert.ok(
                distance < ERRORS[precision] * condition,
                `${isa} in ${precision}: ${distance} at condition ${condition}`,
              );
            }
          }
      },
    ),
    { numRuns: 60 },
  );
});

test('a head by hand: fusion none, one unit', () => {
  const head = new addon.Head({
    fusion: 'none',
    embeddingWidth: 2,
    hiddenWidth: 1,
    coldStart: Float32Array.of(0, 1),
    hiddenWeight: Float32Array.of(1, -1),
    hiddenBias: Float32Array.of(0),
    outputWeight: Float32Array.of(1, 0),
    outputBias: Float32Array.of(0, 0),
    skipWeight: Float32Array.of(1, 0, 0, 1),
  });
  const out = new Float32Array(4);
  head.embed(
    {
      count: 2,
      states: Float32Array.of(3, 2, 9, 9),
      hasState: Uint8Array.of(1, 0),
      stateAge: new Float32Array(2),
      subjectOffsets: new Int32Array(3),
      subjectRows: new Int32Array(0),
      subjectWeights: new Float32Array(0),
      demographics: new Int32Array(6),
    },
    out,
  );
  // relu(3 - 2) = 1 joins the first coordinate: [4, 2]; the cold start [0, 1] stays.
  const norm = Math.hypot(4, 2);
  assert.ok(Math.abs(out[0]! - 4 / norm) < 1e-6 && Math.abs(out[1]! - 2 / norm) < 1e-6);
  assert.deepEqual([...out.subarray(2)], [0, 1]);
});

/**
 * Two items of width 2; the context is relu(x + [1, 0]), x of the item in view, and the embedding
 * its direction.
 */
function viewingWeights(): HeadWeights & { readonly context: ContextWeights } {
  const zeros = (length: number): Float32Array => new Float32Array(length);
  return {
    fusion: 'concat',
    embeddingWidth: 2,
    hiddenWidth: 1,
    coldStart: zeros(2),
    hiddenWeight: zeros(5),
    hiddenBias: zeros(1),
    outputWeight: zeros(2),
    outputBias: zeros(2),
    skipWeight: Float32Array.of(0, 0, 1, 0, 0, 0, 0, 0, 1, 0),
    context: {
      contextWidth: 2,
      subjectWidth: 1,
      demographicWidth: 1,
      subjectTable: zeros(1),
      noSubject: zeros(1),
      ageTable: zeros(1),
      countryTable: zeros(1),
      genderTable: zeros(1),
      contextWeight: Float32Array.of(0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1),
      contextBias: Float32Array.of(1, 0),
      subjectItems: {
        itemTable: Float32Array.of(2, 3, 4, 2),
        categories: {
          table: Float32Array.of(9, 9, 2, 4),
          offsets: Int32Array.of(0, 1, 1),
          rows: Int32Array.of(1),
          weights: Float32Array.of(0.5),
        },
        advertisers: { table: Float32Array.of(0, 0, -1, 1), rows: Int32Array.of(0, 1) },
        prices: { table: Float32Array.of(0, 0, 0, 5), rows: Int32Array.of(0, 1) },
      },
    },
  };
}

function viewingBatch(subjectItems: Int32Array): HeadBatch {
  const count = subjectItems.length;
  return {
    count,
    states: new Float32Array(2 * count),
    hasState: new Uint8Array(count),
    stateAge: new Float32Array(count),
    subjectOffsets: new Int32Array(count + 1),
    subjectRows: new Int32Array(0),
    subjectWeights: new Float32Array(0),
    demographics: new Int32Array(3 * count),
    subjectItems,
  };
}

test('a head by hand: the item in view', () => {
  for (const isa of addon.availableIsas) {
    const out = new Float32Array(6);
    new addon.Head(viewingWeights(), isa).embed(viewingBatch(Int32Array.of(1, -1, 0)), out);
    // x = id + categories + advertiser + price: [4 - 1, 2 + 1 + 5], none, [2 + 0.5 * 2, 3 + 0.5 *
    // 4].
    for (const [i, [a, b]] of (
      [
        [4, 8],
        [1, 0],
        [4, 5],
      ] as const
    ).entries()) {
      assert.ok(Math.abs(out[2 * i]! - a / Math.hypot(a, b)) < 1e-6);
      assert.ok(Math.abs(out[2 * i + 1]! - b / Math.hypot(a, b)) < 1e-6);
    }
  }
});

test('items in view that do not fit are refused by name', () => {
  const weights = viewingWeights();
  const { subjectItems, ...plain } = weights.context;
  const head = new addon.Head(weights);
  const out = new Float32Array(4);
  const missing = { subjectItems: undefined } as object;
  const cases: [() => void, object][] = [
    [
      () => new addon.Head({ ...weights, context: plain }),
      {
        name: 'RangeError',
        message: /length 8 \[F, E \+ 3 G\] for contextWeight, received length 12/,
      },
    ],
    [
      () =>
        new addon.Head({
          ...weights,
          context: {
            ...plain,
            subjectItems: {
              ...subjectItems!,
              prices: { table: Float32Array.of(0, 0), rows: Int32Array.of(0, 1) },
            },
          },
        }),
      { name: 'RangeError', message: /rows from 0 to 0 in prices\.rows, received 1 at 1/ },
    ],
    [
      () => {
        head.embed({ ...viewingBatch(Int32Array.of(0, 0)), ...missing }, out);
      },
      { name: 'TypeError', message: /Int32Array for subjectItems, received undefined/ },
    ],
    [
      () => {
        head.embed(viewingBatch(Int32Array.of(-1, 2)), out);
      },
      {
        name: 'RangeError',
        message: /from 0 to 1, or -1 for none, in subjectItems, received 2 at 1/,
      },
    ],
  ];
  for (const [attempt, expected] of cases) assert.throws(attempt, expected);
});

test('weights and requests of wrong shape are refused by name', () => {
  const shape = { d: 4, h: 5, f: 3, e: 2, g: 2, heads: 2 };
  const weights = makeWeights(shape, 'concat', 1);
  assert.throws(() => new addon.Head({ ...weights, outputBias: new Float32Array(3) }), {
    name: 'RangeError',
    message: /length 4 \[D\] for outputBias, received length 3/,
  });
  assert.throws(() => new addon.Head({ ...weights, fusion: 'sum' as 'none' }), RangeError);
  assert.throws(() => new addon.Head(weights, undefined, 'f16' as 'f32'), {
    name: 'RangeError',
    message: /"f32" or "bf16" for precision, received "f16"/,
  });
  const head = new addon.Head(weights);
  const batch = makeBatch(shape, 3, 2);
  const out = new Float32Array(12);
  assert.throws(() => {
    head.embed(batch, new Float32Array(11));
  }, /length 12 \[B, D\] for out/);
  assert.throws(() => {
    head.embed({ ...batch, demographics: Int32Array.of(0, 0, 0, 0, 5, 0, 0, 0, 0) }, out);
  }, /rows below 5 of countryTable in demographics, received 5 at 4/);
  const bag = {
    subjectOffsets: Int32Array.of(0, 1, 1, 1),
    subjectRows: Int32Array.of(SUBJECTS),
    subjectWeights: Float32Array.of(1),
  };
  assert.throws(() => {
    head.embed({ ...batch, ...bag }, out);
  }, RangeError);
  const states = batch.states.slice();
  states[4] = NaN;
  assert.throws(
    () => {
      head.embed({ ...batch, states, hasState: Uint8Array.of(1, 1, 1) }, out);
    },
    { code: 'ERR_NON_FINITE', message: /request 1/ },
  );
});

test('fusion attention reads sequences and says what is wrong with them', () => {
  const shape = { d: 4, h: 5, f: 3, e: 2, g: 2, heads: 2 };
  const weights = makeWeights(shape, 'attention', 3);
  assert.throws(
    () => new addon.Head({ ...weights, attention: { ...weights.attention!, heads: 3 } }),
    { name: 'RangeError', message: /heads to divide embeddingWidth \(4\), received 3/ },
  );
  const head = new addon.Head(weights);
  const out = new Float32Array(8);
  const { sequenceOffsets, sequenceRows, ...withoutSequences } = makeBatch(shape, 2, 4);
  const cases: [Partial<HeadBatch>, object][] = [
    [{}, { name: 'TypeError', message: /Int32Array for sequenceOffsets, received undefined/ }],
    [
      { sequenceOffsets: Int32Array.of(0, 1), sequenceRows: sequenceRows! },
      { name: 'RangeError', message: /length 3 \[B \+ 1\] for sequenceOffsets, received length 2/ },
    ],
    [
      { sequenceOffsets: Int32Array.of(0, 3, 2), sequenceRows: sequenceRows! },
      { name: 'RangeError', message: /ascending offsets from 0 for sequenceOffsets/ },
    ],
    [
      { sequenceOffsets: Int32Array.of(0, 1, 2), sequenceRows: new Float32Array(7) },
      { name: 'RangeError', message: /length 8 \[sequenceOffsets\[B\], D\] for sequenceRows/ },
    ],
  ];
  for (const [fields, expected] of cases)
    assert.throws(() => {
      head.embed({ ...withoutSequences, ...fields }, out);
    }, expected);
  // States are not read: their length may be anything.
  head.embed(
    {
      ...withoutSequences,
      states: new Float32Array(0),
      sequenceOffsets,
      sequenceRows,
    } as HeadBatch,
    out,
  );
});
