// Item features: from catalogue columns to the rows that the item tower and the history encoder read, one row an item.

import { boundedBucket, type FeatureSchema } from './schema.ts';
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
  /** S: most categories that an item of this catalogue has, at least 1 and at most MAX_ITEM_CATEGORIES. */
  readonly categoriesPerItem: number;
  /** [N, S] rows of the category table, 0 where the weight is 0. */
  readonly categoryRows: Int32Array;
  /** [N, S], summing to 1 for an item with categories and to 0 for one without. */
  readonly categoryWeights: Float32Array;
  /** [N] rows of the advertiser table, 0 = unknown. */
  readonly advertiserRows: Int32Array;
  /** [N] rows of the price table, 0 = unknown. */
  readonly priceRows: Int32Array;
}

export function buildItemFeatures(schema: FeatureSchema, columns: ItemColumns): ItemFeatures {
  const { count } = columns;
  const advertisers = new Vocabulary(schema.advertisers);
  let most = 1;
  for (let item = 0; item < count; item++)
    most = Math.max(most, columns.categoryOffsets[item + 1]! - columns.categoryOffsets[item]!);
  const categoriesPerItem = Math.min(most, MAX_ITEM_CATEGORIES);
  const categoryRows = new Int32Array(count * categoriesPerItem);
  const categoryWeights = new Float32Array(count * categoriesPerItem);
  for (let item = 0; item < count; item++) {
    let used = 0;
    let total = 0;
    const offset = item * categoriesPerItem;
    const end = columns.categoryOffsets[item + 1]!;
    for (let i = columns.categoryOffsets[item]!; i < end && used < categoriesPerItem; i++) {
      const row = columns.categoryRows[i]!;
      if (row < 0) continue;
      categoryRows[offset + used] = row;
      categoryWeights[offset + used] = columns.categoryConfidences[i]!;
      total += columns.categoryConfidences[i]!;
      used++;
    }
    for (let i = 0; i < used; i++) categoryWeights[offset + i]! /= total;
  }
  return {
    count,
    categoriesPerItem,
    categoryRows,
    categoryWeights,
    advertiserRows: Int32Array.from(columns.advertisers, (name) => advertisers.row(name) + 1),
    priceRows: Int32Array.from(columns.prices, (price) => boundedBucket(price, schema.priceBounds)),
  };
}
