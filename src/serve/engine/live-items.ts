// The items that requests see: the rows of the bundle without its tombstones, then one row for each
// fresh item. A LiveItems never changes. A change of items makes another LiveItems over the same
// bundle.

import { ItemCatalogue, type CatalogueParts } from '../../bundle/catalogue.ts';
import { nativeAddon } from '../../native/addon.ts';
import { AllowList } from '../../retrieval/allow-list.ts';
import { PlannedIndex } from '../../retrieval/planned-index.ts';
import { FilterCompiler, type CompiledFilter } from './filters.ts';
import type { BundlesSummary } from '../metrics/metrics.ts';
import type { TextWriter } from './text-writer.ts';
import type { Filter } from '../request/request-types.ts';

/**
 * The changes of items since a bundle was published, in a form that one thread can pass to another.
 */
export interface ItemOverlay {
  /** Version of the changes in the store. */
  readonly version: number;
  /** Rows of the bundle whose items were deleted or replaced by a fresh item. */
  readonly tombstones: Int32Array;
  readonly fresh: FreshCatalogueParts | undefined;
  /** Numbers of changes that are left out. */
  readonly skipped: BundlesSummary['skippedItemChanges'];
}

/** The parts of a FreshCatalogue that threads share. */
export interface FreshCatalogueParts {
  readonly catalogue: CatalogueParts;
  /** [n, D] unit rows, in memory that threads share. */
  readonly vectors: Float32Array;
  /** [n] row of the bundle that an item replaces, -1 for a new item. */
  readonly baseRows: Int32Array;
}

/** The fresh items. They are few enough for an exact scan in every search. */
interface FreshCatalogue {
  readonly catalogue: ItemCatalogue;
  readonly index: PlannedIndex;
  readonly filters: FilterCompiler;
  readonly baseRows: Int32Array;
  /** From a row of the bundle to the row, in this catalogue, of the item that replaces it. */
  readonly rowOfBase: ReadonlyMap<number, number>;
  /**
   * [n] row in the bundle's list of advertisers. An advertiser that the bundle does not know has a
   * row after that list; -1 when unknown.
   */
  readonly advertisers: Int32Array;
}

/** A compiled filter over the bundle's items and the fresh items. */
export interface LiveFilter {
  /** Items of the bundle that pass and are no tombstones. */
  readonly allow: AllowList;
  /** Fresh items that pass; undefined when all of them pass. */
  readonly fresh: AllowList | undefined;
  /** Share of all items that pass. */
  readonly selectivity: number;
}

const NO_OVERLAY: ItemOverlay = {
  version: 0,
  tombstones: new Int32Array(0),
  fresh: undefined,
  skipped: { damaged: 0, unusable: 0 },
};

export class LiveItems {
  /** The catalogue of the bundle. */
  readonly base: ItemCatalogue;
  readonly overlay: ItemOverlay;
  /** Number of rows, tombstones included. */
  readonly count: number;
  /**
   * Index of the fresh items; its row 0 is row `base.count` here. Undefined when there are none.
   */
  readonly freshIndex: PlannedIndex | undefined;
  readonly #fresh: FreshCatalogue | undefined;
  readonly #filters: FilterCompiler;
  /** The bundle's rows that are no tombstones; undefined when there is no tombstone. */
  readonly #present: AllowList | undefined;
  readonly #unfiltered: LiveFilter | undefined;
  readonly #compiled = new WeakMap<CompiledFilter, LiveFilter>();

