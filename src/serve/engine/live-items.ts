// The items that requests see: those of the bundle, less what was changed or deleted after it was published, and behind them, in rows of
// their own, what came in the meantime. Nothing of it changes: every change of items makes another LiveItems over the same bundle.

import { ItemCatalogue, type CatalogueParts } from '../../bundle/catalogue.ts';
import { nativeAddon } from '../../native/binding.ts';
import { AllowList } from '../../retrieval/allow-list.ts';
import { PlannedIndex } from '../../retrieval/plan.ts';
import { FilterCompiler, type CompiledFilter } from './filters.ts';
import type { TextWriter } from './text-writer.ts';
import type { Filter } from '../request/request-types.ts';

/** What changed after a bundle was published, in its terms, as one thread can hand it to another. */
export interface ItemOverlay {
  /** Of the changes in the store. */
  readonly version: number;
  /** Rows of the bundle that are not there any more: deleted, or replaced by a fresh one. */
  readonly tombstones: Int32Array;
  readonly fresh: FreshParts | undefined;
}

export interface FreshParts {
  readonly catalogue: CatalogueParts;
  /** [n, D] unit rows, in memory that threads share. */
  readonly vectors: Float32Array;
  /** [n] row of the bundle that an item replaces, -1 for one that is new. */
  readonly baseRows: Int32Array;
}

/** Few enough to be scanned exactly in every search. */
interface FreshItems {
  readonly catalogue: ItemCatalogue;
  readonly index: PlannedIndex;
  readonly filters: FilterCompiler;
  readonly baseRows: Int32Array;
  /** Rows by that of the bundle which they replace. */
  readonly rowOfBase: ReadonlyMap<number, number>;
  /** [n] row of the bundle's advertisers, or one behind them for an advertiser that it does not know; -1 when unknown. */
  readonly advertisers: Int32Array;
}

/** A filter in terms of both. */
export interface LiveFilter {
  /** Items of the bundle that pass and are still there. */
  readonly allow: AllowList;
  /** Fresh ones that pass; undefined = every one. */
  readonly fresh: AllowList | undefined;
  /** Share of all items that passes. */
  readonly selectivity: number;
}

const NO_OVERLAY: ItemOverlay = { version: 0, tombstones: new Int32Array(0), fresh: undefined };

export class LiveItems {
  /** Of the bundle. */
  readonly base: ItemCatalogue;
  readonly overlay: ItemOverlay;
  /** Rows, whether their items are still there or not. */
  readonly count: number;
  /** Index of the fresh items, whose row 0 is row `base.count` here; undefined where there are none. */
  readonly freshIndex: PlannedIndex | undefined;
  readonly #fresh: FreshItems | undefined;
  readonly #filters: FilterCompiler;
  /** Undefined where every item of the bundle is still there. */
  readonly #present: AllowList | undefined;
  readonly #unfiltered: LiveFilter | undefined;
  readonly #compiled = new WeakMap<CompiledFilter, LiveFilter>();

  /**
   * @param filters - of the bundle's catalogue.
   * @param categoryNames - what category rows of both catalogues stand for.
   * @param dimensions - D.
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
    this.#fresh = fresh && openFresh(base, fresh, categoryNames, dimensions);
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

  /** Row of an item, or -1 where there is none, or none any more. */
  row(id: string): number {
    const fresh = this.#fresh?.catalogue.row(id) ?? -1;
    if (fresh >= 0) return this.base.count + fresh;
    const row = this.base.row(id);
    return row < 0 || this.#present === undefined || this.#present.has(row) ? row : -1;
  }

  /** Writes an id as it is. */
  copyId(row: number, out: TextWriter): void {
    const { count, ids } = this.base;
    if (row < count) out.copy(ids, row);
    else out.copy(this.#fresh!.catalogue.ids, row - count);
  }

  /** Writes an id as JSON. */
  quoteId(row: number, out: TextWriter): void {
    const { count, ids } = this.base;
    if (row < count) out.quote(ids, row);
    else out.quote(this.#fresh!.catalogue.ids, row - count);
  }

  /** Empty string when unknown. */
  title(row: number): string {
    return this.#in(row, (catalogue, at) => catalogue.title(at));
  }

  /** Name; empty string when unknown. */
  advertiser(row: number): string {
    return this.#in(row, (catalogue, at) => catalogue.advertiser(at));
  }

  /** A number of the item's advertiser, -1 when unknown. */
  advertiserRow(row: number): number {
    const { count, advertiserRows } = this.base;
    return row < count ? advertiserRows[row]! : this.#fresh!.advertisers[row - count]!;
  }

  /** NaN when unknown. */
  price(row: number): number {
    return this.#in(row, (catalogue, at) => catalogue.price(at));
  }

  /** Rows of schema.categories. */
  categoryRows(row: number): Int32Array {
    return this.#in(row, (catalogue, at) => catalogue.categoryRows(at));
  }

  /** Confidences of categoryRows(row). */
  confidences(row: number): Float32Array {
    return this.#in(row, (catalogue, at) => catalogue.confidences(at));
  }

  /** Names of the countries that the item targets; empty = everywhere. */
  targetCountries(row: number): string[] {
    return this.#in(row, (catalogue, at) => catalogue.targetCountries(at));
  }

  /** Events of the last 30 days of the training data. */
  popularity(row: number): number {
    const base = this.baseRow(row);
    return base < 0 ? 0 : this.base.popularity[base]!;
  }

  /** Where an item of the bundle is now: at its own row, at that of the fresh one that replaced it, or nowhere (-1). */
  liveRow(baseRow: number): number {
    if (this.#present === undefined || this.#present.has(baseRow)) return baseRow;
    const fresh = this.#fresh?.rowOfBase.get(baseRow);
    return fresh === undefined ? -1 : this.base.count + fresh;
  }

  /** What the bundle's weights know the item as: its own row, or that of the item that it replaces; -1 for a new one. */
  baseRow(row: number): number {
    return row < this.base.count ? row : this.#fresh!.baseRows[row - this.base.count]!;
  }

  /** The items that pass and are there; undefined where that is all of them. Equal filters give the same object. */
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

  #in<T>(row: number, read: (catalogue: ItemCatalogue, at: number) => T): T {
    const { count } = this.base;
    return row < count ? read(this.base, row) : read(this.#fresh!.catalogue, row - count);
  }
}

function openFresh(
  base: ItemCatalogue,
  { catalogue: parts, vectors, baseRows }: FreshParts,
  categoryNames: readonly string[],
  dimensions: number,
): FreshItems {
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
