// The keys of records: the same bytes in every store. Layout in docs/reference/bundle-format.md.

import { createHash } from 'node:crypto';
import type { EncoderId, UserId } from '../ids.ts';
import { encoderPrefix } from './codec.ts';

/** First byte of a key: the kind of its record. */
const STATE_KEY = 1;
const WATERMARK_KEY = 2;
const HISTORY_KEY = 3;
const ITEM_CHANGE_KEY = 4;
const ITEM_CHANGE_COUNT_KEY = 5;
const HISTORY_DIGEST_KEY = 6;
/** LMDB takes keys of up to 1,978 bytes; short keys keep its pages dense. */
const MAX_PLAIN_USER_BYTES = 200;
const PLAIN_USER = 0;
const HASHED_USER = 1;
const REPLACEMENT = Buffer.from('\ufffd');

/** Key of a user's history: kind, then tag and id of the user as in the key of a state. */
export function historyKey(user: UserId): Buffer {
  const key = stateKey(new Uint8Array(0), user);
  key[0] = HISTORY_KEY;
  return key;
}

/**
 * Key of a user's state: kind, 16 bytes of the encoderId, tag, then the id in UTF-8. For an id that
 * is longer than 200 bytes or not valid Unicode, its SHA-256 takes the place of the id.
 *
 * @param prefix - encoderPrefix of the encoder.
 */
export function stateKey(prefix: Uint8Array, user: UserId): Buffer {
  const byteLength = Buffer.byteLength(user);
  if (byteLength <= MAX_PLAIN_USER_BYTES) {
    const key = Buffer.allocUnsafe(1 + prefix.length + 1 + byteLength);
    key[0] = STATE_KEY;
    key.set(prefix, 1);
    key[1 + prefix.length] = PLAIN_USER;
    const begin = 2 + prefix.length;
    key.write(user, begin, 'utf8');
    // Every lone surrogate becomes U+FFFD in UTF-8, and two such users must not share a state.
    if (!user.includes('\ufffd') && key.includes(REPLACEMENT, begin))
      return hashedKey(prefix, user);
    return key;
  }
  return hashedKey(prefix, user);
}

function hashedKey(prefix: Uint8Array, user: UserId): Buffer {
  const hash = createHash('sha256').update(Buffer.from(user, 'utf16le')).digest();
  return Buffer.concat([Buffer.of(STATE_KEY), prefix, Buffer.of(HASHED_USER), hash]);
}

/**
 * Key of the digest of the events that a user's state was computed from: kind, then the rest of the
 * key of the state.
 *
 * @param prefix - encoderPrefix of the encoder.
 */
export function historyDigestKey(prefix: Uint8Array, user: UserId): Buffer {
  const key = stateKey(prefix, user);
  key[0] = HISTORY_DIGEST_KEY;
  return key;
}

/** Key of an encoder's watermark. */
export function watermarkKey(encoderId: EncoderId): Buffer {
  return Buffer.concat([Buffer.of(WATERMARK_KEY), encoderPrefix(encoderId)]);
}

/**
 * The bytes that the keys of all states of an encoder begin with.
 *
 * @param prefix - encoderPrefix of the encoder.
 */
export function stateKeysPrefix(prefix: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(STATE_KEY), prefix]);
}

/** Key of an item's change: kind, then tag and id of the item as in the key of a state. */
export function itemChangeKey(item: string): Buffer {
  const key = stateKey(new Uint8Array(0), item as UserId);
  key[0] = ITEM_CHANGE_KEY;
  return key;
}

/** The item of an itemChangeKey, for messages; a digest when the key holds only that. */
export function itemOfChangeKey(key: Uint8Array): string {
  const id = Buffer.from(key.subarray(2));
  return key[1] === PLAIN_USER ? id.toString('utf8') : `#${id.toString('hex')}`;
}

/**
 * The bytes that the keys of all changes of items begin with. In Redis, all changes are fields of
 * one hash, and this is its key.
 */
export function itemChangeKeysPrefix(): Buffer {
  return Buffer.of(ITEM_CHANGE_KEY);
}

/** Key of the number of writes of item changes. */
export function itemChangeCountKey(): Buffer {
  return Buffer.of(ITEM_CHANGE_COUNT_KEY);
}
