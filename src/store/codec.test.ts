import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { EncoderId } from '../ids.ts';
import {
  decodeRecord,
  decodeWatermark,
  encodeHistoryDigest,
  encodeRecord,
  encodeWatermark,
  encoderPrefix,
  hasSeenMore,
  summaryOf,
} from './codec.ts';
import { crc32c } from './record.ts';
import { markMissing } from './state-batch.ts';
import { storedAs } from './row-codecs.ts';
import type { HistoryBoosts } from '../features/item-frequency.ts';
import type { UserState } from '../features/user-state.ts';
import { boostsOf, newStateBatch, onlyState, stateOf } from './state-batch.ts';

const ENCODER = '0123456789abcdef'.repeat(4) as EncoderId;
const PREFIX = encoderPrefix(ENCODER);

const finite = { noNaN: true, noDefaultInfinity: true } as const;
const TYPES = ['f32', 'bf16', 'int8'] as const;
const states: fc.Arbitrary<UserState> = fc
  .tuple(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 5 }))
  .chain(([dimensions, rows]) =>
    fc.record({
      state: fc.float32Array({
        ...finite,
        minLength: rows * dimensions,
        maxLength: rows * dimensions,
      }),
      dimensions: fc.constant(dimensions),
      type: fc.constantFrom(...TYPES),
      lastEventSeconds: fc.double(finite),
      encodedAtSeconds: fc.double(finite),
    }),
  );
const boosts: fc.Arbitrary<HistoryBoosts> = fc
  .array(fc.tuple(fc.nat(2 ** 31 - 1), fc.float(finite)), { maxLength: 7 })
  .map((pairs) => ({
    items: Int32Array.from(pairs, ([item]) => item),
    boosts: Float32Array.from(pairs, ([, boost]) => boost),
  }));
/**
 * Bytes of header and checksum, and of a row by type and width, as docs/reference/bundle-format.md
 * states them.
 */
const FRAME_BYTES = 48;
const ROW_BYTES = {
  f32: (d: number) => 4 * d,
  bf16: (d: number) => 2 * d,
  int8: (d: number) => 4 + d,
};
/** The largest difference between a value read and the value written: half a step of its type. */
const STEP = {
  f32: () => 0,
  // bf16 has eight bits of mantissa; denormals have fewer.
  bf16: (x: number) => Math.abs(x) / 256 + 2 ** -133,
  int8: (_x: number, largest: number) => (largest / 127 / 2) * (1 + 1e-4) + 2 ** -142,
};

function single(
  state: Float32Array,
  lastEventSeconds: number,
  encodedAtSeconds: number,
): UserState {
  return { state, dimensions: state.length, type: 'f32', lastEventSeconds, encodedAtSeconds };
}

