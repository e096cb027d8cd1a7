// The head through the addon: all instruction sets agree, the formula holds, bad requests are refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nativeAddon } from './binding.ts';
import type { HeadBatch } from '../features/head-batch.ts';
import type { HeadWeights } from './binding.ts';

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
}

const SUBJECTS = 9;
const ROWS = [4, 5, 3] as const;

function makeWeights(shape: Shape, context: boolean, seed: number): HeadWeights {
  const { d, h, f, e, g } = shape;
  const next = numbers(seed);
  const floats = (length: number) => Float32Array.from({ length }, next);
  const z = context ? d + f + 1 : d;
  return {
    fusion: context ? 'concat' : 'none',
    embeddingWidth: d,
    hiddenWidth: h,
    coldStart: floats(d),
    hiddenWeight: floats(h * z),
    hiddenBias: floats(h),
    outputWeight: floats(d * h),
    outputBias: floats(d),
    skipWeight: floats(d * z),
    ...(context && {
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
  for (let i = 0; i < count; i++) {
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
  };
}

test('every instruction set gives the same unit vectors', () => {
  const shapes = fc.record({
    d: fc.integer({ min: 1, max: 70 }),
    h: fc.integer({ min: 1, max: 70 }),
    f: fc.integer({ min: 1, max: 40 }),
    e: fc.integer({ min: 1, max: 20 }),
    g: fc.integer({ min: 1, max: 9 }),
  });
  fc.assert(
    fc.property(
      shapes,
      fc.boolean(),
      fc.integer({ min: 0, max: 20 }),
      fc.nat(1e6),
      (shape, context, count, seed) => {
        const weights = makeWeights(shape, context, seed);
        const batch = makeBatch(shape, count, seed + 1);
        const results = addon.availableIsas.map((isa) => {
          const head = new addon.Head(weights, isa);
          assert.equal(head.isa, isa);
          const out = new Float32Array(count * shape.d);
          head.embed(batch, out);
          return out;
        });
        for (let b = 0; b < count; b++) {
          const row = results[0]!.subarray(b * shape.d, (b + 1) * shape.d);
          assert.ok(Math.abs(Math.hypot(...row) - 1) < 1e-5);
          for (const other of results) {
            for (let j = 0; j < shape.d; j++) {
              assert.ok(Math.abs(other[b * shape.d + j]! - row[j]!) < 2e-4);
            }
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

test('weights and requests of wrong shape are refused by name', () => {
  const shape = { d: 4, h: 5, f: 3, e: 2, g: 2 };
  const weights = makeWeights(shape, true, 1);
  assert.throws(() => new addon.Head({ ...weights, outputBias: new Float32Array(3) }), {
    name: 'RangeError',
    message: /length 4 \[D\] for outputBias, received length 3/,
  });
  assert.throws(() => new addon.Head({ ...weights, fusion: 'sum' as 'none' }), RangeError);
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
