// The catalogue: the data that serving has of each item of an index, by row, in columns that can
// hold more than a million items.

import { TextColumn, TextIndex, type TextBytes } from '../text-column.ts';

/** Items in catalogue order, as an import has them. ItemTable of data/ has this form. */
export interface CatalogueInput {
  readonly ids: readonly string[];
  readonly titles: readonly string[];
  /** Empty string when unknown. */
  readonly advertisers: readonly string[];
  /** NaN when unknown. */
  readonly prices: Float64Array;
  readonly categoryNames: readonly string[];
  /** [N + 1]. */
  readonly categoryOffsets: Int32Array;
  /** Rows of categoryNames. */
  readonly categoryValues: Int32Array;
  readonly categoryConfidences: Float32Array;
  /** [N] countries that each item targets; none means everywhere. */
  readonly countries: readonly (readonly string[])[];
}

/** A ragged column: row r has the values [offsets[r], offsets[r + 1]). */
export interface Ragged {
  /** [N + 1], ascending from 0. */
  readonly offsets: Int32Array;
  readonly values: Int32Array;
}

export interface CatalogueColumns {
  readonly ids: TextColumn;
  readonly titles: TextColumn;
  /** Distinct names, which advertiserRows refer to. */
  readonly advertiserNames: readonly string[];
  /** [N], -1 when unknown. */
  readonly advertiserRows: Int32Array;
  /** [N], NaN when unknown. */
  readonly prices: Float64Array;
  /** Rows of schema.categories. */
  readonly categories: Ragged;
  /** Confidence of each value of categories, in (0, 1]. */
  readonly categoryConfidences: Float32Array;
  readonly countryNames: readonly string[];
  /** Rows of countryNames; an empty row of this column means everywhere. */
  readonly countries: Ragged;
  /** [N] events in the last 30 days of the training data. */
  readonly popularity: Float32Array;
}

/** A catalogue as arrays and plain objects, which one thread can pass to another. */
export interface CatalogueParts {
  readonly columns: Omit<CatalogueColumns, 'ids' | 'titles'>;
  readonly ids: TextBytes;
  readonly titles: TextBytes;
  /** Hash table from ids to rows. */
  readonly rowTable: Int32Array;
  /** Rows, the most popular first. */
  readonly byPopularity: Int32Array;
}

/** Items by row. The columns are public, because filters and counts read them whole. */
export class ItemCatalogue {
  readonly count: number;
  readonly ids: TextColumn;
  readonly advertiserNames: readonly string[];
  readonly advertiserRows: Int32Array;
  readonly prices: Float64Array;
  readonly categories: Ragged;
  readonly categoryConfidences: Float32Array;
  readonly countryNames: readonly string[];
  readonly countries: Ragged;
  readonly popularity: Float32Array;
  readonly #titles: TextColumn;
  readonly #rows: TextIndex;
  #byPopularity: Int32Array | undefined;

  /**
   * @param checked - tables that another thread made from these columns, after it checked them.
   * @throws RangeError when columns do not fit together or an id occurs twice.
   */
  constructor(
    columns: CatalogueColumns,
    checked?: Pick<CatalogueParts, 'rowTable' | 'byPopularity'>,
  ) {
    if (checked === undefined) checkColumns(columns);
    this.count = columns.ids.length;
    this.ids = columns.ids;
    this.#titles = columns.titles;
    this.#rows =
      checked === undefined
        ? TextIndex.of(columns.ids, 'item ids in a catalogue')
        : new TextIndex(columns.ids, checked.rowTable);
    this.#byPopularity = checked?.byPopularity;
    this.advertiserNames = columns.advertiserNames;
    this.advertiserRows = columns.advertiserRows;
    this.prices = columns.prices;
    this.categories = columns.categories;
    this.categoryConfidences = columns.categoryConfidences;
    this.countryNames = columns.countryNames;
    this.countries = columns.countries;
    this.popularity = columns.popularity;
  }

  /**
   * Makes a catalogue from parts() without reading the columns, so that its size does not matter.
   */
  static of({ columns, ids, titles, ...checked }: CatalogueParts): ItemCatalogue {
    return new ItemCatalogue(
      { ...columns, ids: new TextColumn(ids), titles: new TextColumn(titles) },
      checked,
    );
  }

  /** The catalogue as arrays and plain objects, for another thread. */
  parts(): CatalogueParts {
    const { advertiserNames, advertiserRows, prices, categories, categoryConfidences } = this;
    const { countryNames, countries, popularity } = this;
    return {
      columns: {
        advertiserNames,
        advertiserRows,
        prices,
        categories,
        categoryConfidences,
        countryNames,
        countries,
        popularity,
      },
      ids: this.ids.bytes,
      titles: this.#titles.bytes,
      rowTable: this.#rows.table,
      byPopularity: this.byPopularity(),
    };
  }

