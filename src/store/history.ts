// A user's newest events, kept beside the state so that a new event can be encoded at once. Events
// name items and actions as their source does, because rows change with every catalogue. Layout in
// docs/reference/bundle-format.md.

import { createHash } from 'node:crypto';
import { TandemError } from '../errors.ts';
import { CHECKSUM_BYTES, MAGIC, isIntact, sealRecord } from './record.ts';

/** One conversion, as it was sent. */
export interface HistoryEvent {
  readonly item: string;
  /** Empty when unknown. */
  readonly action: string;
  /** Unix seconds. */
  readonly time: number;
  /**
   * The sender's id of the event: a second event of the same id is a repetition. Empty without one.
   */
  readonly id: string;
}

/** The newest events of a user. */
export interface UserHistory {
  /**
   * Whether these are all of the user's newest events. They are not when the state came from a
   * batch job that left no history: later events then wait for the next job, because encoding them
   * alone would replace a state that knows more.
   */
  readonly complete: boolean;
  /** In order of time. */
  readonly events: readonly HistoryEvent[];
  /** Whether the stored record was damaged, so that its events are lost; never stored. */
  readonly damaged?: true;
}

const HEADER_BYTES = 8;
/** f64 time, u16 length of the item, u16 length of the action, u64 id. */
const EVENT_BYTES = 8 + 2 + 2 + 8;
const NO_ID = 0n;

/**
 * Merges two sets of events in order of time, drops repetitions and keeps the newest `maxEvents`.
 *
 * @returns the merged events, and how many events of `added` are not repetitions.
 */
export function mergeEvents(
  known: readonly HistoryEvent[],
  added: readonly HistoryEvent[],
  maxEvents: number,
): { readonly events: readonly HistoryEvent[]; readonly added: number } {
  const seen = new Set(known.flatMap(namesOf));
  const fresh: HistoryEvent[] = [];
  for (const event of added) {
    const names = namesOf(event);
    if (names.some((name) => seen.has(name))) continue;
    for (const name of names) seen.add(name);
    fresh.push(event);
  }
  // The sort is stable: among events of one second, the known ones stay first.
  const events = [...known, ...fresh].sort((a, b) => a.time - b.time);
  return { events: events.slice(-maxEvents), added: fresh.length };
}

/**
 * The names of an event. Two events are the same when they share one: the id, or second, action and
 * item. The data of a batch job has no ids.
 */
function namesOf({ item, action, time, id }: HistoryEvent): string[] {
  const happened = `${Math.floor(time)}\n${action}\n${item}`;
  return id === '' ? [happened] : [happened, `id\n${idOf(id)}`];
}

/** An id as records keep it: 64 bits of its digest in hex. An id of that form stays as it is. */
function idOf(id: string): string {
  if (/^#[0-9a-f]{16}$/.test(id)) return id;
  const digest = createHash('sha256').update(id).digest().readBigUInt64LE(0);
  return shownId(digest === NO_ID ? 1n : digest);
}

function shownId(digest: bigint): string {
  return `#${digest.toString(16).padStart(16, '0')}`;
}

/** Encodes a history as the bytes that a store keeps. */
export function encodeHistory({ complete, events }: UserHistory): Buffer {
  const texts = events.map(({ item, action }) => [Buffer.from(item), Buffer.from(action)] as const);
  const bytes = texts.reduce((sum, [item, action]) => sum + item.length + action.length, 0);
  const record = Buffer.alloc(HEADER_BYTES + events.length * EVENT_BYTES + bytes + CHECKSUM_BYTES);
  record.writeUInt32LE(MAGIC.history, 0);
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
  return sealRecord(record);
}

/**
 * Decodes the record of a user's history.
 *
 * @param record - undefined or null when the store has none.
 * @returns an incomplete history without events for a damaged record, so that the record of one
 *   user stops neither other users nor the job that writes it again.
 */
export function historyIn(
  record: Buffer | null | undefined,
  user: string,
): UserHistory | undefined {
  if (record === null || record === undefined) return undefined;
  try {
    return decodeHistory(record, user);
  } catch {
    return { complete: false, events: [], damaged: true };
  }
}

/**
 * Decodes a history.
 *
 * @param key - names the user in messages.
 * @throws TandemError ERR_STORE_CORRUPT unless the bytes are those of encodeHistory.
 */
export function decodeHistory(record: Buffer, key: string): UserHistory {
  const corrupt = (): TandemError =>
    new TandemError(
      'ERR_STORE_CORRUPT',
      `Expected an intact history of user "${key}", received ${record.length} other bytes. ` +
        'The record is damaged: "tandem encode users --histories" writes it again.',
      { details: { key } },
    );
  if (!isIntact(record, HEADER_BYTES) || record.readUInt32LE(0) !== MAGIC.history) throw corrupt();
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
  if (at !== record.length - CHECKSUM_BYTES) throw corrupt();
  return { complete: record.readUInt16LE(6) === 1, events };
}
