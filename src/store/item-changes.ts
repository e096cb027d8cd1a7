// What a store keeps of items that came, changed or went after the bundle was published: of each the newest change, by the names that
// categories and advertisers have everywhere, because rows change with every bundle. Layout in docs/bundle.md.

import { z } from 'zod';
import { TandemError } from '../errors.ts';
import { crc32c } from './codec.ts';

/** What is known of an item. */
export interface ItemRecord {
  /** Empty when unknown. */
  readonly title: string;
  readonly categories: readonly { readonly category: string; readonly confidence: number }[];
  /** Empty when unknown. */
  readonly advertiser: string;
  /** Null when unknown. */
  readonly price: number | null;
  /** None means everywhere. */
  readonly countries: readonly string[];
}

/** One item as it is now. */
export interface ItemChange {
  readonly item: string;
  /** Unix seconds of the change. */
  readonly atSeconds: number;
  /** Undefined for an item that was deleted. */
  readonly record?: ItemRecord | undefined;
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

const MAGIC = 0x3149_4454; // "TDI1" read as a little-endian u32
const HEADER_BYTES = 4;
const CHECKSUM_BYTES = 4;

export function encodeItemChange(value: ItemChange): Buffer {
  const text = JSON.stringify(value);
  const bytes = Buffer.alloc(HEADER_BYTES + Buffer.byteLength(text) + CHECKSUM_BYTES);
  bytes.writeUInt32LE(MAGIC, 0);
  const end = HEADER_BYTES + bytes.write(text, HEADER_BYTES, 'utf8');
  bytes.writeUInt32LE(crc32c(bytes, end), end);
  return bytes;
}

/** @throws TandemError ERR_STORE_CORRUPT for anything but what encodeItemChange gives. */
export function decodeItemChange(bytes: Buffer): ItemChange {
  const end = bytes.length - CHECKSUM_BYTES;
  try {
    if (end < HEADER_BYTES || bytes.readUInt32LE(end) !== crc32c(bytes, end))
      throw new RangeError('its checksum is another');
    if (bytes.readUInt32LE(0) !== MAGIC) throw new RangeError('its first bytes are others');
    return change.parse(JSON.parse(bytes.toString('utf8', HEADER_BYTES, end)));
  } catch (cause) {
    throw new TandemError(
      'ERR_STORE_CORRUPT',
      `Expected a whole change of an item, received ${bytes.length} other bytes. The record is damaged: put or delete the item again.`,
      { cause },
    );
  }
}
