// Item features from a catalogue, for the encoder and the item tower when there is no dataset.

import {
  buildItemFeatures,
  type ItemColumns,
  type ItemFeatures,
} from '../../features/item-features.ts';
import type { CompactSchema } from '../../features/schema.ts';
import type { ItemCatalogue } from '../catalogue.ts';

/** The item features of a whole catalogue. */
export function catalogueItemFeatures(
  schema: CompactSchema,
  catalogue: ItemCatalogue,
): ItemFeatures {
  return buildItemFeatures(schema, catalogueItemColumns(catalogue));
}

/** The columns of a catalogue that item features are made of. */
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