  /** Every row, the most popular first; computed on first use. */
  byPopularity(): Int32Array {
    const { popularity } = this;
    return (this.#byPopularity ??= Int32Array.from({ length: this.count }, (_, row) => row).sort(
      (a, b) => popularity[b]! - popularity[a]! || a - b,
    ));
  }

  /** Id of an item. */
  id(row: number): string {
    return this.ids.at(row);
  }

  /** Row of an item id, or -1. */
  row(id: string): number {
    return this.#rows.row(id);
  }

  /** Title; empty string when unknown. */
  title(row: number): string {
    return this.#titles.at(row);
  }

  /** Name of the advertiser; empty string when unknown. */
  advertiser(row: number): string {
    const advertiser = this.advertiserRows[row]!;
    return advertiser < 0 ? '' : this.advertiserNames[advertiser]!;
  }

  /** Price; NaN when unknown. */
  price(row: number): number {
    return this.prices[row]!;
  }

  /** Rows of schema.categories, for ContextFeatures.categoryBag(); a view. */
  categoryRows(row: number): Int32Array {
    return raggedRow(this.categories, row);
  }

  /** Confidences of categoryRows(row); a view. */
  confidences(row: number): Float32Array {
    const { offsets } = this.categories;
    return this.categoryConfidences.subarray(offsets[row], offsets[row + 1]);
  }

  /** Rows of countryNames that the item targets, none for everywhere; a view. */
  countryRows(row: number): Int32Array {
    return raggedRow(this.countries, row);
  }

  /** Names of the countries that the item targets; none means everywhere. */
  targetCountries(row: number): string[] {
    return Array.from(this.countryRows(row), (country) => this.countryNames[country]!);
  }
}

/**
 * Makes a catalogue from the columns of an import.
 *
 * @param schemaCategories - FeatureSchema.categories; other categories are left out.
 * @param popularity - [N] events in the last 30 days of the training data.
 */
export function buildCatalogue(
  items: CatalogueInput,
  schemaCategories: readonly string[],
  popularity: Float32Array,
): ItemCatalogue {
  const count = items.ids.length;
  const schemaRows = new Map(schemaCategories.map((name, row) => [name, row]));
  const toSchema = items.categoryNames.map((name) => schemaRows.get(name) ?? -1);
  const categoryOffsets = new Int32Array(count + 1);
  const categoryValues: number[] = [];
  const confidences: number[] = [];
  for (let row = 0; row < count; row++) {
    for (let i = items.categoryOffsets[row]!; i < items.categoryOffsets[row + 1]!; i++) {
      const category = toSchema[items.categoryValues[i]!]!;
      if (category < 0) continue;
      categoryValues.push(category);
      confidences.push(items.categoryConfidences[i]!);
    }
    categoryOffsets[row + 1] = categoryValues.length;
  }

  const advertiserNames = sortedDistinct(items.advertisers);
  const advertisers = new Map(advertiserNames.map((name, row) => [name, row]));
  const countryNames = sortedDistinct(items.countries.flat());
  const countryRows = new Map(countryNames.map((name, row) => [name, row]));
  const countryOffsets = new Int32Array(count + 1);
  const countryValues: number[] = [];
  for (let row = 0; row < count; row++) {
    for (const name of new Set(items.countries[row]))
      if (name !== '') countryValues.push(countryRows.get(name)!);
    countryOffsets[row + 1] = countryValues.length;
  }
  return new ItemCatalogue({
    ids: TextColumn.of(items.ids),
    titles: TextColumn.of(items.titles),
    advertiserNames,
    advertiserRows: Int32Array.from(items.advertisers, (name) => advertisers.get(name) ?? -1),
    prices: items.prices,
    categories: { offsets: categoryOffsets, values: Int32Array.from(categoryValues) },
    categoryConfidences: Float32Array.from(confidences),
    countryNames,
    countries: { offsets: countryOffsets, values: Int32Array.from(countryValues) },
    popularity,
  });
}

function sortedDistinct(names: readonly string[]): string[] {
  return [...new Set(names)].filter((name) => name !== '').sort();
}

function raggedRow(ragged: Ragged, row: number): Int32Array {
  return ragged.values.subarray(ragged.offsets[row], ragged.offsets[row + 1]);
}

export function isAscending(offsets: Int32Array): boolean {
  if (offsets[0] !== 0) return false;
  for (let i = 1; i < offsets.length; i++) if (offsets[i]! < offsets[i - 1]!) return false;
  return true;
}

function checkColumns(columns: CatalogueColumns): void {
  const count = columns.ids.length;
  checkLength('titles', columns.titles.length, count);
  checkLength('advertiserRows', columns.advertiserRows.length, count);
  checkLength('prices', columns.prices.length, count);
  checkLength('popularity', columns.popularity.length, count);
  checkLength(
    'categoryConfidences',
    columns.categoryConfidences.length,
    columns.categories.values.length,
  );
  checkRows('advertiserRows', columns.advertiserRows, -1, columns.advertiserNames.length);
  checkRagged('categories', columns.categories, count);
  checkRows('categories', columns.categories.values, 0, Number.POSITIVE_INFINITY);
  checkRagged('countries', columns.countries, count);
  checkRows('countries', columns.countries.values, 0, columns.countryNames.length);
}

function checkLength(name: string, received: number, expected: number): void {
  if (received !== expected)
    throw new RangeError(
      `Expected ${expected} values in the catalogue's column "${name}", received ${received}.`,
    );
}

function checkRagged(name: string, ragged: Ragged, count: number): void {
  checkLength(`${name}.offsets`, ragged.offsets.length, count + 1);
  if (!isAscending(ragged.offsets))
    throw new RangeError(`Expected ascending offsets from 0 in the catalogue's column "${name}".`);
  checkLength(name, ragged.values.length, ragged.offsets[count]!);
}

function checkRows(name: string, rows: Int32Array, lowest: number, bound: number): void {
  for (const row of rows)
    if (row < lowest || row >= bound)
      throw new RangeError(
        `Expected rows in [${lowest}, ${bound}) in the catalogue's column "${name}", ` +
          `received ${row}.`,
      );
}
