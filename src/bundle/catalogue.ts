// The catalogue: what serving knows of the items behind the rows of an index, in columns, for a million items and more.

import { isUtf8 } from 'node:buffer';
import { TandemError } from '../errors.ts';
import { TextColumn, TextIndex, type TextBytes } from '../text-column.ts';
import { decodeSafetensors, encodeSafetensors, expectTensor, type Tensor } from './safetensors.ts';

const FILE = 'items.safetensors';

/** Columns of items in catalogue order, as the import has them; ItemTable of data/ fits. */
export interface ItemColumns {
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
  /** [N]; an empty list means everywhere. */
  readonly countries: readonly (readonly string[])[];
}

/** A ragged column: the values of row r are values[offsets[r] .. offsets[r + 1]). */
export interface Ragged {
  /** [N + 1], ascending from 0. */
  readonly offsets: Int32Array;
  readonly values: Int32Array;
}

export interface CatalogueColumns {
  readonly ids: TextColumn;
  readonly titles: TextColumn;
  /** Distinct names; advertiserRows points into it. */
  readonly advertiserNames: readonly string[];
  /** [N], -1 when unknown. */
  readonly advertiserRows: Int32Array;
  /** [N], NaN when unknown. */
  readonly prices: Float64Array;
  /** Rows of schema.categories. */
  readonly categories: Ragged;
  /** One per value of categories, in (0, 1]. */
  readonly categoryConfidences: Float32Array;
  readonly countryNames: readonly string[];
  /** Rows of countryNames; an empty row means everywhere. */
  readonly countries: Ragged;
  /** [N] events of the last 30 days of the training data. */
  readonly popularity: Float32Array;
}

/** What a catalogue is made of, as one thread can hand it to another: see ItemCatalogue.parts(). */
export interface CatalogueParts {
  readonly columns: Omit<CatalogueColumns, 'ids' | 'titles'>;
  readonly ids: TextBytes;
  readonly titles: TextBytes;
  readonly rowTable: Int32Array;
  readonly byPopularity: Int32Array;
}

/** Items by row. The columns are public: filters and counts read them whole. */
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
   * @param checked - what another thread made of these columns, which it has checked.
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

  /** The catalogue of parts(), at once, whatever its size. */
  static of({ columns, ids, titles, ...checked }: CatalogueParts): ItemCatalogue {
    return new ItemCatalogue(
      { ...columns, ids: new TextColumn(ids), titles: new TextColumn(titles) },
      checked,
    );
  }

  /** What it is made of: arrays and plain objects, which another thread can have. */
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

  /** Every row, the most popular first; made on first use. */
  byPopularity(): Int32Array {
    const { popularity } = this;
    return (this.#byPopularity ??= Int32Array.from({ length: this.count }, (_, row) => row).sort(
      (a, b) => popularity[b]! - popularity[a]! || a - b,
    ));
  }

  id(row: number): string {
    return this.ids.at(row);
  }

  /** Row of an item id, or -1. */
  row(id: string): number {
    return this.#rows.row(id);
  }

  /** Empty string when unknown. */
  title(row: number): string {
    return this.#titles.at(row);
  }

  /** Name; empty string when unknown. */
  advertiser(row: number): string {
    const advertiser = this.advertiserRows[row]!;
    return advertiser < 0 ? '' : this.advertiserNames[advertiser]!;
  }

  /** NaN when unknown. */
  price(row: number): number {
    return this.prices[row]!;
  }

  /** Rows of schema.categories, as ContextFeatures.categoryBag takes them; a view. */
  categoryRows(row: number): Int32Array {
    return raggedRow(this.categories, row);
  }

  /** Confidences of categoryRows(row); a view. */
  confidences(row: number): Float32Array {
    const { offsets } = this.categories;
    return this.categoryConfidences.subarray(offsets[row], offsets[row + 1]);
  }

  /** Rows of countryNames that the item targets; empty = everywhere; a view. */
  countryRows(row: number): Int32Array {
    return raggedRow(this.countries, row);
  }

  /** Names of the countries that the item targets; empty = everywhere. */
  targetCountries(row: number): string[] {
    return Array.from(this.countryRows(row), (country) => this.countryNames[country]!);
  }
}

