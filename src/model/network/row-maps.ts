// Which rows of a model's tables mean the same under two schemas and catalogues: those of the same name. Bands of a number
// have no names; a band is the one of the other schema whose lower bound is nearest.

import type { FeatureSchema } from '../../features/schema.ts';
import { Vocabulary } from '../../features/vocabulary.ts';

export interface TableNames {
  readonly schema: FeatureSchema;
  /** Names of the rows of items.id. */
  readonly itemIds: readonly string[];
}

/** No vocabulary has an empty name, so that it stands for the unknown row. */
const UNKNOWN = '';

/**
 * For each table whose rows a vocabulary gives, [rows in `to`]: the row of `from` with the same meaning, -1 where there is
 * none. Tables of other rows (gaps, positions) are not listed: their rows are the same in all schemas.
 */
export function rowMaps(from: TableNames, to: TableNames): ReadonlyMap<string, Int32Array> {
  const named = (names: (of: TableNames) => readonly string[]): Int32Array => {
    const known = new Vocabulary(names(from));
    return Int32Array.from(names(to), (name) => known.row(name));
  };
  const bands = (bounds: (of: FeatureSchema) => readonly number[]): Int32Array =>
    nearestBands(bounds(from.schema), bounds(to.schema));
  return new Map([
    ['items.id', named(({ itemIds }) => itemIds)],
    ['items.category', named(({ schema }) => schema.categories)],
    ['items.advertiser', named(({ schema }) => [UNKNOWN, ...schema.advertisers])],
    ['items.price', bands(({ priceBounds }) => priceBounds)],
    ['encoder.action', named(({ schema }) => [UNKNOWN, ...schema.actions])],
    ['context.subjectTable', named(({ schema }) => subjectNames(schema))],
    ['context.ageTable', bands(({ ageBounds }) => ageBounds)],
    ['context.countryTable', named(({ schema }) => [UNKNOWN, ...schema.countries])],
    ['context.genderTable', named(({ schema }) => [UNKNOWN, ...schema.genders])],
  ]);
}

/** A category and an n-gram may be spelled alike: they are two rows. */
function subjectNames({ categories, queryNgrams }: FeatureSchema): string[] {
  return [
    ...categories.map((name) => `category ${name}`),
    ...queryNgrams.map((ngram) => `n-gram ${ngram}`),
  ];
}

/** Row 0 is the unknown value, row i + 1 begins at bounds[i]. */
function nearestBands(from: readonly number[], to: readonly number[]): Int32Array {
  const nearest = (bound: number): number =>
    from.reduce(
      (best, other, row) =>
        best < 0 || Math.abs(other - bound) < Math.abs(from[best]! - bound) ? row : best,
      -1,
    );
  return Int32Array.of(
    0,
    ...to.map((bound) => {
      const row = nearest(bound);
      return row < 0 ? -1 : row + 1;
    }),
  );
}
