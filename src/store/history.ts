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
 * Two events are the same when their ids are equal, or second, item and action. The data of a batch
 * job has no ids, and a sender may leave out the action: an event without action is the same as one
 * of the same second and item with any action. Of two events that are the same, the one of `known`
 * stays, with the action and the id of the other if it has none of its own.
 *
 * @returns the merged events, and how many events of `added` are not repetitions.
 */
export function mergeEvents(
  known: readonly HistoryEvent[],
  added: readonly HistoryEvent[],
  maxEvents: number,
): { readonly events: readonly HistoryEvent[]; readonly added: number } {
  const merged = [...known];
  /** Index in `merged` by name; of several events of one name, the first. */
  const named = new Map<string, number>();
  const remember = (event: HistoryEvent, index: number): void => {
    for (const name of namesOf(event)) if (!named.has(name)) named.set(name, index);
  };
  for (const [index, event] of known.entries()) remember(event, index);
  for (const event of added) {
    const index = findSame(event, named);
    if (index === undefined) {
      remember(event, merged.push(event) - 1);
      continue;
    }
    const same = merged[index]!;
    // A repeated id with another time or item is a mistake of the sender: the first one stays.
    if (momentName(event) !== momentName(same)) continue;
    const id = same.id === '' && !named.has(idName(event.id)) ? event.id : same.id;
    const action = same.action === '' ? event.action : same.action;
    if (id === same.id && action === same.action) continue;
    merged[index] = { ...same, id, action };
    named.delete(actionName(same, ''));
    remember(merged[index], index);
  }
  const count = merged.length - known.length;
  // The sort is stable: among events of one second, the known ones stay first.
  merged.sort((a, b) => a.time - b.time);
  return { events: merged.slice(-maxEvents), added: count };
}

/** The index of the event that is the same as `event`; undefined without one. */
function findSame(event: HistoryEvent, named: ReadonlyMap<string, number>): number | undefined {
  const { action, id } = event;
  if (id !== '' && named.has(idName(id))) return named.get(idName(id));
  if (action === '') return named.get(momentName(event));
  return named.get(actionName(event, action)) ?? named.get(actionName(event, ''));
}

/** The names under which an event is found. */
function namesOf(event: HistoryEvent): string[] {
  const names = [momentName(event), actionName(event, event.action)];
  return event.id === '' ? names : [...names, idName(event.id)];
}

function momentName({ item, time }: HistoryEvent): string {
  return `${Math.floor(time)}\n${item}`;
}

function actionName(event: HistoryEvent, action: string): string {
  return `action\n${action}\n${momentName(event)}`;
}

function idName(id: string): string {
  return `id\n${idOf(id)}`;
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