describe('record of a user state', () => {
  it('returns the same values, to half a step of their type', () => {
    fc.assert(
      fc.property(states, (userState) => {
        const record = encodeRecord(PREFIX, userState, 'u');
        const { state, dimensions, type } = userState;
        const rows = state.length / dimensions;
        assert.equal(record.length, FRAME_BYTES + rows * ROW_BYTES[type](dimensions));
        const batch = newStateBatch(2, dimensions, rows + 1);
        assert.equal(decodeRecord(record, PREFIX, 'u', batch, 1), true);
        const received = stateOf(batch, 1);
        assert.deepEqual(received, storedAs(state, dimensions, type));
        for (const [i, value] of state.entries()) {
          const row = state.slice(i - (i % dimensions), i - (i % dimensions) + dimensions);
          const largest = Math.max(...row.map(Math.abs));
          assert.ok(
            Math.abs(received[i]! - value) <= STEP[type](value, largest),
            `${type}: ${value} became ${received[i]!}`,
          );
        }
        // Nothing is written behind the last row, nor before the first.
        assert.ok(batch.states.subarray(-dimensions).every((value) => value === 0));
        assert.ok(batch.states.subarray(0, (rows + 1) * dimensions).every((value) => value === 0));
        assert.equal(batch.lastEventSeconds[1], userState.lastEventSeconds);
        assert.equal(batch.encodedAtSeconds[1], userState.encodedAtSeconds);
        assert.deepEqual([...batch.lengths], [0, rows]);
      }),
    );
  });

  it('returns history boosts unchanged, to a batch that has room for them', () => {
    fc.assert(
      fc.property(states, boosts, (userState, historyBoosts) => {
        const plain = encodeRecord(PREFIX, userState, 'u');
        const record = encodeRecord(PREFIX, { ...userState, historyBoosts }, 'u');
        assert.equal(record.length, plain.length + 4 + 8 * historyBoosts.items.length);
        const { dimensions, state } = userState;
        const rows = state.length / dimensions;
        const batch = newStateBatch(2, dimensions, rows, 7);
        assert.equal(decodeRecord(record, PREFIX, 'u', batch, 1), true);
        const without = newStateBatch(2, dimensions, rows);
        for (const [bytes, into] of [
          [record, without],
          [plain, newStateBatch(2, dimensions, rows, 7)],
        ] as const) {
          assert.equal(decodeRecord(bytes, PREFIX, 'u', into, 1), true);
          assert.equal(boostsOf(into, 1).items.length, 0);
          assert.deepEqual(stateOf(into, 1), stateOf(batch, 1));
        }
        assert.deepEqual(boostsOf(batch, 1), historyBoosts);
        assert.deepEqual(boostsOf(onlyState(batch, 1), 0), historyBoosts);
        // A missing state has no boosts, whatever the arrays hold.
        markMissing(batch, 1);
        assert.equal(boostsOf(batch, 1).items.length, 0);
        if (historyBoosts.items.length < 2) return;
        assert.throws(
          () => decodeRecord(record, PREFIX, 'u', newStateBatch(1, dimensions, rows, 1), 0),
          { code: 'ERR_STORE_CORRUPT', message: /at most 1 items/ },
        );
      }),
    );
  });

  const damageable = {
    state: Float32Array.of(1, -2.5, 3, 4, 5, 6),
    dimensions: 3,
    type: 'int8' as const,
    lastEventSeconds: 1_700_000_000,
    encodedAtSeconds: 1_700_000_100,
  };
  const historyBoosts = { items: Int32Array.of(3, 9), boosts: Float32Array.of(0.5, 0.25) };
  for (const [what, userState] of [
    ['', damageable],
    [' of a record with history boosts', { ...damageable, historyBoosts }],
  ] as const)
    it(`detects every single flipped bit and every truncation${what}`, () => {
      const record = encodeRecord(PREFIX, userState, 'someone');
      const batch = newStateBatch(1, 3, 4, 4);
      const corrupt = { code: 'ERR_STORE_CORRUPT', message: /"someone"/ };
      for (let bit = 0; bit < record.length * 8; bit++) {
        const damaged = Buffer.from(record);
        damaged[bit >> 3]! ^= 1 << (bit & 7);
        assert.throws(() => decodeRecord(damaged, PREFIX, 'someone', batch, 0), corrupt);
      }
      for (let length = 0; length < record.length; length++)
        assert.throws(
          () => decodeRecord(record.subarray(0, length), PREFIX, 'someone', batch, 0),
          corrupt,
        );
      assert.equal(batch.lengths[0], 0);
      assert.ok(
        batch.states.every((value) => value === 0),
        'a damaged record leaves the batch alone',
      );
    });

  it('refuses random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const batch = newStateBatch(1, 4);
        assert.throws(() => decodeRecord(Buffer.from(bytes), PREFIX, 'u', batch, 0), {
          code: 'ERR_STORE_CORRUPT',
        });
      }),
    );
  });

  it('counts a whole record of another encoder as missing', () => {
    const foreign = encoderPrefix('f'.repeat(64) as EncoderId);
    const userState = single(Float32Array.of(1), 0, 0);
    const batch = newStateBatch(1, 1);
    const record = encodeRecord(foreign, userState, 'u');
    assert.equal(decodeRecord(record, PREFIX, 'u', batch, 0), false);
    assert.deepEqual([...batch.states], [0]);
  });

  it('has the layout that docs/reference/bundle-format.md states', () => {
    const record = encodeRecord(PREFIX, single(Float32Array.of(1), 2, 1), 'u');
    const header = `${Buffer.from('TDS1').toString('hex')}01000000${ENCODER.slice(0, 32)}`;
    const times = '000000000000f03f' + '0000000000000040';
    const body = record.toString('hex', 0, 48);
    assert.equal(body, `${header}${times}010000000000803f`);
    assert.equal(record.readUInt32LE(48), crc32c(record.subarray(0, 48)));
    const payload = (type: 'bf16' | 'int8', ...values: number[]): string => {
      const userState = { ...single(Float32Array.from(values), 2, 1), dimensions: 2, type };
      const bytes = encodeRecord(PREFIX, userState, 'u');
      assert.equal(bytes[6], type === 'bf16' ? 1 : 2);
      return bytes.toString('hex', 44, bytes.length - 4);
    };
    // 1 + 2^-8 and 1 + 3 * 2^-8 lie halfway between two values of bf16, and round to the even one.
    assert.equal(payload('bf16', 1 + 2 ** -8, 1 + 3 * 2 ** -8, -2, 0), '803f823f00c00000');
    // A row is its scale, largest / 127, then its codes.
    assert.equal(payload('int8', 127, -64, 0, 0), '0000803f7fc0' + '000000000000');
  });

  it('has history boosts where docs/reference/bundle-format.md states, and nowhere else', () => {
    const state = single(Float32Array.of(1), 2, 1);
    const record = encodeRecord(PREFIX, { ...state, historyBoosts }, 'u');
    const plain = encodeRecord(PREFIX, state, 'u');
    plain.writeUInt16LE(2, 4);
    assert.deepEqual(record.subarray(0, 48), plain.subarray(0, 48));
    const pairs = '03000000' + '0000003f' + '09000000' + '0000803e';
    assert.equal(record.toString('hex', 48, record.length - 4), `${pairs}02000000`);
    assert.equal(record.readUInt32LE(68), crc32c(record.subarray(0, 68)));
    const infinite = { ...historyBoosts, boosts: Float32Array.of(0, Infinity) };
    const broken = { ...state, historyBoosts: infinite };
    assert.throws(() => encodeRecord(PREFIX, broken, 'u'), { code: 'ERR_NON_FINITE' });
  });

  it('refuses a state that is not whole rows', () => {
    const state = { ...single(new Float32Array(3), 0, 0), dimensions: 2 };
    assert.throws(() => encodeRecord(PREFIX, state, 'u'), { name: 'RangeError', message: /"u"/ });
    const none = { ...state, state: new Float32Array(0) };
    assert.throws(() => encodeRecord(PREFIX, none, 'u'), RangeError);
  });

  it('refuses an encoderId that is not hex', () => {
    assert.throws(() => encoderPrefix('xyz' as EncoderId), TypeError);
  });
});

