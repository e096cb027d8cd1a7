// Item features: from catalogue columns to the rows that the item tower and the history encoder read, one row an item.

import { boundedBucket, type CompactSchema } from './schema.ts';
import { Vocabulary } from './vocabulary.ts';

/** Strongest categories of an item that the tower looks at. */
const MAX_ITEM_CATEGORIES = 8;

/** Catalogue columns as a dataset or a bundle has them. */
export interface ItemColumns {
  /** N. */
  readonly count: number;
  /** [N + 1] offsets into the two below. */
  readonly categoryOffsets: Int32Array;
  /** Rows of the schema's categories, by descending confidence within an item; -1 = not in the schema. */
  readonly categoryRows: Int32Array;
  /** In (0, 1]. */
  readonly categoryConfidences: Float32Array;
  /** [N], empty string when unknown. */
  readonly advertisers: readonly string[];
  /** [N], NaN when unknown. */
  readonly prices: ArrayLike<number>;
}

export interface ItemFeatures {
  /** N. */
  readonly count: number;
  /** [N + 1] offsets of each item's bag into the two below. */
  readonly categoryOffsets: Int32Array;
  /** Rows of the category table. */
  readonly categoryRows: Int32Array;
  /** Summing to 1 within an item. */
  readonly categoryWeights: Float32Array;
  /** [N] rows of the advertiser table, 0 = unknown. */
  readonly advertiserRows: Int32Array;
  /** [N] rows of the price table, 0 = unknown. */
  readonly priceRows: Int32Array;
}

/** @param advertisers - of the schema, for a caller who builds features often: it is as long as there are advertisers. */
export function buildItemFeatures(
  schema: CompactSchema,
  columns: ItemColumns,
  advertisers: Vocabulary = new Vocabulary(schema.advertisers),
): ItemFeatures {
  const { count } = columns;
  const categoryOffsets = new Int32Array(count + 1);
  const categoryRows = new Int32Array(columns.categoryRows.length);
  const categoryWeights = new Float32Array(columns.categoryRows.length);
  let used = 0;
  for (let item = 0; item < count; item++) {
    const begin = used;
    let total = 0;
    const end = columns.categoryOffsets[item + 1]!;
    for (let i = columns.categoryOffsets[item]!; i < end; i++) {
      const row = columns.categoryRows[i]!;
      if (row < 0 || used - begin === MAX_ITEM_CATEGORIES) continue;
      categoryRows[used] = row;
      categoryWeights[used] = columns.categoryConfidences[i]!;
      total += columns.categoryConfidences[i]!;
      used++;
    }
    for (let i = begin; i < used; i++) categoryWeights[i]! /= total;
    categoryOffsets[item + 1] = used;
  }
  return {
    count,
    categoryOffsets,
    categoryRows: categoryRows.subarray(0, used),
    categoryWeights: categoryWeights.subarray(0, used),
    advertiserRows: Int32Array.from(columns.advertisers, (name) => advertisers.row(name) + 1),
    priceRows: Int32Array.from(columns.prices, (price) => boundedBucket(price, schema.priceBounds)),
  };
}
