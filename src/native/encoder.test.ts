// The history encoder through the addon: one by hand, and arguments that are refused. Parity is in
// test/.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nativeAddon } from './addon.ts';
import type { EncoderBlockWeights, EncoderWeights } from './encoder.ts';
import type { HistoryBatch } from '../features/sequence.ts';

const addon = nativeAddon();

const zeros = (length: number): Float32Array => new Float32Array(length);
const ones = (length: number): Float32Array => new Float32Array(length).fill(1);

/** A block that adds nothing to its input. */
function emptyBlock(width: number, hidden: number): EncoderBlockWeights {
  return {
    attentionNormScale: ones(width),
    attentionNormOffset: zeros(width),
    queryWeight: zeros(width * width),
    queryBias: zeros(width),
    keyWeight: zeros(width * width),
    keyBias: zeros(width),
    valueWeight: zeros(width * width),
    valueBias: zeros(width),
    attentionOutputWeight: zeros(width * width),
    attentionOutputBias: zeros(width),
    feedForwardNormScale: ones(width),
    feedForwardNormOffset: zeros(width),
    feedForwardWeight: zeros(hidden * width),
    feedForwardBias: zeros(hidden),
    feedForwardOutputWeight: zeros(width * hidden),
    feedForwardOutputBias: zeros(width),
  };
}

/**
 * Two items of width 2, histories of up to 3 events, and blocks that add nothing: x = item +
 * action.
 */
function weights(): EncoderWeights {
  return {
    embeddingWidth: 2,
    heads: 1,
    feedForwardWidth: 3,
    maxHistory: 3,
    actionWidth: 1,
    itemTable: Float32Array.of(1, 3, 5, 1),
    actionTable: Float32Array.of(0, 10),
    gapTable: zeros(2 * 2),
    positionTable: zeros(3 * 2),
    // The action counts for the first coordinate.
    inputWeight: Float32Array.of(1, 0, 1, 0, 1, 0),
    inputBias: zeros(2),
    blocks: [emptyBlock(2, 3), emptyBlock(2, 3)],
    normScale: Float32Array.of(2, 2),
    normOffset: Float32Array.of(0, 1),
  };
}

const batch = {
  offsets: Int32Array.of(0, 1, 1, 4),
  items: Int32Array.of(0, 0, 1, 0),
  actions: Int32Array.of(0, 0, 0, 1),
  gaps: Int32Array.of(0, 0, 1, 1),
};

test('an encoder by hand: the state is the normed newest event', () => {
  for (const isa of addon.availableIsas)
    for (const precision of ['f32', 'bf16'] as const) {
      const encoder = new addon.Encoder(weights(), isa, precision);
      assert.deepEqual([encoder.isa, encoder.precision], [isa, precision]);
      const out = new Float32Array(6).fill(9);
      encoder.encode(batch, out);
      // [1, 3] is below and above its mean by 1, [11, 3] above and below; the empty history is 0.
      const expected = [-2, 3, 0, 0, 2, -1];
      for (const [i, value] of expected.entries()) assert.ok(Math.abs(out[i]! - value) < 1e-4);
    }
});

test('the states of all events, oldest first, under rows "all"', () => {
  for (const isa of addon.availableIsas) {
    const encoder = new addon.Encoder(weights(), isa, 'f32', 'all');
    const out = new Float32Array(8).fill(9);
    encoder.encode(batch, out);
    const expected = [-2, 3, -2, 3, 2, -1, 2, -1];
    for (const [i, value] of expected.entries()) assert.ok(Math.abs(out[i]! - value) < 1e-4);
    assert.throws(() => {
      encoder.encode(batch, new Float32Array(6));
    }, /length 8 \[offsets\[B\], D\] for out, received length 6/);
  }
  assert.throws(
    () => new addon.Encoder(weights(), undefined, 'f32', 'some' as 'all'),
    /"newest" or "all" for stateRows, received "some"/,
  );
});

test('weights of wrong shape or with NaN are refused by name', () => {
  const refused = (changed: Partial<EncoderWeights>, expected: object): void => {
    assert.throws(() => new addon.Encoder({ ...weights(), ...changed }), expected);
  };
  refused({ inputBias: zeros(3) }, { name: 'RangeError', message: /length 2 \[D\] for inputBias/ });
  refused({ heads: 3 }, { name: 'RangeError', message: /heads to divide embeddingWidth 2/ });
  refused({ blocks: [] }, { name: 'RangeError', message: /number of blocks/ });
  refused({ blocks: {} as [] }, { name: 'TypeError', message: /Array for blocks/ });
  refused({ gapTable: Float32Array.of(0, NaN) }, { code: 'ERR_NON_FINITE', message: /gapTable/ });
  const rows = { table: zeros(4), rows: Int32Array.of(0, 2) };
  refused({ prices: rows }, { name: 'RangeError', message: /prices.rows, received 2 at 1/ });
  const block = { ...emptyBlock(2, 3), keyBias: Float32Array.of(0, Infinity) };
  refused(
    { blocks: [emptyBlock(2, 3), block] },
    { code: 'ERR_NON_FINITE', message: /blocks\[1\]\.keyBias/ },
  );
  assert.throws(() => new addon.Encoder(weights(), undefined, 'f16' as 'f32'), /"f32" or "bf16"/);
});

test('batches that do not fit are refused by position', () => {
  const encoder = new addon.Encoder(weights());
  const refused = (changed: Partial<HistoryBatch>, expected: object, length = 6): void => {
    assert.throws(() => {
      encoder.encode({ ...batch, ...changed }, new Float32Array(length));
    }, expected);
  };
  refused({}, { name: 'RangeError', message: /length 6 \[B, D\] for out, received length 5/ }, 5);
  refused({ offsets: new Int32Array(0) }, { name: 'RangeError', message: /offsets/ });
  refused(
    { offsets: Int32Array.of(0, 2, 1, 4) },
    { name: 'RangeError', message: /offsets, received 1 at 2/ },
  );
  refused(
    { offsets: Int32Array.of(0, 0, 0, 4) },
    { name: 'RangeError', message: /at most 3 events .* received 4 for user 2/ },
  );
  refused(
    { items: Int32Array.of(0, 0, 2, 0) },
    { name: 'RangeError', message: /from 0 to 1 in items, received 2 at 2/ },
  );
  refused({ gaps: Int32Array.of(0, 0, 1, -1) }, { name: 'RangeError', message: /gaps.* at 3/ });
  refused({ actions: [0] as unknown as Int32Array }, { name: 'TypeError', message: /Int32Array/ });
});
