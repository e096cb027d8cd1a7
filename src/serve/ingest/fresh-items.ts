// Items as they come, change and go: written durably, embedded by the item tower of the bundle, and there in the next answer. The store has
// the changes, so that servers which share one see each other's and a restart forgets none. One event loop of a server does this.

import { buildCatalogue, type ItemCatalogue } from '../../bundle/catalogue.ts';
import { catalogueItemColumns } from '../../bundle/weights/item-features.ts';
import { bundleItemTower, type ItemTower } from '../../bundle/weights/item-tower.ts';
import { bundleTensors } from '../../bundle/load.ts';
import { TandemError } from '../../errors.ts';
import type { ItemChange, ItemRecord } from '../../store/item-changes.ts';
import type { ItemChangeStore } from '../../store/store.ts';
import { logger } from '../../telemetry.ts';
import type { Engine } from '../engine/engine.ts';
import type { FreshParts, ItemOverlay } from '../engine/live-items.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { Served } from '../engine/served.ts';
import type { ChangedItem } from '../request/request-types.ts';

/** What became of a request's items. */
export interface ItemsReport {
  /** Distinct items that are on disk, and in every answer from now on, as the request has them. */
  readonly changed: number;
  /** Categories that the bundle does not know: they count for filters of a later one. */
  readonly unknown_categories: readonly string[];
}

/** The bundles that items are added to: ServedBundles. */
interface Bundles {
  readonly served: Served;
  withItems: (engine: Engine) => Engine;
  refreshItems(): Promise<void>;
}

/** An exact scan of as many takes a tenth of a millisecond: more of them belong in a bundle. */
export const MAX_FRESH_ITEMS = 10_000;
/** How soon what another server wrote is seen here. */
const LOOK_MS = 500;
/** After so long nobody goes back to a bundle without what the current one has. */
const FORGET_SECONDS = 30 * 24 * 3600;

export class FreshItems {
  readonly #bundles: Bundles;
  readonly #store: ItemChangeStore;
  readonly #metrics: ServerMetrics;
  readonly #towers = new WeakMap<Engine['bundle'], ItemTower>();
  /** The newest change of each item. */
  #changes: ReadonlyMap<string, ItemChange> = new Map();
  #version = 0;
  /** What came while a write was under way: written and shown together. */
  #waiting: ChangedItem[] = [];
  #writing: readonly ChangedItem[] = [];
  #next: Promise<void> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #failing = false;
  /** The bundle that was active when changes were last forgotten. */
  #lookedOver: string | undefined;

  constructor(bundles: Bundles, store: ItemChangeStore, metrics: ServerMetrics) {
    this.#bundles = bundles;
    this.#store = store;
    this.#metrics = metrics;
    bundles.withItems = (engine) => this.#withItems(engine);
  }

  /** Takes what the store has, then looks at intervals for what others write. A store that is away is asked again. */
  async follow(): Promise<void> {
    await this.#inTurn(() => this.#look());
    this.#timer = setInterval(() => void this.#inTurn(() => this.#look()), LOOK_MS);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#last;
  }

