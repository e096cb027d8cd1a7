// Builds a feature schema from columns of training data. Vocabularies are sorted, so that the same
// data gives the same hash.

import {
  AGE_BOUNDS,
  MAX_SUBJECT_CATEGORIES,
  MAX_QUERY_NGRAMS,
  catalogueDigest,
  type FeatureSchema,
} from './schema.ts';
import { queryVocabulary } from './query.ts';

const PRICE_BANDS = 8;

export interface SchemaSource {
  readonly maxHistory: number;
  readonly actionNames: readonly string[];
  readonly itemIds: readonly string[];
  /** Titles of items, empty where unknown. */
  readonly titles: readonly string[];
  readonly categoryNames: readonly string[];
  readonly advertisers: readonly string[];
  readonly prices: Float64Array;
  readonly genders: readonly string[];
  readonly countries: readonly string[];
}

/** Builds the schema of a training run. */
export function buildSchema(source: SchemaSource): FeatureSchema {
  return {
    version: 1,
    maxHistory: source.maxHistory,
    actions: distinct(source.actionNames),
    categories: distinct(source.categoryNames),
    queryNgrams: queryVocabulary([...source.titles, ...source.categoryNames], MAX_QUERY_NGRAMS),
    maxSubjectCategories: MAX_SUBJECT_CATEGORIES,
    ageBounds: AGE_BOUNDS,
    countries: distinct(source.countries),
    genders: distinct(source.genders),
    advertisers: distinct(source.advertisers),
    priceBounds: quantiles(source.prices, PRICE_BANDS),
    catalogueDigest: catalogueDigest(source.itemIds),
  };
}

function distinct(names: readonly string[]): string[] {
  return [...new Set(names)].filter((name) => name !== '').sort();
}

/** Distinct lower bounds of bands with equally many known values. */
function quantiles(values: Float64Array, bands: number): number[] {
  const known = values.filter((value) => Number.isFinite(value)).sort();
  if (known.length === 0) return [];
  const bounds = Array.from(
    { length: bands },
    (_, band) => known[Math.floor((band * known.length) / bands)]!,
  );
  return [...new Set(bounds)];
}
