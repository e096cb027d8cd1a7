// Item features from a catalogue: what the encoder and the item tower read when no dataset is at hand.

import { buildItemFeatures, type ItemFeatures } from '../features/item-features.ts';
import type { FeatureSchema } from '../features/schema.ts';
import type { ItemCatalogue } from './catalogue.ts';

export function catalogueItemFeatures(
  schema: FeatureSchema,
  catalogue: ItemCatalogue,
): ItemFeatures {
  return buildItemFeatures(schema, {
    count: catalogue.count,
    categoryOffsets: catalogue.categories.offsets,
    categoryRows: catalogue.categories.values,
    categoryConfidences: catalogue.categoryConfidences,
    advertisers: Array.from({ length: catalogue.count }, (_, row) => catalogue.advertiser(row)),
    prices: catalogue.prices,
  });
}