  /**
   * @param filters - the compiler for the bundle's catalogue.
   * @param categoryNames - names of the category rows that both catalogues refer to.
   * @param dimensions - D, width of an item vector.
   */
  constructor(
    base: ItemCatalogue,
    filters: FilterCompiler,
    categoryNames: readonly string[],
    dimensions: number,
    overlay: ItemOverlay = NO_OVERLAY,
  ) {
    const { tombstones, fresh } = overlay;
    this.base = base;
    this.overlay = overlay;
    this.#filters = filters;
    this.#fresh = fresh && openFreshCatalogue(base, fresh, categoryNames, dimensions);
    this.freshIndex = this.#fresh?.index;
    this.count = base.count + (this.freshIndex?.size ?? 0);
    if (tombstones.length === 0) return;
    this.#present = AllowList.all(base.count).andNot(AllowList.of(base.count, tombstones));
    this.#unfiltered = {
      allow: this.#present,
      fresh: undefined,
      selectivity: 1 - tombstones.length / this.count,
    };
  }

  get version(): number {
    return this.overlay.version;
  }

  /** Row of an item; -1 if it does not exist or was deleted. */
  row(id: string): number {
    const fresh = this.#fresh?.catalogue.row(id) ?? -1;
    if (fresh >= 0) return this.base.count + fresh;
    const row = this.base.row(id);
    return row < 0 || this.#present === undefined || this.#present.has(row) ? row : -1;
  }

  /** Writes the id of an item as plain text. */
  copyId(row: number, out: TextWriter): void {
    const { count, ids } = this.base;
    if (row < count) out.copy(ids, row);
    else out.copy(this.#fresh!.catalogue.ids, row - count);
  }

  /** Writes the id of an item as a JSON string. */
  quoteId(row: number, out: TextWriter): void {
    const { count, ids } = this.base;
    if (row < count) out.quote(ids, row);
    else out.quote(this.#fresh!.catalogue.ids, row - count);
  }

  /** Title; empty string when unknown. */
  title(row: number): string {
    return this.#in(row, (catalogue, at) => catalogue.title(at));
  }

  /** Name of the advertiser; empty string when unknown. */
  advertiser(row: number): string {
    return this.#in(row, (catalogue, at) => catalogue.advertiser(at));
  }

  /** A number that is equal for items of one advertiser; -1 when the advertiser is unknown. */
  advertiserRow(row: number): number {
    const { count, advertiserRows } = this.base;
    return row < count ? advertiserRows[row]! : this.#fresh!.advertisers[row - count]!;
  }

  /** Price; NaN when unknown. */
  price(row: number): number {
    return this.#in(row, (catalogue, at) => catalogue.price(at));
  }

  /** The item's categories as rows of schema.categories. */
  categoryRows(row: number): Int32Array {
    return this.#in(row, (catalogue, at) => catalogue.categoryRows(at));
  }

  /** Confidence of each category in categoryRows(row). */
  confidences(row: number): Float32Array {
    return this.#in(row, (catalogue, at) => catalogue.confidences(at));
  }

  /** Names of the countries that the item targets; empty = everywhere. */
  targetCountries(row: number): string[] {
    return this.#in(row, (catalogue, at) => catalogue.targetCountries(at));
  }

  /** Events with the item in the last 30 days of the training data; 0 for a new item. */
  popularity(row: number): number {
    const base = this.baseRow(row);
    return base < 0 ? 0 : this.base.popularity[base]!;
  }

  /**
   * Current row of an item of the bundle: its own row, or the row of the fresh item that replaces
   * it, or -1 if it was deleted.
   */
  liveRow(baseRow: number): number {
    if (this.#present === undefined || this.#present.has(baseRow)) return baseRow;
    const fresh = this.#fresh?.rowOfBase.get(baseRow);
    return fresh === undefined ? -1 : this.base.count + fresh;
  }

  /**
   * The row by which the bundle's weights know an item: its own, or the row that it replaces; -1
   * for a new item.
   */
  baseRow(row: number): number {
    return row < this.base.count ? row : this.#fresh!.baseRows[row - this.base.count]!;
  }

  /**
   * The items that pass a filter and are no tombstones. Equal filters give the same object.
   *
   * @returns undefined when every row passes.
   */
  compile(filter: Filter | undefined): LiveFilter | undefined {
    const base = this.#filters.compile(filter);
    if (base === undefined) return this.#unfiltered;
    let compiled = this.#compiled.get(base);
    if (compiled === undefined) {
      const allow =
        this.#present === undefined ? base.allow : base.allow.clone().and(this.#present);
      const fresh = this.#fresh?.filters.compile(filter)?.allow;
      const selectivity = (allow.count + (fresh?.count ?? 0)) / this.count;
      compiled = { allow, fresh, selectivity };
      this.#compiled.set(base, compiled);
    }
    return compiled;
  }

  #in<T>(row: number, read: (catalogue: ItemCatalogue, catalogueRow: number) => T): T {
    const { count } = this.base;
    return row < count ? read(this.base, row) : read(this.#fresh!.catalogue, row - count);
  }
}

function openFreshCatalogue(
  base: ItemCatalogue,
  { catalogue: parts, vectors, baseRows }: FreshCatalogueParts,
  categoryNames: readonly string[],
  dimensions: number,
): FreshCatalogue {
  const catalogue = ItemCatalogue.of(parts);
  const exact = new (nativeAddon().ExactIndex)(vectors, dimensions);
  const known = new Map(base.advertiserNames.map((name, row) => [name, row]));
  const toBase = catalogue.advertiserNames.map(
    (name, row) => known.get(name) ?? base.advertiserNames.length + row,
  );
  return {
    catalogue,
    baseRows,
    rowOfBase: new Map(Array.from(baseRows, (base, row) => [base, row])),
    index: new PlannedIndex({ exact, plan: 'exact' }),
    filters: new FilterCompiler(catalogue, categoryNames),
    advertisers: catalogue.advertiserRows.map((row) => (row < 0 ? -1 : toBase[row]!)),
  };
}
