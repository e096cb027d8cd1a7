// Item features: from catalogue columns to the table rows that the item tower and the history
// encoder read.

import { boundedBucket, type CompactSchema } from './schema.ts';
import { Vocabulary } from './vocabulary.ts';

/** Number of strongest categories of an item that count. */
const MAX_ITEM_CATEGORIES = 8;

/** Columns of a catalogue, from a dataset or a bundle. */
export interface ItemColumns {
  /** N. */
  readonly count: number;
  /** [N + 1] offsets into categoryRows and categoryConfidences. */
  readonly categoryOffsets: Int32Array;
  /** Rows of schema.categories, by descending confidence within an item; -1 = not in the schema. */
  readonly categoryRows: Int32Array;
  /** Confidence of each row, in (0, 1]. */
  readonly categoryConfidences: Float32Array;
  /** [N] names, empty when unknown. */
  readonly advertisers: readonly string[];
  /** [N] NaN when unknown. */
  readonly prices: ArrayLike<number>;
}

/** Table rows of N items. */
export interface ItemFeatures {
  /** N. */
  readonly count: number;
  /** [N + 1] offsets of each item's bag into categoryRows and categoryWeights. */
  readonly categoryOffsets: Int32Array;
  /** Rows of the category table. */
  readonly categoryRows: Int32Array;
  /** Weights that sum to 1 within an item. */
  readonly categoryWeights: Float32Array;
  /** [N] rows of the advertiser table, 0 = unknown. */
  readonly advertiserRows: Int32Array;
  /** [N] rows of the price table, 0 = unknown. */
  readonly priceRows: Int32Array;
}

/**
 * Computes the features of items.
 *
 * @param advertisers - vocabulary of schema.advertisers. A caller that builds features often passes
 *   it, because making it takes time proportional to its size.
 */
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
