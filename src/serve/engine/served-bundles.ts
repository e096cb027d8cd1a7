// The bundles that requests are answered from: the one that counts, and the one before it, for users whose state is still
// of its encoder. Another one is taken in only after every gate, and replaces the old between two micro-batches.

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
import { logger } from '../../telemetry.ts';
import { openEngineOnThread } from './bundle-loader.ts';
import type { Engine } from './engine.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import { summarise, type Served } from './served.ts';

export class ServedBundles {
  readonly #path: string;
  readonly #plan: ServerSettings['plan'];
  readonly #metrics: ServerMetrics;
  #served: Served;
  /** Swaps happen one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  /** What `current` named when it was refused: not tried again until it names something else. */
  #refused: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Gives an engine the items that came after its bundle was published. */
  withItems: (engine: Engine) => Engine = (engine) => engine;
  /** Tells the other event loops; a swap is over when they answer from the new bundle, too. */
  onServe: (served: Served) => Promise<unknown> = () => Promise.resolve();

  private constructor(
    path: string,
    plan: ServerSettings['plan'],
    metrics: ServerMetrics,
    active: Engine,
  ) {
    // As resolveBundle() names bundles: two names of one directory would be two bundles.
    this.#path = resolve(path);
    this.#plan = plan;
    this.#metrics = metrics;
    this.#served = { active, previous: undefined };
    metrics.describeBundles(summarise(this.#served));
  }

  /**
   * Opens what `path` stands for.
   *
   * @param path - a directory of bundles, or a bundle, which then is served for good.
   * @throws TandemError ERR_BUNDLE_NOT_FOUND, ERR_BUNDLE_INVALID, ERR_INDEX_INVALID.
   */
  static async open(
    path: string,
    plan: ServerSettings['plan'],
    metrics: ServerMetrics,
  ): Promise<ServedBundles> {
    const directory = resolveBundle(path);
    const active = await openEngineOnThread({ directory, plan, behindRequests: false });
    return new ServedBundles(path, plan, metrics, active);
  }

  get served(): Served {
    return this.#served;
  }

  /**
   * Takes a published bundle into service and makes it current, in this order: one that a gate refuses is never named.
   *
   * @param name - of its directory.
   * @throws TandemError ERR_BUNDLE_NOT_FOUND; what a gate throws, and then the old bundle serves on.
   */
  activate(name: string): Promise<Engine> {
    return this.#inTurn(() => {
      this.#requireMany();
      requireBundle(this.#path, name);
      return this.#take(join(this.#path, name), () => {
        activateBundle(this.#path, name);
      });
    });
  }

  /**
   * Takes the bundle that was current before back into service; at once where it is still in memory.
   *
   * @throws TandemError ERR_BUNDLE_NOT_FOUND when there is none.
   */
  rollback(): Promise<Engine> {
    return this.#inTurn(() => {
      this.#requireMany();
      return this.#take(join(this.#path, bundleBefore(this.#path)), () => {
        rollbackBundle(this.#path);
      });
    });
  }

  /**
   * Loads the bundle before the current one when its encoder is another: after a restart, too, users who have not been
   * encoded again are answered by the bundle that their state belongs to. A failure costs these states and is logged.
   */
  restorePrevious(): Promise<void> {
    return this.#inTurn(async () => {
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

  /** Items have changed. Resolves when every event loop answers from them; waits for no swap under way, which takes them, too. */
  refreshItems(): Promise<void> {
    return this.#serve(this.#served);
  }

  /** Looks at intervals whether another bundle has become current, and takes it into service. */
  follow(intervalMs: number): void {
    this.#timer = setInterval(() => void this.#inTurn(() => this.#look()), intervalMs);
    this.#timer.unref();
  }

  /** Stops following, and waits for a swap under way. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#last;
  }

  async #look(): Promise<void> {
    let directory: string | undefined;
    try {
      directory = resolveBundle(this.#path);
      if (directory === this.#served.active.bundle.directory || directory === this.#refused) return;
      await this.#take(directory, () => undefined);
    } catch (error) {
      if (this.#refused !== (directory ?? this.#path))
        logger.error({ err: error, directory }, 'bundle refused: the old one serves on');
      this.#refused = directory ?? this.#path;
    }
  }

  /**
   * The swap. No more than two bundles are kept: the one before last is let go before the new one comes, and is read again if
   * that one is refused.
   */
  async #take(directory: string, passed: () => void): Promise<Engine> {
    const startedMs = performance.now();
    const { active } = this.#served;
    if (directory === active.bundle.directory) {
      passed();
      return active;
    }
    const before = this.#served.previous?.bundle.directory;
    let next: Engine;
    try {
      next = this.#inMemory(directory) ?? (await this.#openInPlaceOfPrevious(directory));
      passed();
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

  /** Nothing here may hold on to the previous engine: it is garbage while the new one is read. */
  async #openInPlaceOfPrevious(directory: string): Promise<Engine> {
    await this.#serve({ active: this.#served.active, previous: undefined });
    return this.#open(directory);
  }

  #open(directory: string): Promise<Engine> {
    return openEngineOnThread({ directory, plan: this.#plan, behindRequests: true });
  }

  async #serve({ active, previous }: Served): Promise<void> {
    this.#served = {
      active: this.withItems(active),
      previous: previous && this.withItems(previous),
    };
    this.#metrics.describeBundles(summarise(this.#served));
    await this.onServe(this.#served);
  }

  #directoryBefore(): string | undefined {
    if (readHistory(this.#path).length < 2) return undefined;
    try {
      return join(this.#path, bundleBefore(this.#path));
    } catch {
      return undefined;
    }
  }

  #requireMany(): void {
    if (readHistory(this.#path).length > 0) return;
    throw new TandemError(
      'ERR_BUNDLE_NOT_FOUND',
      `Expected a directory of bundles to choose from, but this server serves ${basename(this.#path)} alone. Start it on the directory that bundles are published to.`,
    );
  }

  #inTurn<T>(swap: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(swap);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
