// The records of user states, of the digests of their events, and of watermarks: the same bytes in
// every store. Layout in
// docs/reference/bundle-format.md.

import { TandemError } from '../errors.ts';
import type { HistoryBoosts } from '../features/item-frequency.ts';
import type { UserState } from '../features/user-state.ts';
import type { EncoderId } from '../ids.ts';
import { CHECKSUM_BYTES, MAGIC, crc32c, isIntact, sealRecord } from './record.ts';
import { ROW_CODECS } from './row-codecs.ts';
import { stateOf, type StateBatch } from './state-batch.ts';

/** What a stored state is known to be made of. */
export interface StateSummary {
  /** Digest of the events that the state was computed from; undefined when it is not stored. */
  readonly historyDigest: bigint | undefined;
  /** Unix seconds of the newest of these events. */
  readonly lastEventSeconds: number;
  /** CRC32C of the record: tells this state from every other state of the user. */
  readonly checksum: number;
}

/** Version of a record of rows alone, and of a record with history boosts behind the rows. */
const VERSION = { rows: 1, boosts: 2 } as const;
const ENCODER_BYTES = 16;
const HEADER_BYTES = 44;
const LAST_EVENT_AT = 32;
/** One history boost: u32 row of the item, f32 boost. */
const BOOST_BYTES = 8;
const BOOST_COUNT_BYTES = 4;
const HISTORY_DIGEST_BYTES = 12;
const WATERMARK_BYTES = 8;
const CODECS = new Map(Object.values(ROW_CODECS).map((codec) => [codec.code, codec]));

/** Bytes of the boosts with their count: 4 when there is no boosted item, 0 without boosts. */
function boostBytes(historyBoosts: HistoryBoosts | undefined): number {
  if (historyBoosts === undefined) return 0;
  return historyBoosts.items.length * BOOST_BYTES + BOOST_COUNT_BYTES;
}

/** The part of an encoderId that keys and records carry: its first 16 bytes. */
export function encoderPrefix(encoderId: EncoderId): Buffer {
  const prefix = Buffer.from(encoderId.slice(0, 2 * ENCODER_BYTES), 'hex');
  if (prefix.length !== ENCODER_BYTES)
    throw new TypeError(
      `Expected an encoderId of at least ${2 * ENCODER_BYTES} hex digits, received "${encoderId}".`,
    );
  return prefix;
}

/**
 * Encodes a state as the bytes that a store keeps.
 *
 * @param prefix - encoderPrefix of the encoder that made the state.
 * @param key - names the user in messages.
 * @throws TandemError ERR_NON_FINITE when a value or a time is NaN or infinite. RangeError for a
 *   state that is not whole rows.
 */
export function encodeRecord(prefix: Uint8Array, userState: UserState, key: string): Buffer {
  const { state, dimensions, type, historyBoosts, encodedAtSeconds, lastEventSeconds } = userState;
  const rows = state.length / dimensions;
  if (!Number.isInteger(rows) || rows === 0)
    throw new RangeError(
      `Expected a state of one or more rows of width ${dimensions} for user "${key}", ` +
        `received ${state.length} values.`,
    );
  for (let i = 0; i < state.length; i++)
    if (!Number.isFinite(state[i])) throw nonFinite(`state value ${i}`, state[i]!, key);
  for (const boost of historyBoosts?.boosts ?? [])
    if (!Number.isFinite(boost)) throw nonFinite('boost', boost, key);
  if (!Number.isFinite(encodedAtSeconds)) throw nonFinite('encodedAt', encodedAtSeconds, key);
  if (!Number.isFinite(lastEventSeconds)) throw nonFinite('lastEvent', lastEventSeconds, key);
  const codec = ROW_CODECS[type];
  const boostsAt = HEADER_BYTES + rows * codec.rowBytes(dimensions);
  const record = Buffer.alloc(boostsAt + boostBytes(historyBoosts) + CHECKSUM_BYTES);
  record.writeUInt32LE(MAGIC.state, 0);
  record.writeUInt16LE(historyBoosts === undefined ? VERSION.rows : VERSION.boosts, 4);
  record.writeUInt8(codec.code, 6);
  record.set(prefix, 8);
  record.writeDoubleLE(encodedAtSeconds, 24);
  record.writeDoubleLE(lastEventSeconds, LAST_EVENT_AT);
  record.writeUInt32LE(dimensions, 40);
  codec.write(state, dimensions, record, HEADER_BYTES);
  if (historyBoosts !== undefined) {
    const { items, boosts } = historyBoosts;
    for (const [i, item] of items.entries()) {
      record.writeUInt32LE(item, boostsAt + i * BOOST_BYTES);
      record.writeFloatLE(boosts[i]!, boostsAt + i * BOOST_BYTES + 4);
    }
    record.writeUInt32LE(items.length, boostsAt + items.length * BOOST_BYTES);
  }
  return sealRecord(record);
}

