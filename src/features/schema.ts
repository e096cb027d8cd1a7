// The feature schema: every vocabulary and constant that turns raw ids and times into rows of the model's tables.
// Training builds it once from the training data; the bundle carries it; serving reads it. Its digest is schemaHash.

import { canonicalJson, sha256Hex } from '../json.ts';
import { TextColumn } from '../text-column.ts';

export interface FeatureSchema {
  readonly version: 1;
  /** T: events of history that the encoder sees, the latest ones. */
  readonly maxHistory: number;
  /** Row 0 of the action table is the unknown action, row i + 1 is actions[i]. */
  readonly actions: readonly string[];
  /** Interest categories: rows 0..C-1 of the subject table and of the item tower's category table. */
  readonly categories: readonly string[];
  /** Rows C..C+Q-1 of the subject table: n-grams of the catalogue's texts, which search queries are read as. */
  readonly queryNgrams: readonly string[];
  /** Strongest categories of a subject that the context layer looks at. */
  readonly maxSubjectCategories: number;
  /** Ascending lower bounds in years: row i + 1 covers [ageBounds[i], ageBounds[i + 1]); row 0 = unknown. */
  readonly ageBounds: readonly number[];
  /** Row 0 = unknown, row i + 1 = countries[i]. */
  readonly countries: readonly string[];
  /** Row 0 = unknown, row i + 1 = genders[i]. */
  readonly genders: readonly string[];
  /** Row 0 = unknown advertiser of an item, row i + 1 = advertisers[i]. */
  readonly advertisers: readonly string[];
  /** Ascending price quantiles: row i + 1 covers [priceBounds[i], ...); row 0 = unknown. */
  readonly priceBounds: readonly number[];
  /** SHA-256 over the ids of the catalogue in row order: the item table's vocabulary. */
  readonly catalogueDigest: string;
}

/** All of it but the n-grams, which are thousands and which only ContextFeatures reads. */
export type CompactSchema = Omit<FeatureSchema, 'queryNgrams'>;

export const MAX_SUBJECT_CATEGORIES = 5;
/** Q at most; rarer n-grams are left out, and a word of them to its trigrams. */
export const MAX_QUERY_NGRAMS = 16_384;
/** Age bands of the usual advertising reports. */
export const AGE_BOUNDS: readonly number[] = [0, 18, 25, 35, 45, 55, 65];
/** Gaps between events: bucket 0 = first event, then one bucket a power of two of minutes, up to 2^20 min = 2 years. */
export const GAP_BUCKETS = 22;

/** Rows of the subject table: at least one, which nothing reads where there are neither categories nor texts. */
export function subjectRows({
  categories,
  queryNgrams,
}: Pick<FeatureSchema, 'categories' | 'queryNgrams'>): number {
  return Math.max(1, categories.length + queryNgrams.length);
}

/** Identifies a schema: two models with the same hash read the same features in the same rows. */
export function schemaHash(schema: FeatureSchema): string {
  return sha256Hex(canonicalJson(schema));
}

/** Digest of the catalogue's ids in row order. */
export function catalogueDigest(ids: readonly string[] | TextColumn): string {
  return sha256Hex(ids instanceof TextColumn ? ids.lines() : ids.join('\n'));
}

/** Bucket of a value in ascending bounds: 0 for NaN or below the first bound, else 1 + the last bound <= value. */
export function boundedBucket(value: number, bounds: readonly number[]): number {
  if (Number.isNaN(value)) return 0;
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (bounds[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}
