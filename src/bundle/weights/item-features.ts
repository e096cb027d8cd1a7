// Item features from a catalogue: what the encoder and the item tower read when no dataset is at hand.

import {
  buildItemFeatures,
  type ItemColumns,
  type ItemFeatures,
} from '../../features/item-features.ts';
import type { CompactSchema } from '../../features/schema.ts';
import type { ItemCatalogue } from '../catalogue.ts';

export function catalogueItemFeatures(
  schema: CompactSchema,
  catalogue: ItemCatalogue,
): ItemFeatures {
  return buildItemFeatures(schema, catalogueItemColumns(catalogue));
}

/** What features are made of. */
export function catalogueItemColumns(catalogue: ItemCatalogue): ItemColumns {
  return {
    count: catalogue.count,
    categoryOffsets: catalogue.categories.offsets,
    categoryRows: catalogue.categories.values,
    categoryConfidences: catalogue.categoryConfidences,
    advertisers: Array.from({ length: catalogue.count }, (_, row) => catalogue.advertiser(row)),
    prices: catalogue.prices,
  };
}