/**
 * Decodes a record into a batch, whatever type its values have.
 *
 * @param record - as stored; read before the call returns, not kept.
 * @param key - names the user in messages.
 * @param index - position of the user in the batch.
 * @returns false, and leaves the batch alone, for an intact record of another encoder: such a state
 *   lives in another embedding space and counts as missing.
 * @throws TandemError ERR_STORE_CORRUPT unless the record is intact, has the batch's width and has
 *   at most R rows and M boosted items. A batch with M = 0 accepts any number of boosts and skips
 *   them.
 */
export function decodeRecord(
  record: Buffer,
  prefix: Uint8Array,
  key: string,
  out: StateBatch,
  index: number,
): boolean {
  const { dimensions } = out;
  const end = record.length - CHECKSUM_BYTES;
  if (end < HEADER_BYTES)
    throw corrupt(key, `at least ${HEADER_BYTES + CHECKSUM_BYTES} bytes`, `${record.length} bytes`);
  const checksum = record.readUInt32LE(end);
  const computed = crc32c(record, end);
  if (checksum !== computed)
    throw corrupt(key, `CRC32C ${hex(computed)} of its content`, hex(checksum));
  const magic = record.readUInt32LE(0);
  const version = record.readUInt16LE(4);
  const code = record.readUInt8(6);
  const codec = CODECS.get(code);
  const hasBoosts = version === VERSION.boosts;
  if (magic !== MAGIC.state || (version !== VERSION.rows && !hasBoosts) || codec === undefined)
    throw corrupt(
      key,
      `magic ${hex(MAGIC.state)}, version ${VERSION.rows} or ${VERSION.boosts}, a known type`,
      `magic ${hex(magic)}, version ${version}, type ${code}`,
    );
  for (let i = 0; i < ENCODER_BYTES; i++) if (record[8 + i] !== prefix[i]) return false;
  const width = record.readUInt32LE(40);
  const maxRows = out.states.length / (out.lengths.length * dimensions);
  const boosted = hasBoosts ? record.readUInt32LE(end - BOOST_COUNT_BYTES) : 0;
  const boostsAt = hasBoosts ? end - BOOST_COUNT_BYTES - boosted * BOOST_BYTES : end;
  const maxBoosted = out.boostedItems.length / out.lengths.length;
  const rows = (boostsAt - HEADER_BYTES) / codec.rowBytes(dimensions);
  if (width !== dimensions || !Number.isInteger(rows) || rows < 1 || rows > maxRows)
    throw corrupt(
      key,
      `a state of width ${dimensions} in 1 to ${maxRows} rows`,
      `width ${width} in ${record.length} bytes`,
    );
  if (maxBoosted > 0 && boosted > maxBoosted)
    throw corrupt(key, `history boosts of at most ${maxBoosted} items`, `${boosted}`);
  out.lengths[index] = rows;
  out.encodedAtSeconds[index] = record.readDoubleLE(24);
  out.lastEventSeconds[index] = record.readDoubleLE(LAST_EVENT_AT);
  codec.read(record, HEADER_BYTES, dimensions, stateOf(out, index));
  const kept = Math.min(boosted, maxBoosted);
  out.boostCounts[index] = kept;
  for (let i = 0, at = boostsAt; i < kept; i++, at += BOOST_BYTES) {
    out.boostedItems[index * maxBoosted + i] = record.readUInt32LE(at);
    out.boosts[index * maxBoosted + i] = record.readFloatLE(at + 4);
  }
  return true;
}

