// The feature schema: the vocabularies and constants that turn raw ids and times into rows of the
// model's tables. Training builds it once from the training data, the bundle has it, and serving
// reads it.

import { canonicalJson, sha256Hex } from '../json.ts';
import { TextColumn } from '../text-column.ts';

export interface FeatureSchema {
  readonly version: 1;
  /** T: number of newest events of a history that the encoder reads. */
  readonly maxHistory: number;
  /** Row 0 of the action table is for unknown actions, row i + 1 for actions[i]. */
  readonly actions: readonly string[];
  /** C categories: rows 0 to C - 1 of the subject table and of the item tower's category table. */
  readonly categories: readonly string[];
  /**
   * Q n-grams of the catalogue's texts: rows C to C + Q - 1 of the subject table. A search query is
   * read as its n-grams.
   */
  readonly queryNgrams: readonly string[];
  /** Number of strongest categories of a subject that count. */
  readonly maxSubjectCategories: number;
  /**
   * Ascending lower bounds in years: row i + 1 is for [ageBounds[i], ageBounds[i + 1]), 0 for
   * unknown.
   */
  readonly ageBounds: readonly number[];
  /** Row 0 is for unknown, row i + 1 for countries[i]. */
  readonly countries: readonly string[];
  /** Row 0 is for unknown, row i + 1 for genders[i]. */
  readonly genders: readonly string[];
  /** Row 0 is for an unknown advertiser of an item, row i + 1 for advertisers[i]. */
  readonly advertisers: readonly string[];
  /** Ascending price quantiles: row i + 1 is for prices from priceBounds[i], row 0 for unknown. */
  readonly priceBounds: readonly number[];
  /** SHA-256 over the item ids in row order, which are the vocabulary of the item table. */
  readonly catalogueDigest: string;
}

/** A schema without its thousands of n-grams, which only ContextFeatures reads. */
export type CompactSchema = Omit<FeatureSchema, 'queryNgrams'>;

export const MAX_SUBJECT_CATEGORIES = 5;
/** Largest Q. Rarer n-grams are left out; a word that is left out is read as its trigrams. */
export const MAX_QUERY_NGRAMS = 16_384;
/** Age bands as in most advertising reports. */
export const AGE_BOUNDS: readonly number[] = [0, 18, 25, 35, 45, 55, 65];
/**
 * Buckets of gaps between events: 0 for the first event, then one per power of two of minutes, up
 * to 2^20 minutes, which is 2 years.
 */
export const GAP_BUCKETS = 22;

/**
 * Number of rows of the subject table: at least one, which is not read when there are neither
 * categories nor n-grams.
 */
export function subjectRows({
  categories,
  queryNgrams,
}: Pick<FeatureSchema, 'categories' | 'queryNgrams'>): number {
  return Math.max(1, categories.length + queryNgrams.length);
}

/** Digest of a schema. Two models with the same hash read the same features in the same rows. */
export function schemaHash(schema: FeatureSchema): string {
  return sha256Hex(canonicalJson(schema));
}

/** Digest of a catalogue's ids in row order. */
export function catalogueDigest(ids: readonly string[] | TextColumn): string {
  return sha256Hex(ids instanceof TextColumn ? ids.lines() : ids.join('\n'));
}

/**
 * Bucket of a value in ascending bounds: 0 for NaN and for values below the first bound, else 1 +
 * the index of the last bound <= value.
 */
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