describe('hasSeenMore', () => {
  it('compares the newest events, and is false for a damaged record', () => {
    fc.assert(
      fc.property(states, fc.nat(1e6), fc.nat(1e6), fc.nat(), (state, mine, others, draw) => {
        const stored = encodeRecord(PREFIX, { ...state, lastEventSeconds: mine }, 'u');
        const other = encodeRecord(PREFIX, { ...state, lastEventSeconds: others }, 'u');
        assert.equal(hasSeenMore(stored, other), mine > others);
        assert.equal(hasSeenMore(undefined, other), false);
        stored[draw % stored.length]! ^= 1 << (draw % 8);
        assert.equal(hasSeenMore(stored, other), false);
        assert.equal(hasSeenMore(stored.subarray(0, draw % stored.length), other), false);
      }),
    );
  });
});

describe('history digest', () => {
  it('is eight bytes and the checksum of its state, and holds for no other state', () => {
    const state = Float32Array.of(1, 2);
    const times = { lastEventSeconds: 7, encodedAtSeconds: 8 };
    const common = { dimensions: 2, type: 'f32', ...times } as const;
    const record = encodeRecord(PREFIX, { ...common, state }, 'u');
    const other = encodeRecord(PREFIX, { ...common, state: state.map((x) => x + 1) }, 'u');
    const digest = encodeHistoryDigest(0x0102_0304_0506_0708n, record);
    const checksum = record.subarray(-4).toString('hex');
    assert.equal(digest.toString('hex'), `0807060504030201${checksum}`);
    assert.deepEqual(summaryOf(record, digest), {
      historyDigest: 0x0102_0304_0506_0708n,
      lastEventSeconds: 7,
      checksum: record.readUInt32LE(record.length - 4),
    });
    for (const wrong of [undefined, digest.subarray(1), digest.subarray(0, 8), Buffer.alloc(0)])
      assert.equal(summaryOf(record, wrong)!.historyDigest, undefined);
    assert.equal(summaryOf(other, digest)!.historyDigest, undefined);
    assert.equal(summaryOf(undefined, digest), undefined);
    record[45]! ^= 1;
    assert.equal(summaryOf(record, digest), undefined);
  });
});

describe('watermark', () => {
  it('survives encoding and decoding, and detects every flipped bit', () => {
    const record = encodeWatermark(1_700_000_000.25);
    assert.equal(decodeWatermark(record, ENCODER), 1_700_000_000.25);
    for (let bit = 0; bit < record.length * 8; bit++) {
      const damaged = Buffer.from(record);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => decodeWatermark(damaged, ENCODER), { code: 'ERR_STORE_CORRUPT' });
    }
  });
});
