// What a store keeps of a user's events beside the state, so that a new event can be encoded at once: the newest ones, by the names that
// items and actions have everywhere, because rows change with every catalogue. Layout in docs/bundle.md.

import { createHash } from 'node:crypto';
import { TandemError } from '../errors.ts';
import { crc32c } from './codec.ts';

/** One conversion as it came. */
export interface HistoryEvent {
  readonly item: string;
  /** Empty when unknown. */
  readonly action: string;
  /** Unix seconds. */
  readonly time: number;
  /** What its sender calls it: a second event of that name is the first one again. Empty without one. */
  readonly id: string;
}

export interface UserHistory {
  /**
   * Whether these are all of the user's newest events. Not so when the state came from a batch job that left none here: what
   * comes in later then waits for the next job instead of replacing what it knew.
   */
  readonly complete: boolean;
  /** In order of time. */
  readonly events: readonly HistoryEvent[];
}

const MAGIC = 0x3148_4454; // "TDH1" read as a little-endian u32
const HEADER_BYTES = 8;
const CHECKSUM_BYTES = 4;
/** time, length of item, length of action, id. */
const EVENT_BYTES = 8 + 2 + 2 + 8;
const NO_ID = 0n;

/** Both in one order of time, each event once, the newest `most` of them. */
export function mergeEvents(
  known: readonly HistoryEvent[],
  added: readonly HistoryEvent[],
  most: number,
): { readonly events: readonly HistoryEvent[]; readonly added: number } {
  const seen = new Set(known.flatMap(namesOf));
  const fresh: HistoryEvent[] = [];
  for (const event of added) {
    const names = namesOf(event);
    if (names.some((name) => seen.has(name))) continue;
    for (const name of names) seen.add(name);
    fresh.push(event);
  }
  // Stable: of events of one second the known ones come first, as before.
  const events = [...known, ...fresh].sort((a, b) => a.time - b.time);
  return { events: events.slice(-most), added: fresh.length };
}

/** An event is the same as another by its id, or by what happened when: a batch job's data has no ids. */
function namesOf({ item, action, time, id }: HistoryEvent): string[] {
  const happened = `${Math.floor(time)}\n${action}\n${item}`;
  return id === '' ? [happened] : [happened, `id\n${idOf(id)}`];
}

/** An id as records keep it: 64 bits of its digest, in hex; the same for what is that already. */
function idOf(id: string): string {
  if (/^#[0-9a-f]{16}$/.test(id)) return id;
  const digest = createHash('sha256').update(id).digest().readBigUInt64LE(0);
  return shownId(digest === NO_ID ? 1n : digest);
}

function shownId(digest: bigint): string {
  return `#${digest.toString(16).padStart(16, '0')}`;
}

export function encodeHistory({ complete, events }: UserHistory): Buffer {
  const texts = events.map(({ item, action }) => [Buffer.from(item), Buffer.from(action)] as const);
  const bytes = texts.reduce((sum, [item, action]) => sum + item.length + action.length, 0);
  const record = Buffer.alloc(HEADER_BYTES + events.length * EVENT_BYTES + bytes + CHECKSUM_BYTES);
  record.writeUInt32LE(MAGIC, 0);
  record.writeUInt16LE(events.length, 4);
  record.writeUInt16LE(Number(complete), 6);
  let at = HEADER_BYTES;
  for (const [i, { time, id }] of events.entries()) {
    const [item, action] = texts[i]!;
    record.writeDoubleLE(time, at);
    record.writeUInt16LE(item.length, at + 8);
    record.writeUInt16LE(action.length, at + 10);
    record.writeBigUInt64LE(id === '' ? NO_ID : BigInt(`0x${idOf(id).slice(1)}`), at + 12);
    at += EVENT_BYTES;
    record.set(item, at);
    record.set(action, at + item.length);
    at += item.length + action.length;
  }
  record.writeUInt32LE(crc32c(record, at), at);
  return record;
}

/**
 * @param key - names the user in messages.
 * @throws TandemError ERR_STORE_CORRUPT for anything but what encodeHistory gives.
 */
export function decodeHistory(record: Buffer, key: string): UserHistory {
  const corrupt = (): TandemError =>
    new TandemError(
      'ERR_STORE_CORRUPT',
      `Expected a whole history of user "${key}", received ${record.length} other bytes. The record is damaged: "tandem encode users --histories" writes it again.`,
      { details: { key } },
    );
  const end = record.length - CHECKSUM_BYTES;
  if (end < HEADER_BYTES || record.readUInt32LE(end) !== crc32c(record, end)) throw corrupt();
  if (record.readUInt32LE(0) !== MAGIC) throw corrupt();
  const events: HistoryEvent[] = [];
  let at = HEADER_BYTES;
  for (let i = record.readUInt16LE(4); i > 0; i--) {
    const [itemBytes, actionBytes] = [record.readUInt16LE(at + 8), record.readUInt16LE(at + 10)];
    const id = record.readBigUInt64LE(at + 12);
    const item = at + EVENT_BYTES;
    const action = item + itemBytes;
    events.push({
      time: record.readDoubleLE(at),
      item: record.toString('utf8', item, action),
      action: record.toString('utf8', action, action + actionBytes),
      id: id === NO_ID ? '' : shownId(id),
    });
    at = action + actionBytes;
  }
  if (at !== end) throw corrupt();
  return { complete: record.readUInt16LE(6) === 1, events };
}
