// Accepts changes of items: writes them durably and shows them in the next answer. The store holds
// the changes, so that servers which share one see each other's, and a restart loses none. A change
// is built into a catalogue before it is written, so that every stored change can be served. One
// event loop of a server does this.

import { TandemError } from '../../errors.ts';
import { SerialQueue } from '../../serial-queue.ts';
import { decodeItemChange, encodeItemChange, type ItemChange } from '../../store/item-changes.ts';
import type { ItemChangeStore } from '../../store/store.ts';
import { logger } from '../../telemetry.ts';
import type { Engine } from '../engine/engine.ts';
import { isInBundle, type ItemOverlays } from '../engine/item-overlays.ts';
import type { Served } from '../engine/served.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import { invalid } from '../request/parse-body.ts';
import type { ChangedItem } from '../request/request-types.ts';

/** The outcome of a request that changes items. */
export interface ItemsReport {
  /**
   * Distinct items that are on disk and, from now on, in every answer as the request describes
   * them.
   */
  readonly changed: number;
  /** Categories that the bundle does not know. They count for filters once a bundle knows them. */
  readonly unknown_categories: readonly string[];
}

/** The bundles whose items change: ServedBundles. */
interface Bundles {
  readonly served: Served;
  refreshItems(): Promise<void>;
}

/** An exact scan of this many items takes 0.1 ms. More of them belong in a bundle. */
const MAX_FRESH_ITEMS = 10_000;
/** Interval at which this server looks for changes that other servers wrote. */
const POLL_INTERVAL_MS = 500;
/**
 * After this time nobody rolls back to a bundle that lacks a change which the current bundle has.
 */
const FORGET_SECONDS = 30 * 24 * 3600;

export class FreshItems {
  readonly #bundles: Bundles;
  readonly #overlays: ItemOverlays;
  readonly #store: ItemChangeStore;
  readonly #metrics: ServerMetrics;
  /** Reads and writes of the store's changes, one at a time. */
  readonly #queue = new SerialQueue();
  /** Changes that arrived during a write. The next write takes all of them together. */
  #waiting: ChangedItem[] = [];
  #writing: readonly ChangedItem[] = [];
  /** The write that takes `#waiting`; undefined while nothing waits. */
  #nextWrite: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failing = false;
  /** Directory of the bundle that was active when changes were last forgotten. */
  #forgottenFor: string | undefined;

  /** @param overlays - the changes that `bundles` serves; nothing else may replace them. */
  constructor(
    bundles: Bundles,
    overlays: ItemOverlays,
    store: ItemChangeStore,
    metrics: ServerMetrics,
  ) {
    this.#bundles = bundles;
    this.#overlays = overlays;
    this.#store = store;
    this.#metrics = metrics;
  }

  /**
   * Shows the changes in the store, then polls for changes that other servers write. A store that
   * is unavailable is asked again at the next poll.
   */
  async follow(): Promise<void> {
    await this.#queue.run(() => this.#poll());
    this.#timer = setInterval(() => void this.#queue.run(() => this.#poll()), POLL_INTERVAL_MS);
    this.#timer.unref();
  }

  /** Stops polling and waits for writes under way. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#queue.idle();
  }

  /**
   * Changes items. The promise resolves when the changes survive a crash and every later answer
   * follows them.
   *
   * @param items - if an item is in it twice, the last change counts.
   * @throws TandemError ERR_STORE_UNAVAILABLE; ERR_ITEMS_FULL when the store would have more than
   *   MAX_FRESH_ITEMS fresh items; ERR_INVALID_REQUEST naming an item that a served bundle cannot
   *   serve. Then nothing has changed.
   */
  async change(items: readonly ChangedItem[]): Promise<ItemsReport> {
    const { active } = this.#bundles.served;
    this.#requireRoom(active, items);
    this.#requireUsable(items);
    const known = new Set(active.bundle.schema.categories);
    const named = items.flatMap(({ record }) => record?.categories ?? []);
    this.#waiting.push(...items);
    this.#nextWrite ??= this.#queue.run(() => this.#writeWaiting());
    await this.#nextWrite;
    const changed = new Set(items.map(({ item }) => item)).size;
    this.#metrics.itemChanges.inc(changed);
    return {
      changed,
      unknown_categories: [
        ...new Set(named.map(({ category }) => category).filter((name) => !known.has(name))),
      ],
    };
  }

