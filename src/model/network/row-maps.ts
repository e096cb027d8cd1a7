// Maps the rows of a model's tables from one schema and catalogue to another. Rows with the same
// name have the same meaning. Age and price bands have no names; a band maps to the band with the
// nearest lower bound.

import type { FeatureSchema } from '../../features/schema.ts';
import { Vocabulary } from '../../features/vocabulary.ts';

/** The names behind the rows of a model's tables. */
export interface TableNames {
  readonly schema: FeatureSchema;
  /** [N] item ids, by row of items.id. */
  readonly itemIds: readonly string[];
}

/** Stands for the unknown row: no vocabulary has an empty name. */
const UNKNOWN = '';

/**
 * For each row of `to`, finds the row of `from` with the same meaning, in every table whose rows
 * come from a vocabulary or from bands.
 *
 * The tables of gaps and positions are absent, because their rows are the same in all schemas.
 *
 * @returns by tensor name: [rows in `to`] the row in `from`, or -1 where there is none.
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

/** A category and an n-gram with the same spelling are two rows. */
function subjectNames({ categories, queryNgrams }: FeatureSchema): string[] {
  return [
    ...categories.map((name) => `category ${name}`),
    ...queryNgrams.map((ngram) => `n-gram ${ngram}`),
  ];
}

/**
 * For each row of a table of bands, the row of `from` with the nearest lower bound. Row 0 is for
 * unknown values; row i + 1 is for the band that begins at bounds[i].
 *
 * @returns [1 + bands of `to`] rows in `from`, -1 when `from` has no bands.
 */
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
