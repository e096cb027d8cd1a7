import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { EncoderId } from '../ids.ts';
import {
  crc32c,
  decodeRecord,
  decodeWatermark,
  encodeRecord,
  encodeWatermark,
  encoderPrefix,
  recordBytes,
} from './codec.ts';
import { newStateBatch, type UserState } from './store.ts';

const ENCODER = '0123456789abcdef'.repeat(4) as EncoderId;
const PREFIX = encoderPrefix(ENCODER);

const finite = { noNaN: true, noDefaultInfinity: true } as const;
const states: fc.Arbitrary<UserState> = fc.record({
  state: fc.float32Array({ ...finite, maxLength: 16 }),
  lastEventSeconds: fc.double(finite),
  encodedAtSeconds: fc.double(finite),
});

describe('record of a user state', () => {
  it('gives back the same values', () => {
    fc.assert(
      fc.property(states, (userState) => {
        const record = encodeRecord(PREFIX, userState, 'u');
        const width = userState.state.length;
        assert.equal(record.length, recordBytes(width));
        const batch = newStateBatch(2, width);
        assert.equal(decodeRecord(record, PREFIX, 'u', batch, 1), true);
        assert.deepEqual(batch.states.subarray(width), userState.state);
        assert.equal(batch.lastEventSeconds[1], userState.lastEventSeconds);
        assert.equal(batch.encodedAtSeconds[1], userState.encodedAtSeconds);
        assert.deepEqual([...batch.found], [0, 1]);
      }),
    );
  });

  it('detects every single flipped bit and every truncation', () => {
    const userState = {
      state: Float32Array.of(1, -2.5, 3),
      lastEventSeconds: 1_700_000_000,
      encodedAtSeconds: 1_700_000_100,
    };
    const record = encodeRecord(PREFIX, userState, 'someone');
    const batch = newStateBatch(1, 3);
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
    assert.equal(batch.found[0], 0);
    assert.deepEqual([...batch.states], [0, 0, 0], 'nothing of a damaged record is read');
  });

  it('never lets random bytes pass', () => {
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
    const userState = { state: Float32Array.of(1), lastEventSeconds: 0, encodedAtSeconds: 0 };
    const batch = newStateBatch(1, 1);
    const record = encodeRecord(foreign, userState, 'u');
    assert.equal(decodeRecord(record, PREFIX, 'u', batch, 0), false);
    assert.deepEqual([...batch.states], [0]);
  });

  it('is laid out as docs/bundle.md says', () => {
    const record = encodeRecord(
      PREFIX,
      { state: Float32Array.of(1), lastEventSeconds: 2, encodedAtSeconds: 1 },
      'u',
    );
    const header = `${Buffer.from('TDS1').toString('hex')}01000000${ENCODER.slice(0, 32)}`;
    const times = '000000000000f03f' + '0000000000000040';
    const body = record.toString('hex', 0, 48);
    assert.equal(body, `${header}${times}010000000000803f`);
    assert.equal(record.readUInt32LE(48), crc32c(record.subarray(0, 48)));
  });

  it('refuses an encoderId that is not hex', () => {
    assert.throws(() => encoderPrefix('xyz' as EncoderId), TypeError);
  });
});

describe('watermark', () => {
  it('round-trips, and detects every flipped bit', () => {
    const record = encodeWatermark(1_700_000_000.25);
    assert.equal(decodeWatermark(record, ENCODER), 1_700_000_000.25);
    for (let bit = 0; bit < record.length * 8; bit++) {
      const damaged = Buffer.from(record);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => decodeWatermark(damaged, ENCODER), { code: 'ERR_STORE_CORRUPT' });
    }
  });
});

describe('crc32c', () => {
  // RFC 3720, appendix B.4, and the check value of the CRC catalogue.
  for (const [text, bytes, expected] of [
    ['32 zeros', Buffer.alloc(32), 0x8a9136aa],
    ['32 ones', Buffer.alloc(32, 0xff), 0x62a8ab43],
    ['0..31', Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
    ['31..0', Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c],
    ['123456789', Buffer.from('123456789'), 0xe3069283],
    ['nothing', Buffer.alloc(0), 0],
  ] as const)
    it(`of ${text}`, () => {
      assert.equal(crc32c(bytes), expected);
    });
});
