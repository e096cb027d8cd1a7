// Turns the item changes of the store into the overlay of each served bundle: which of its rows are
// tombstones, and the fresh items with their vectors. It does not read or write the store;
// ingest/fresh-items.ts does.

import { buildCatalogue, type ItemCatalogue } from '../../bundle/catalogue.ts';
import { bundleTensors } from '../../bundle/load.ts';
import { catalogueItemColumns } from '../../bundle/weights/item-features.ts';
import { bundleItemTower, type ItemTower } from '../../bundle/weights/item-tower.ts';
import type { ItemChange, ItemRecord } from '../../store/item-changes.ts';
import type { Engine } from './engine.ts';
import type { FreshCatalogueParts } from './live-items.ts';

/** An item of the store that the bundle does not have in this form. */
interface FreshItem {
  readonly item: string;
  readonly record: ItemRecord;
  /** Row of the bundle that it replaces, -1 for a new item. */
  readonly baseRow: number;
}

export class ItemOverlays {
  readonly #towers = new WeakMap<Engine['bundle'], ItemTower>();
  #changes: ReadonlyMap<string, ItemChange> = new Map();
  #version = 0;

  /** The newest change of each item, by item id. */
  get changes(): ReadonlyMap<string, ItemChange> {
    return this.#changes;
  }

  /** Version of the changes in the store; 0 before the first. */
  get version(): number {
    return this.#version;
  }

  /** Replaces all changes. Engines that were made before keep their items: call apply() again. */
  replace(changes: ReadonlyMap<string, ItemChange>, version: number): void {
    this.#changes = changes;
    this.#version = version;
  }

  /** The engine of the same bundle with these changes; the same engine if it has them already. */
  apply(engine: Engine): Engine {
    if (engine.items.version === this.#version) return engine;
    const { catalogue } = engine.bundle;
    const tombstones: number[] = [];
    const fresh: FreshItem[] = [];
    for (const change of this.#changes.values()) {
      if (isInBundle(engine.bundle, change)) continue;
      const { item, record } = change;
      const baseRow = catalogue.row(item);
      if (baseRow >= 0) tombstones.push(baseRow);
      if (record !== undefined) fresh.push({ item, record, baseRow });
    }
    return engine.withItems({
      version: this.#version,
      tombstones: Int32Array.from(tombstones),
      fresh: fresh.length === 0 ? undefined : this.#embed(engine, fresh),
    });
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
