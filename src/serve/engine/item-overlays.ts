// Turns the item changes of the store into the overlay of each served bundle: which of its rows are
// tombstones, and the fresh items with their vectors. A change that a bundle cannot serve is left
// out, so that it harms no other item. It does not read or write the store; ingest/fresh-items.ts
// does.

import { buildCatalogue, type ItemCatalogue } from '../../bundle/catalogue.ts';
import { bundleTensors } from '../../bundle/load.ts';
import { catalogueItemColumns } from '../../bundle/weights/item-features.ts';
import { bundleItemTower, type ItemTower } from '../../bundle/weights/item-tower.ts';
import { TandemError } from '../../errors.ts';
import type { ItemChange, ItemRecord } from '../../store/item-changes.ts';
import { logger } from '../../telemetry.ts';
import type { Engine } from './engine.ts';
import type { FreshCatalogueParts } from './live-items.ts';

/** An item of the store that the bundle does not have in this form. */
interface FreshItem {
  readonly item: string;
  readonly record: ItemRecord;
  /** Row of the bundle that it replaces, -1 for a new item. */
  readonly baseRow: number;
}

/** An item that a bundle cannot serve, and why. */
export interface UnusableItem {
  readonly item: string;
  readonly reason: Error;
}

export class ItemOverlays {
  readonly #towers = new WeakMap<Engine['bundle'], ItemTower>();
  #changes: ReadonlyMap<string, ItemChange> = new Map();
  #version = 0;
  /** Number of changes that could not be read. */
  #damaged = 0;

  /** The newest change of each item, by item id. */
  get changes(): ReadonlyMap<string, ItemChange> {
    return this.#changes;
  }

  /** Version of the changes in the store; 0 before the first. */
  get version(): number {
    return this.#version;
  }

  get damaged(): number {
    return this.#damaged;
  }

  /**
   * Replaces all changes. Engines that were made before keep their items: call apply() again.
   *
   * @param damaged - number of changes that could not be read.
   */
  replace(changes: ReadonlyMap<string, ItemChange>, version: number, damaged: number): void {
    this.#changes = changes;
    this.#version = version;
    this.#damaged = damaged;
  }

  /** The engine of the same bundle with these changes; the same engine if it has them already. */
  apply(engine: Engine): Engine {
    if (engine.items.version === this.#version) return engine;
    const changes = [...this.#changes.values()].filter(
      (change) => !isInBundle(engine.bundle, change),
    );
    const { parts, unusable } = this.#embedUsable(engine, freshItems(engine, changes));
    for (const { item, reason } of unusable)
      logger.error({ item, reason: reason.message }, 'change of an item skipped: unusable');
    const skipped = new Set(unusable.map(({ item }) => item));
    const rows = changes.map(({ item }) =>
      skipped.has(item) ? -1 : engine.bundle.catalogue.row(item),
    );
    return engine.withItems({
      version: this.#version,
      tombstones: Int32Array.from(rows.filter((row) => row >= 0)),
      fresh: parts,
      skipped: { damaged: this.#damaged, unusable: unusable.length },
    });
  }

  /**
   * Finds the changes that the engine's bundle could not serve.
   *
   * @param changes - at most one for each item.
   * @throws TandemError ERR_BUNDLE_INVALID when the bundle has no sound item tower.
   */
  unusable(engine: Engine, changes: readonly ItemChange[]): readonly UnusableItem[] {
    return this.#embedUsable(engine, freshItems(engine, changes)).unusable;
  }

  /**
   * Embeds the items that the bundle can serve. An error may not name its item, so the items are
   * halved until those that fail are alone: a vector depends on its item alone.
   */
  #embedUsable(
    engine: Engine,
    fresh: readonly FreshItem[],
  ): { readonly parts?: FreshCatalogueParts; readonly unusable: readonly UnusableItem[] } {
    if (fresh.length === 0) return { unusable: [] };
    try {
      return { parts: this.#embed(engine, fresh), unusable: [] };
    } catch (error) {
      // The catalogue and the addon throw RangeError and Error; a TandemError is about the bundle.
      if (error instanceof TandemError) throw error;
      if (fresh.length === 1)
        return { unusable: [{ item: fresh[0]!.item, reason: error as Error }] };
      const half = fresh.length >>> 1;
      const unusable = [fresh.slice(0, half), fresh.slice(half)].flatMap(
        (part) => this.#embedUsable(engine, part).unusable,
      );
      if (unusable.length === 0) throw error;
      const failed = new Set(unusable.map(({ item }) => item));
      const usable = fresh.filter(({ item }) => !failed.has(item));
      return { ...this.#embedUsable(engine, usable), unusable };
    }
  }

  #embed(engine: Engine, fresh: readonly FreshItem[]): FreshCatalogueParts {
    const catalogue = catalogueOf(fresh, engine.bundle.schema.categories);
    const baseRows = Int32Array.from(fresh, ({ baseRow }) => baseRow);
    const embedded = this.#towerOf(engine).vectors(catalogueItemColumns(catalogue), baseRows);
    const vectors = new Float32Array(new SharedArrayBuffer(embedded.byteLength));
    vectors.set(embedded);
    return { catalogue: catalogue.parts(), vectors, baseRows };
  }

  /** The item tower of a bundle, made on first use. */
  #towerOf({ bundle }: Engine): ItemTower {
    let tower = this.#towers.get(bundle);
    if (tower === undefined) {
      const tensors = (): ReturnType<typeof bundleTensors> =>
        bundleTensors(bundle.directory, bundle.manifest);
      tower = bundleItemTower({ ...bundle, tensors });
      this.#towers.set(bundle, tower);
    }
    return tower;
  }
}

/**
 * Whether the bundle already has the change: it lacks a deleted item, or it was made from data that
 * is newer than the change of an item that it has.
 */
export function isInBundle(
  { catalogue, manifest }: Engine['bundle'],
  { item, atSeconds, record }: ItemChange,
): boolean {
  const has = catalogue.row(item) >= 0;
  return record === undefined ? !has : has && atSeconds < manifest.dataUntilSeconds;
}

/** The items that the changes put. */
function freshItems({ bundle }: Engine, changes: readonly ItemChange[]): FreshItem[] {
  return changes.flatMap(({ item, record }) =>
    record === undefined ? [] : [{ item, record, baseRow: bundle.catalogue.row(item) }],
  );
}

/** A catalogue of fresh items alone. Categories that the bundle does not know are dropped. */
function catalogueOf(
  fresh: readonly FreshItem[],
  schemaCategories: readonly string[],
): ItemCatalogue {
  const offsets = new Int32Array(fresh.length + 1);
  const categories: ItemRecord['categories'][number][] = [];
  for (const [i, { record }] of fresh.entries()) {
    categories.push(...[...record.categories].sort((a, b) => b.confidence - a.confidence));
    offsets[i + 1] = categories.length;
  }
  const categoryNames = [...new Set(categories.map(({ category }) => category))];
  const rows = new Map(categoryNames.map((name, row) => [name, row]));
  const columns = {
    ids: fresh.map(({ item }) => item),
    titles: fresh.map(({ record }) => record.title),
    advertisers: fresh.map(({ record }) => record.advertiser),
    prices: Float64Array.from(fresh, ({ record }) => record.price ?? Number.NaN),
    categoryNames,
    categoryOffsets: offsets,
    categoryValues: Int32Array.from(categories, ({ category }) => rows.get(category)!),
    categoryConfidences: Float32Array.from(categories, ({ confidence }) => confidence),
    countries: fresh.map(({ record }) => record.countries),
  };
  return buildCatalogue(columns, schemaCategories, new Float32Array(fresh.length));
}