/**
 * Whether a stored record has seen a newer event than another record of the same encoder, so that
 * a write keeps it. A damaged record has not.
 *
 * @param replaces - checksum of the record to replace in any case.
 */
export function hasSeenMore(stored: Buffer | undefined, other: Buffer, replaces?: number): boolean {
  if (stored === undefined || stored.length < HEADER_BYTES + CHECKSUM_BYTES) return false;
  if (stored.readDoubleLE(LAST_EVENT_AT) <= other.readDoubleLE(LAST_EVENT_AT)) return false;
  return checksumOf(stored) !== replaces && isIntact(stored, HEADER_BYTES);
}

/**
 * Encodes the digest of the events that a state was computed from: u64 digest, then the checksum of
 * the state's record. So the digest holds for that record only, whoever writes the next one.
 *
 * @param record - of the state.
 */
export function encodeHistoryDigest(historyDigest: bigint, record: Buffer): Buffer {
  const bytes = Buffer.alloc(HISTORY_DIGEST_BYTES);
  bytes.writeBigUInt64LE(historyDigest, 0);
  bytes.writeUInt32LE(checksumOf(record), 8);
  return bytes;
}

/**
 * Summary of a state's record; undefined when there is none, or a damaged one.
 *
 * @param digest - as stored for the user; it may belong to another record or be damaged.
 */
export function summaryOf(
  record: Buffer | undefined,
  digest: Buffer | undefined,
): StateSummary | undefined {
  if (record === undefined || !isIntact(record, HEADER_BYTES)) return undefined;
  return makeSummary(record.readDoubleLE(LAST_EVENT_AT), checksumOf(record), digest);
}

/** Summary of a state from parts of its record. */
export function makeSummary(
  lastEventSeconds: number,
  checksum: number,
  digest: Buffer | undefined,
): StateSummary {
  const belongs = digest?.length === HISTORY_DIGEST_BYTES && digest.readUInt32LE(8) === checksum;
  return {
    historyDigest: belongs ? digest.readBigUInt64LE(0) : undefined,
    lastEventSeconds,
    checksum,
  };
}

function checksumOf(record: Buffer): number {
  return record.readUInt32LE(record.length - CHECKSUM_BYTES);
}

/** Encodes a watermark as the bytes that a store keeps: f64 Unix seconds, then their CRC32C. */
export function encodeWatermark(untilSeconds: number): Buffer {
  if (!Number.isFinite(untilSeconds))
    throw new TandemError(
      'ERR_NON_FINITE',
      `Expected a finite watermark in Unix seconds, received ${untilSeconds}. ` +
        'Nothing was written: check the times of the events.',
    );
  const record = Buffer.alloc(WATERMARK_BYTES + CHECKSUM_BYTES);
  record.writeDoubleLE(untilSeconds, 0);
  return sealRecord(record);
}

/**
 * Decodes a watermark.
 *
 * @returns Unix seconds.
 * @throws TandemError ERR_STORE_CORRUPT unless the bytes are those of encodeWatermark.
 */
export function decodeWatermark(record: Buffer, encoderId: EncoderId): number {
  if (record.length === WATERMARK_BYTES + CHECKSUM_BYTES && isIntact(record, WATERMARK_BYTES))
    return record.readDoubleLE(0);
  throw new TandemError(
    'ERR_STORE_CORRUPT',
    `Expected 12 bytes with their CRC32C for the watermark of encoder ${encoderId}, ` +
      `received ${record.toString('hex')}. Encode all users again.`,
    { details: { key: 'watermark', encoderId } },
  );
}

function nonFinite(what: string, received: number, key: string): TandemError {
  return new TandemError(
    'ERR_NON_FINITE',
    `Expected a finite ${what} for user "${key}", received ${received}. ` +
      'Nothing was written: encode the users again with a sound encoder.',
    { details: { key, what } },
  );
}

function corrupt(key: string, expected: string, received: string): TandemError {
  return new TandemError(
    'ERR_STORE_CORRUPT',
    `Expected ${expected} in the record of user "${key}", received ${received}. ` +
      'The record is damaged: encode this user again.',
    { details: { key, expected, received } },
  );
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