  /**
   * Resolves when the changes survive a crash and every answer from then on follows them.
   *
   * @param items - of one item the last counts.
   * @throws TandemError ERR_STORE_UNAVAILABLE; ERR_ITEMS_FULL when there would be more than MAX_FRESH_ITEMS beside the bundle's:
   *   then nothing changed.
   */
  async change(items: readonly ChangedItem[]): Promise<ItemsReport> {
    const { active } = this.#bundles.served;
    this.#expectRoom(active, items);
    const known = new Set(active.bundle.schema.categories);
    const named = items.flatMap(({ record }) => record?.categories ?? []);
    this.#waiting.push(...items);
    this.#next ??= this.#inTurn(async () => {
      this.#writing = this.#waiting;
      this.#waiting = [];
      this.#next = undefined;
      await this.#write(this.#writing).finally(() => {
        this.#writing = [];
      });
    });
    await this.#next;
    const changed = new Set(items.map(({ item }) => item)).size;
    this.#metrics.itemChanges.inc(changed);
    return {
      changed,
      unknown_categories: [
        ...new Set(named.map(({ category }) => category).filter((name) => !known.has(name))),
      ],
    };
  }

  #expectRoom(active: Engine, items: readonly ChangedItem[]): void {
    const fresh = active.items.count - active.items.base.count;
    const asked = new Set(
      [...this.#writing, ...this.#waiting, ...items]
        .filter(
          ({ item, record }) =>
            record !== undefined && active.items.row(item) < active.items.base.count,
        )
        .map(({ item }) => item),
    ).size;
    if (fresh + asked > MAX_FRESH_ITEMS)
      throw new TandemError(
        'ERR_ITEMS_FULL',
        `Expected at most ${MAX_FRESH_ITEMS} items beside those of the bundle, received ${asked} for the ${fresh} that are there. Publish a bundle that has them.`,
      );
  }

  async #write(items: readonly ChangedItem[]): Promise<void> {
    const atSeconds = Date.now() / 1000;
    const changes = items.map((changed): ItemChange => ({ ...changed, atSeconds }));
    const version = await this.#store.writeItemChanges(changes);
    // Another server's changes came in between: theirs belong to this version, too.
    if (version !== this.#version + 1) {
      await this.#read();
      return;
    }
    const next = new Map(this.#changes);
    for (const change of changes) next.set(change.item, change);
    await this.#show(next, version);
  }

  async #look(): Promise<void> {
    try {
      if ((await this.#store.itemChangesVersion()) !== this.#version) await this.#read();
      const { bundle } = this.#bundles.served.active;
      if (this.#lookedOver !== bundle.directory) await this.#forget(bundle);
      this.#lookedOver = bundle.directory;
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) logger.error({ err: error }, 'changes of items cannot be read');
      this.#failing = true;
    }
  }

  async #read(): Promise<void> {
    const { version, changes } = await this.#store.readItemChanges();
    await this.#show(new Map(changes.map((change) => [change.item, change])), version);
  }

  async #show(changes: ReadonlyMap<string, ItemChange>, version: number): Promise<void> {
    this.#changes = changes;
    this.#version = version;
    await this.#bundles.refreshItems();
  }

  /** Old changes that the active bundle has: nobody goes back to a bundle without them. */
  async #forget(bundle: Engine['bundle']): Promise<void> {
    const until = Date.now() / 1000 - FORGET_SECONDS;
    const known = [...this.#changes.values()].filter(
      (change) => change.atSeconds < until && isInBundle(bundle, change),
    );
    if (known.length === 0) return;
    await this.#store.forgetItemChanges(known.map(({ item }) => item));
    await this.#read();
  }

  #withItems(engine: Engine): Engine {
    if (engine.items.version === this.#version) return engine;
    const { catalogue } = engine.bundle;
    const tombstones: number[] = [];
    const fresh: { item: string; record: ItemRecord; baseRow: number }[] = [];
    for (const change of this.#changes.values()) {
      if (isInBundle(engine.bundle, change)) continue;
      const { item, record } = change;
      const baseRow = catalogue.row(item);
      if (baseRow >= 0) tombstones.push(baseRow);
      if (record !== undefined) fresh.push({ item, record, baseRow });
    }
    const overlay: ItemOverlay = {
      version: this.#version,
      tombstones: Int32Array.from(tombstones),
      fresh: fresh.length === 0 ? undefined : this.#embed(engine, fresh),
    };
    return engine.withItems(overlay);
  }

  #embed(
    engine: Engine,
    fresh: readonly { item: string; record: ItemRecord; baseRow: number }[],
  ): FreshParts {
    const catalogue = catalogueOf(fresh, engine.bundle.schema.categories);
    const baseRows = Int32Array.from(fresh, ({ baseRow }) => baseRow);
    const made = this.#towerOf(engine).vectors(catalogueItemColumns(catalogue), baseRows);
    const vectors = new Float32Array(new SharedArrayBuffer(made.byteLength));
    vectors.set(made);
    return { catalogue: catalogue.parts(), vectors, baseRows };
  }

  /** Made when first needed. */
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

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(action);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

/** Whether a bundle is as the change would make it: it has the item, from newer data, or never had what is gone. */
function isInBundle(
  { catalogue, manifest }: Engine['bundle'],
  { item, atSeconds, record }: ItemChange,
): boolean {
  const has = catalogue.row(item) >= 0;
  return record === undefined ? !has : has && atSeconds < manifest.dataUntilSeconds;
}

/** Items of the store as a catalogue of their own; categories that the bundle does not know fall away. */
function catalogueOf(
  fresh: readonly { readonly item: string; readonly record: ItemRecord }[],
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
