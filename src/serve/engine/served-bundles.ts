// Decides which bundles answer requests: the active bundle, and the one before it for users whose
// state was made by the encoder of that bundle. A new bundle replaces the active one between two
// micro-batches, after it has passed every check.

import { basename, join, resolve } from 'node:path';
import {
  activateBundle,
  bundleBefore,
  readHistory,
  requireBundle,
  resolveBundle,
  rollbackBundle,
} from '../../bundle/current.ts';
import { readManifest } from '../../bundle/files.ts';
import type { ServerSettings } from '../../config.ts';
import { TandemError } from '../../errors.ts';
import { SerialQueue } from '../../serial-queue.ts';
import { logger } from '../../telemetry.ts';
import { openEngineOnThread } from './bundle-loader.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { Engine } from './engine.ts';
import { ItemOverlays } from './item-overlays.ts';
import { summarise, type Served } from './served.ts';

export class ServedBundles {
  readonly #path: string;
  readonly #plan: ServerSettings['plan'];
  readonly #metrics: ServerMetrics;
  readonly #overlays: ItemOverlays;
  readonly #listeners: ((served: Served) => Promise<unknown>)[] = [];
  readonly #swaps = new SerialQueue();
  #served: Served;
  /**
   * The directory that `current` named when it was refused. It is not tried again until `current`
   * names another.
   */
  #refused: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(
    path: string,
    plan: ServerSettings['plan'],
    metrics: ServerMetrics,
    overlays: ItemOverlays,
    active: Engine,
  ) {
    // An absolute path, as in resolveBundle(): engines in memory are found by their directory.
    this.#path = resolve(path);
    this.#plan = plan;
    this.#metrics = metrics;
    this.#overlays = overlays;
    this.#served = { active, previous: undefined };
    metrics.describeBundles(summarise(this.#served));
  }

  /**
   * Opens the bundle at `path`, or the current one of a directory of bundles.
   *
   * @param path - a directory of bundles, or one bundle, which is then served until the server
   *   stops.
   * @param overlays - the changes of items; call refreshItems() when they change.
   * @throws TandemError ERR_BUNDLE_NOT_FOUND, ERR_BUNDLE_INVALID, ERR_INDEX_INVALID.
   */
  static async open(
    path: string,
    plan: ServerSettings['plan'],
    metrics: ServerMetrics,
    overlays: ItemOverlays = new ItemOverlays(),
  ): Promise<ServedBundles> {
    const directory = resolveBundle(path);
    const active = await openEngineOnThread({ directory, plan, behindRequests: false });
    return new ServedBundles(path, plan, metrics, overlays, active);
  }

  get served(): Served {
    return this.#served;
  }

  /**
   * Loads and checks a published bundle, makes it current, and serves it. A bundle that is refused
   * never becomes current.
   *
   * @param name - name of the bundle's directory.
   * @throws TandemError ERR_BUNDLE_NOT_FOUND, ERR_BUNDLE_INVALID, ERR_INDEX_INVALID. Then the old
   *   bundle stays active.
   */
  activate(name: string): Promise<Engine> {
    return this.#swaps.run(() => {
      this.#requireDirectory();
      requireBundle(this.#path, name);
      return this.#swapTo(join(this.#path, name), () => {
        activateBundle(this.#path, name);
      });
    });
  }

  /**
   * Serves the bundle that was current before, without loading it if it is still in memory.
   *
   * @throws TandemError ERR_BUNDLE_NOT_FOUND when there is none.
   */
  rollback(): Promise<Engine> {
    return this.#swaps.run(() => {
      this.#requireDirectory();
      return this.#swapTo(join(this.#path, bundleBefore(this.#path)), () => {
        rollbackBundle(this.#path);
      });
    });
  }

  /**
   * Loads the bundle before the current one if it has another encoder. So after a restart, too,
   * users whose states were not encoded again are answered by the bundle of their state. A failure
   * is logged and costs these users their state.
   */
  restorePrevious(): Promise<void> {
    return this.#swaps.run(async () => {
      const { active, previous } = this.#served;
      const directory = this.#directoryBefore();
      if (previous !== undefined || directory === undefined) return;
      try {
        const { encoderId } = await readManifest(directory);
        if (encoderId === active.encoderId) return;
        await this.#serve({ active, previous: await this.#open(directory) });
      } catch (error) {
        logger.warn({ err: error, directory }, 'the bundle before the current one cannot serve');
      }
    });
  }

  /**
   * Serves changed items. Resolves when every event loop answers with them. It does not wait for a
   * swap under way: the new bundle of that swap gets the items, too.
   */
  refreshItems(): Promise<void> {
    return this.#serve(this.#served);
  }

  /**
   * Tells `listener` which engines are served, now and after every change. A change is complete
   * when the listener's promise has resolved.
   */
  async announceTo(listener: (served: Served) => Promise<unknown>): Promise<void> {
    this.#listeners.push(listener);
    await listener(this.#served);
  }

  /** Polls whether another bundle has become current, and serves it. */
  follow(intervalMs: number): void {
    this.#timer = setInterval(() => void this.#swaps.run(() => this.#poll()), intervalMs);
    this.#timer.unref();
  }

  /** Stops polling and waits for a swap under way. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#swaps.idle();
  }

  async #poll(): Promise<void> {
    let directory: string | undefined;
    try {
      directory = resolveBundle(this.#path);
      if (directory === this.#refused) return;
      // Another bundle is current now, so one that was refused before gets another try.
      this.#refused = undefined;
      await this.#swapTo(directory, () => undefined);
    } catch (error) {
      if (this.#refused !== (directory ?? this.#path))
        logger.error({ err: error, directory }, 'bundle refused: the old one serves on');
      this.#refused = directory ?? this.#path;
    }
  }

  /**
   * Swaps to a bundle. At most two bundles are in memory: the previous one is released before the
   * new one is loaded, and is loaded again if the new one is refused.
   *
   * @param onLoaded - called when the new bundle has passed every check, before it is served.
   */
  async #swapTo(directory: string, onLoaded: () => void): Promise<Engine> {
    const startedMs = performance.now();
    const { active } = this.#served;
    if (directory === active.bundle.directory) {
      onLoaded();
      return active;
    }
    const before = this.#served.previous?.bundle.directory;
    let next: Engine;
    try {
      next = this.#inMemory(directory) ?? (await this.#openInPlaceOfPrevious(directory));
      onLoaded();
    } catch (error) {
      this.#metrics.bundleSwaps.inc({ outcome: 'refused' });
      if (before !== undefined && this.#served.previous === undefined)
        await this.#serve({
          active,
          previous: await this.#open(before).catch(() => undefined),
        });
      throw error;
    }
    this.#refused = undefined;
    await this.#serve({ active: next, previous: active });
    this.#metrics.bundleSwaps.inc({ outcome: 'activated' });
    logger.info(
      {
        bundle: next.bundle.manifest.bundleId,
        before: active.bundle.manifest.bundleId,
        same_encoder: next.encoderId === active.encoderId,
        took_ms: Math.round(performance.now() - startedMs),
      },
      'bundle activated',
    );
    return next;
  }

  #inMemory(directory: string): Engine | undefined {
    const { previous } = this.#served;
    return previous?.bundle.directory === directory ? previous : undefined;
  }

  /**
   * No variable may refer to the previous engine here: its memory must be free while the new one is
   * loaded.
   */
  async #openInPlaceOfPrevious(directory: string): Promise<Engine> {
    await this.#serve({ active: this.#served.active, previous: undefined });
    return this.#open(directory);
  }

  #open(directory: string): Promise<Engine> {
    return openEngineOnThread({ directory, plan: this.#plan, behindRequests: true });
  }

  async #serve({ active, previous }: Served): Promise<void> {
    const served = {
      active: this.#overlays.apply(active),
      previous: previous && this.#overlays.apply(previous),
    };
    this.#served = served;
    this.#metrics.describeBundles(summarise(served));
    await Promise.all(this.#listeners.map((listener) => listener(served)));
  }

  #directoryBefore(): string | undefined {
    if (readHistory(this.#path).length < 2) return undefined;
    try {
      return join(this.#path, bundleBefore(this.#path));
    } catch {
      return undefined;
    }
  }

  #requireDirectory(): void {
    if (readHistory(this.#path).length > 0) return;
    throw new TandemError(
      'ERR_BUNDLE_NOT_FOUND',
      'Expected a directory of bundles to choose from, but this server serves ' +
        `${basename(this.#path)} alone. Start it on the directory that bundles are published to.`,
    );
  }
}