  #requireRoom(active: Engine, items: readonly ChangedItem[]): void {
    const present = active.items.count - active.items.base.count;
    const added = new Set(
      [...this.#writing, ...this.#waiting, ...items]
        .filter(
          ({ item, record }) =>
            record !== undefined && active.items.row(item) < active.items.base.count,
        )
        .map(({ item }) => item),
    ).size;
    if (present + added > MAX_FRESH_ITEMS)
      throw new TandemError(
        'ERR_ITEMS_FULL',
        `Expected at most ${MAX_FRESH_ITEMS} items beside those of the bundle, received ${added} ` +
          `for the ${present} that are there. Publish a bundle that has them.`,
      );
  }

  /** Builds the request's changes as they would be read from the store, and throws them away. */
  #requireUsable(items: readonly ChangedItem[]): void {
    const { active, previous } = this.#bundles.served;
    const changes = new Map(
      items.map((changed) => [
        changed.item,
        decodeItemChange(encodeItemChange({ ...changed, atSeconds: Date.now() / 1000 })),
      ]),
    );
    for (const engine of previous === undefined ? [active] : [active, previous]) {
      const [unusable] = this.#overlays.unusable(engine, [...changes.values()]);
      if (unusable === undefined) continue;
      const i = items.findLastIndex(({ item }) => item === unusable.item);
      throw invalid(
        `Expected an item that bundle ${engine.bundle.manifest.bundleId.slice(0, 16)} can serve ` +
          `for items.${i}, but embedding it failed: ${unusable.reason.message} ` +
          'Nothing was changed: leave out its categories, advertiser or price.',
        `items.${i}`,
      );
    }
  }

  async #writeWaiting(): Promise<void> {
    this.#writing = this.#waiting;
    this.#waiting = [];
    this.#nextWrite = undefined;
    try {
      await this.#write(this.#writing);
    } finally {
      this.#writing = [];
    }
  }

  async #write(items: readonly ChangedItem[]): Promise<void> {
    const atSeconds = Date.now() / 1000;
    const changes = items.map((changed): ItemChange => ({ ...changed, atSeconds }));
    const version = await this.#store.writeItemChanges(changes);
    // Another server wrote in between: its changes belong to this version, too.
    if (version !== this.#overlays.version + 1) {
      await this.#read();
      return;
    }
    const next = new Map(this.#overlays.changes);
    for (const change of changes) next.set(change.item, change);
    await this.#show(next, version, this.#overlays.damaged);
  }

  async #poll(): Promise<void> {
    try {
      if ((await this.#store.itemChangesVersion()) !== this.#overlays.version) await this.#read();
      const { bundle } = this.#bundles.served.active;
      if (this.#forgottenFor !== bundle.directory) await this.#forget(bundle);
      this.#forgottenFor = bundle.directory;
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) logger.error({ err: error }, 'changes of items cannot be read');
      this.#failing = true;
    }
  }

  async #read(): Promise<void> {
    const { version, changes, damaged } = await this.#store.readItemChanges();
    for (const item of damaged)
      logger.error({ item }, 'change of an item skipped: damaged. Put or delete the item again');
    const newest = new Map(changes.map((change) => [change.item, change]));
    await this.#show(newest, version, damaged.length);
  }

  async #show(
    changes: ReadonlyMap<string, ItemChange>,
    version: number,
    damaged: number,
  ): Promise<void> {
    this.#overlays.replace(changes, version, damaged);
    await this.#bundles.refreshItems();
  }

  /** Removes old changes that the active bundle has from the store. */
  async #forget(bundle: Engine['bundle']): Promise<void> {
    const until = Date.now() / 1000 - FORGET_SECONDS;
    const known = [...this.#overlays.changes.values()].filter(
      (change) => change.atSeconds < until && isInBundle(bundle, change),
    );
    if (known.length === 0) return;
    await this.#store.forgetItemChanges(known.map(({ item }) => item));
    await this.#read();
  }
}
