// The record of a user state: the same bytes in every store. Layout in docs/bundle.md. Its checksum is there because
// LMDB has none for values: of 150 flipped bits, 64 came back as silently wrong states.

import { TandemError } from '../errors.ts';
import type { EncoderId } from '../ids.ts';
import { ROW_CODECS } from './state-rows.ts';
import { stateOf, type HistoryBoosts, type StateBatch, type UserState } from './store.ts';

const MAGIC = 0x3153_4454; // "TDS1" read as a little-endian u32
/** Of a record of rows alone, and of one with a list of items behind them. */
const VERSION = { rows: 1, list: 2 } as const;
const ENCODER_BYTES = 16;
const HEADER_BYTES = 44;
const CHECKSUM_BYTES = 4;
/** An item of a list: u32 row, f32 boost. */
const BOOSTED_BYTES = 8;
const LIST_LENGTH_BYTES = 4;
const CODECS = new Map(Object.values(ROW_CODECS).map((codec) => [codec.code, codec]));

/** Bytes of a list, with how long it is; none where there is no list, not even an empty one. */
function listBytes(list: HistoryBoosts | undefined): number {
  return list === undefined ? 0 : list.items.length * BOOSTED_BYTES + LIST_LENGTH_BYTES;
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
 * A state as the bytes that a store keeps.
 *
 * @param prefix - encoderPrefix of the encoder that made the state.
 * @throws TandemError ERR_NON_FINITE when a value or a time is NaN or infinite; `key` names the user in its message.
 *   RangeError for a state that is not whole rows.
 */
export function encodeRecord(prefix: Uint8Array, userState: UserState, key: string): Buffer {
  const { state, dimensions, type, list, encodedAtSeconds, lastEventSeconds } = userState;
  const rows = state.length / dimensions;
  if (!Number.isInteger(rows) || rows === 0)
    throw new RangeError(
      `Expected a state of one or more rows of width ${dimensions} for user "${key}", received ${state.length} values.`,
    );
  for (let i = 0; i < state.length; i++)
    if (!Number.isFinite(state[i])) throw nonFinite(`state value ${i}`, state[i]!, key);
  for (const boost of list?.boosts ?? [])
    if (!Number.isFinite(boost)) throw nonFinite('boost', boost, key);
  if (!Number.isFinite(encodedAtSeconds)) throw nonFinite('encodedAt', encodedAtSeconds, key);
  if (!Number.isFinite(lastEventSeconds)) throw nonFinite('lastEvent', lastEventSeconds, key);
  const codec = ROW_CODECS[type];
  const listAt = HEADER_BYTES + rows * codec.rowBytes(dimensions);
  const record = Buffer.alloc(listAt + listBytes(list) + CHECKSUM_BYTES);
  record.writeUInt32LE(MAGIC, 0);
  record.writeUInt16LE(list === undefined ? VERSION.rows : VERSION.list, 4);
  record.writeUInt8(codec.code, 6);
  record.set(prefix, 8);
  record.writeDoubleLE(encodedAtSeconds, 24);
  record.writeDoubleLE(lastEventSeconds, 32);
  record.writeUInt32LE(dimensions, 40);
  codec.write(state, dimensions, record, HEADER_BYTES);
  const end = record.length - CHECKSUM_BYTES;
  if (list !== undefined) {
    for (const [i, item] of list.items.entries()) {
      record.writeUInt32LE(item, listAt + i * BOOSTED_BYTES);
      record.writeFloatLE(list.boosts[i]!, listAt + i * BOOSTED_BYTES + 4);
    }
    record.writeUInt32LE(list.items.length, end - LIST_LENGTH_BYTES);
  }
  record.writeUInt32LE(crc32c(record, end), end);
  return record;
}

/**
 * Writes a record into a batch, whatever type its values have.
 *
 * @param record - as stored; read before the call returns, not kept.
 * @param key - names the record in messages.
 * @param index - of the user in the batch.
 * @returns false, and leaves the batch alone, for a whole record of another encoder: a miss, never another space's state.
 * @throws TandemError ERR_STORE_CORRUPT for anything but a whole record of the batch's width and of at most its rows and
 *   listed items; a batch without room for lists leaves them unread.
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
  const hasList = version === VERSION.list;
  if (magic !== MAGIC || (version !== VERSION.rows && !hasList) || codec === undefined)
    throw corrupt(
      key,
      `magic ${hex(MAGIC)}, version ${VERSION.rows} or ${VERSION.list}, a known type`,
      `magic ${hex(magic)}, version ${version}, type ${code}`,
    );
  for (let i = 0; i < ENCODER_BYTES; i++) if (record[8 + i] !== prefix[i]) return false;
  const stored = record.readUInt32LE(40);
  const most = out.states.length / (out.lengths.length * dimensions);
  const listed = hasList ? record.readUInt32LE(end - LIST_LENGTH_BYTES) : 0;
  const listAt = hasList ? end - LIST_LENGTH_BYTES - listed * BOOSTED_BYTES : end;
  const mostBoosted = out.boostedItems.length / out.lengths.length;
  const rows = (listAt - HEADER_BYTES) / codec.rowBytes(dimensions);
  if (stored !== dimensions || !Number.isInteger(rows) || rows < 1 || rows > most)
    throw corrupt(
      key,
      `a state of width ${dimensions} in 1 to ${most} rows`,
      `width ${stored} in ${record.length} bytes`,
    );
  if (mostBoosted > 0 && listed > mostBoosted)
    throw corrupt(key, `a list of at most ${mostBoosted} items`, `one of ${listed}`);
  out.lengths[index] = rows;
  out.encodedAtSeconds[index] = record.readDoubleLE(24);
  out.lastEventSeconds[index] = record.readDoubleLE(32);
  codec.read(record, HEADER_BYTES, dimensions, stateOf(out, index));
  const kept = Math.min(listed, mostBoosted);
  out.boostCounts[index] = kept;
  for (let i = 0, at = listAt; i < kept; i++, at += BOOSTED_BYTES) {
    out.boostedItems[index * mostBoosted + i] = record.readUInt32LE(at);
    out.boosts[index * mostBoosted + i] = record.readFloatLE(at + 4);
  }
  return true;
}

/** Whether a stored record has seen a newer event than another of the same encoder; a damaged one has not, so that it can be replaced. */
export function hasSeenMore(stored: Buffer | undefined, other: Buffer): boolean {
  if (stored === undefined || stored.length < HEADER_BYTES + CHECKSUM_BYTES) return false;
  if (stored.readDoubleLE(32) <= other.readDoubleLE(32)) return false;
  const end = stored.length - CHECKSUM_BYTES;
  return stored.readUInt32LE(end) === crc32c(stored, end);
}

/** A watermark as the bytes that a store keeps: f64 Unix seconds, then CRC32C of them. */
export function encodeWatermark(untilSeconds: number): Buffer {
  if (!Number.isFinite(untilSeconds))
    throw new TandemError(
      'ERR_NON_FINITE',
      `Expected a finite watermark in Unix seconds, received ${untilSeconds}. Nothing was written: check the times of the events.`,
    );
  const record = Buffer.alloc(8 + CHECKSUM_BYTES);
  record.writeDoubleLE(untilSeconds, 0);
  record.writeUInt32LE(crc32c(record, 8), 8);
  return record;
}

/** @throws TandemError ERR_STORE_CORRUPT for anything but what encodeWatermark gives. */
export function decodeWatermark(record: Buffer, encoderId: EncoderId): number {
  if (record.length === 8 + CHECKSUM_BYTES && record.readUInt32LE(8) === crc32c(record, 8))
    return record.readDoubleLE(0);
  throw new TandemError(
    'ERR_STORE_CORRUPT',
    `Expected 12 bytes with their CRC32C for the watermark of encoder ${encoderId}, received ${record.toString('hex')}. Encode all users again.`,
    { details: { key: 'watermark', encoderId } },
  );
}

/** Marks a user as having no state; the values stay as they were. */
export function writeMissing(out: StateBatch, index: number): void {
  out.lengths[index] = 0;
  out.encodedAtSeconds[index] = Number.NaN;
  out.lastEventSeconds[index] = Number.NaN;
}

const CRC_TABLES = crcTables();

/** CRC32C (Castagnoli, reflected 0x82F63B78) of the first `length` bytes, four a step. @see RFC 3720, appendix B.4 */
export function crc32c(bytes: Uint8Array, length: number = bytes.length): number {
  const [byte3, byte2, byte1, byte0] = CRC_TABLES;
  let crc = 0xffff_ffff;
  let i = 0;
  for (; i + 4 <= length; i += 4)
    crc =
      byte0[(crc ^ bytes[i]!) & 0xff]! ^
      byte1[((crc >>> 8) ^ bytes[i + 1]!) & 0xff]! ^
      byte2[((crc >>> 16) ^ bytes[i + 2]!) & 0xff]! ^
      byte3[((crc >>> 24) ^ bytes[i + 3]!) & 0xff]!;
  for (; i < length; i++) crc = (crc >>> 8) ^ byte3[(crc ^ bytes[i]!) & 0xff]!;
  return (crc ^ 0xffff_ffff) >>> 0;
}

type CrcTables = readonly [Int32Array, Int32Array, Int32Array, Int32Array];

/** Table t holds the remainder of a byte followed by t zero bytes. */
function crcTables(): CrcTables {
  const tables: CrcTables = [
    new Int32Array(256),
    new Int32Array(256),
    new Int32Array(256),
    new Int32Array(256),
  ];
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
    tables[0][byte] = crc;
  }
  for (let table = 1; table < 4; table++)
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[table - 1]![byte]!;
      tables[table]![byte] = (before >>> 8) ^ tables[0][before & 0xff]!;
    }
  return tables;
}

function nonFinite(what: string, received: number, key: string): TandemError {
  return new TandemError(
    'ERR_NON_FINITE',
    `Expected a finite ${what} for user "${key}", received ${received}. Nothing was written: encode the users again with a sound encoder.`,
    { details: { key, what } },
  );
}

function corrupt(key: string, expected: string, received: string): TandemError {
  return new TandemError(
    'ERR_STORE_CORRUPT',
    `Expected ${expected} in the record of user "${key}", received ${received}. The record is damaged: encode this user again.`,
    { details: { key, expected, received } },
  );
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