/**
 * A catalogue from the columns of an import.
 *
 * @param schemaCategories - FeatureSchema.categories; categories that it does not know fall away.
 * @param popularity - [N] events of the last 30 days of the training data.
 */
export function buildCatalogue(
  items: ItemColumns,
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

/** The catalogue as items.safetensors: strings are a UTF-8 blob with offsets, see docs/bundle.md. */
export function encodeCatalogue(catalogue: ItemCatalogue): Uint8Array {
  const { columns, ids, titles } = catalogue.parts();
  const tensors = new Map<string, Tensor>();
  const vector = (name: string, data: Tensor['data']): void => {
    tensors.set(name, { shape: [data.length], data });
  };
  const strings = (name: string, { blob, offsets }: TextBytes): void => {
    vector(`${name}.utf8`, blob);
    vector(`${name}.offsets`, offsets);
  };
  strings('ids', ids);
  strings('titles', titles);
  strings('advertisers', TextColumn.of(columns.advertiserNames).bytes);
  strings('countries', TextColumn.of(columns.countryNames).bytes);
  vector('advertiser.rows', columns.advertiserRows);
  vector('price', columns.prices);
  vector('category.offsets', columns.categories.offsets);
  vector('category.rows', columns.categories.values);
  vector('category.confidences', columns.categoryConfidences);
  vector('country.offsets', columns.countries.offsets);
  vector('country.rows', columns.countries.values);
  vector('popularity', columns.popularity);
  return encodeSafetensors(tensors, { format: 'tandem-items', version: '1' });
}

/** @throws TandemError ERR_BUNDLE_INVALID when a column is missing, or columns do not fit together. */
export function decodeCatalogue(bytes: Uint8Array): ItemCatalogue {
  const { tensors } = decodeSafetensors(bytes, FILE);
  const ints = (name: string): Int32Array => expectTensor(tensors, name, Int32Array, [null], FILE);
  const floats = (name: string): Float32Array =>
    expectTensor(tensors, name, Float32Array, [null], FILE);
  const strings = (name: string): TextColumn =>
    checkedText(
      expectTensor(tensors, `${name}.utf8`, Uint8Array, [null], FILE),
      ints(`${name}.offsets`),
      name,
    );
  const columns: CatalogueColumns = {
    ids: strings('ids'),
    titles: strings('titles'),
    advertiserNames: strings('advertisers').all(),
    advertiserRows: ints('advertiser.rows'),
    prices: expectTensor(tensors, 'price', Float64Array, [null], FILE),
    categories: { offsets: ints('category.offsets'), values: ints('category.rows') },
    categoryConfidences: floats('category.confidences'),
    countryNames: strings('countries').all(),
    countries: { offsets: ints('country.offsets'), values: ints('country.rows') },
    popularity: floats('popularity'),
  };
  try {
    return new ItemCatalogue(columns);
  } catch (cause) {
    throw invalid(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function checkedText(blob: Uint8Array, offsets: Int32Array, name: string): TextColumn {
  const count = offsets.length - 1;
  if (count < 0 || !isAscending(offsets) || offsets[count] !== blob.length)
    throw invalid(`Expected ascending offsets that end at ${blob.length} for "${name}".`);
  // An offset within a character would leave a half of it on either side.
  const cut = offsets.subarray(0, count).some((begin) => (blob[begin]! & 0xc0) === 0x80);
  if (cut || !isUtf8(blob)) throw invalid(`Expected UTF-8 in "${name}".`);
  return new TextColumn({ blob, offsets });
}

function sortedDistinct(names: readonly string[]): string[] {
  return [...new Set(names)].filter((name) => name !== '').sort();
}

function raggedRow(ragged: Ragged, row: number): Int32Array {
  return ragged.values.subarray(ragged.offsets[row], ragged.offsets[row + 1]);
}

function isAscending(offsets: Int32Array): boolean {
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
        `Expected rows in [${lowest}, ${bound}) in the catalogue's column "${name}", received ${row}.`,
      );
}

function invalid(message: string, cause?: unknown): TandemError {
  return new TandemError(
    'ERR_BUNDLE_INVALID',
    `${message} ${FILE} is damaged: publish the bundle again.`,
    { cause, details: { file: FILE } },
  );
}
