// Keys of records: the same bytes in every store. Layout in docs/bundle.md.

import { createHash } from 'node:crypto';
import type { EncoderId, UserId } from '../ids.ts';
import { encoderPrefix } from './codec.ts';

/** First byte of a key: what kind of record it leads to. */
const STATE_KEY = 1;
const WATERMARK_KEY = 2;
const HISTORY_KEY = 3;
const ITEM_CHANGE_KEY = 4;
const ITEM_CHANGE_COUNT_KEY = 5;
/** LMDB takes keys of up to 1,978 bytes; short ones keep its pages dense. */
const MAX_PLAIN_USER_BYTES = 200;
const PLAIN_USER = 0;
const HASHED_USER = 1;

/** kind, tag and id of the user as in a state's key. */
export function historyKey(user: UserId): Buffer {
  const key = stateKey(new Uint8Array(0), user);
  key[0] = HISTORY_KEY;
  return key;
}

/** kind, 16 bytes of the encoderId, tag, then the id in UTF-8, or the SHA-256 of an id that is long or not Unicode. */
export function stateKey(prefix: Uint8Array, user: UserId): Buffer {
  const byteLength = Buffer.byteLength(user);
  if (byteLength <= MAX_PLAIN_USER_BYTES) {
    const key = Buffer.allocUnsafe(1 + prefix.length + 1 + byteLength);
    key[0] = STATE_KEY;
    key.set(prefix, 1);
    key[1 + prefix.length] = PLAIN_USER;
    const begin = 2 + prefix.length;
    key.write(user, begin, 'utf8');
    // Lone surrogates all become U+FFFD in UTF-8: two such users must not share a state.
    if (!user.includes('\ufffd') && key.includes(REPLACEMENT, begin))
      return hashedKey(prefix, user);
    return key;
  }
  return hashedKey(prefix, user);
}

const REPLACEMENT = Buffer.from('\ufffd');

function hashedKey(prefix: Uint8Array, user: UserId): Buffer {
  const hash = createHash('sha256').update(Buffer.from(user, 'utf16le')).digest();
  return Buffer.concat([Buffer.of(STATE_KEY), prefix, Buffer.of(HASHED_USER), hash]);
}

export function watermarkKey(encoderId: EncoderId): Buffer {
  return Buffer.concat([Buffer.of(WATERMARK_KEY), encoderPrefix(encoderId)]);
}

/** What the keys of all states of an encoder begin with. @param prefix - encoderPrefix of the encoder. */
export function statesOf(prefix: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(STATE_KEY), prefix]);
}

/** kind, tag and id of the item, as in a user's key. */
export function itemChangeKey(item: string): Buffer {
  const key = stateKey(new Uint8Array(0), item as UserId);
  key[0] = ITEM_CHANGE_KEY;
  return key;
}

/** What the keys of all changes of items begin with; in Redis, the key of the one hash that has them. */
export function itemChanges(): Buffer {
  return Buffer.of(ITEM_CHANGE_KEY);
}

/** How often items were changed. */
export function itemChangeCountKey(): Buffer {
  return Buffer.of(ITEM_CHANGE_COUNT_KEY);
}
