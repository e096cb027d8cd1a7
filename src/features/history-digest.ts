// Names the events that a user state is computed from by a digest. The batch job compares it with
// the digest of the events at hand: it encodes a user when and only when the two differ.

import { createHash } from 'node:crypto';
import type { EventRange } from './user-state.ts';

/** i32 item, i32 action, f64 time. */
const EVENT_BYTES = 16;

/**
 * Digest of what the history encoder and the history boosts read of a user's events: the last T
 * events, and the event before them, from which the first gap is counted.
 *
 * Rows of items and actions have a meaning for one encoder, and so does the digest.
 *
 * @param maxHistory - T.
 * @returns the first 64 bits of a SHA-256.
 */
export function historyDigest({ columns, begin, end }: EventRange, maxHistory: number): bigint {
  const first = Math.max(begin, end - maxHistory - 1);
  const bytes = Buffer.allocUnsafe((end - first) * EVENT_BYTES);
  for (let event = first, at = 0; event < end; event++, at += EVENT_BYTES) {
    bytes.writeInt32LE(columns.items[event]!, at);
    bytes.writeInt32LE(columns.actions[event]!, at + 4);
    bytes.writeDoubleLE(columns.times[event]!, at + 8);
  }
  return createHash('sha256').update(bytes).digest().readBigUInt64LE(0);
}
