// The newest change of each item that was put or deleted after the bundle was published. A change
// names categories and advertisers as their source does, because rows change with every bundle.
// Layout in docs/reference/bundle-format.md.

import { z } from 'zod';
import { TandemError } from '../errors.ts';
import { itemOfChangeKey } from './keys.ts';
import { CHECKSUM_BYTES, MAGIC, isIntact, sealRecord } from './record.ts';

/** The attributes of an item. */
export interface ItemRecord {
  /** Empty when unknown. */
  readonly title: string;
  readonly categories: readonly { readonly category: string; readonly confidence: number }[];
  /** Empty when unknown. */
  readonly advertiser: string;
  /** Null when unknown. */
  readonly price: number | null;
  /** Empty means everywhere. */
  readonly countries: readonly string[];
}

/** The newest change of one item. */
export interface ItemChange {
  readonly item: string;
  /** Unix seconds of the change. */
  readonly atSeconds: number;
  /** Undefined for an item that was deleted. */
  readonly record?: ItemRecord | undefined;
}

/** Items that changed since the store was created. */
export interface ItemChanges {
  /** Grows with every write by any process; 0 before the first. */
  readonly version: number;
  /** The newest change of each item, in no order. */
  readonly changes: readonly ItemChange[];
  /** Items whose change cannot be read, because its record is damaged. */
  readonly damaged: readonly string[];
}

const record: z.ZodType<ItemRecord> = z.strictObject({
  title: z.string(),
  categories: z.array(z.strictObject({ category: z.string(), confidence: z.number() })),
  advertiser: z.string(),
  price: z.number().nullable(),
  countries: z.array(z.string()),
});
const change = z.strictObject({
  item: z.string(),
  atSeconds: z.number(),
  record: record.optional(),
});

const HEADER_BYTES = 4;

/** Encodes a change as the bytes that a store keeps: its JSON in the frame of a record. */
export function encodeItemChange(value: ItemChange): Buffer {
  const text = JSON.stringify(value);
  const bytes = Buffer.alloc(HEADER_BYTES + Buffer.byteLength(text) + CHECKSUM_BYTES);
  bytes.writeUInt32LE(MAGIC.itemChange, 0);
  bytes.write(text, HEADER_BYTES, 'utf8');
  return sealRecord(bytes);
}

/**
 * Decodes what a store holds under the keys of item changes.
 *
 * @returns the changes, and the items of the records that are damaged. A damaged record says
 *   nothing about any other.
 */
export function decodeItemChanges(
  records: Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>,
): Omit<ItemChanges, 'version'> {
  const changes = new Map<string, ItemChange>();
  const damaged: string[] = [];
  for (const { key, value } of records)
    try {
      const change = decodeItemChange(Buffer.from(value));
      changes.set(change.item, change);
    } catch (error) {
      if (!(error instanceof TandemError)) throw error;
      damaged.push(itemOfChangeKey(key));
    }
  return { changes: [...changes.values()], damaged };
}

/**
 * Decodes a change.
 *
 * @throws TandemError ERR_STORE_CORRUPT unless the bytes are those of encodeItemChange.
 */
export function decodeItemChange(bytes: Buffer): ItemChange {
  try {
    if (!isIntact(bytes, HEADER_BYTES)) throw new RangeError('The checksum does not fit.');
    if (bytes.readUInt32LE(0) !== MAGIC.itemChange)
      throw new RangeError('The magic number does not fit.');
    const text = bytes.toString('utf8', HEADER_BYTES, bytes.length - CHECKSUM_BYTES);
    return change.parse(JSON.parse(text));
  } catch (cause) {
    throw new TandemError(
      'ERR_STORE_CORRUPT',
      `Expected an intact change of an item, received ${bytes.length} other bytes. ` +
        'The record is damaged: put or delete the item again.',
      { cause },
    );
  }
}
