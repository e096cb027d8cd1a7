// The further event loops of a server, each on its own thread. They share the port, native objects,
// catalogue columns and rates with the leading loop. Bundles and keys are loaded by the leading
// loop alone, which sends them here by message, so no request waits for a lock.

import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { AggregatorRegistry, type MetricObject } from 'prom-client';
import type { ServerSettings } from '../../config.ts';
import { TandemError } from '../../errors.ts';
import { packageRoot } from '../../package-root.ts';
import { logger } from '../../telemetry.ts';
import type { SharedKey } from '../admission/api-keys.ts';
import type { Engine, SharedEngine } from '../engine/engine.ts';
import type { ItemOverlay } from '../engine/live-items.ts';
import type { Served } from '../engine/served.ts';
import type { IngestReport } from '../ingest/fresh-events.ts';
import type { ItemsReport } from '../ingest/fresh-items.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { ChangedItem, IngestedEvent } from '../request/request-types.ts';
import type { TransportChoice } from '../web/choose-transport.ts';
import { ThreadCalls, type Answers } from './thread-calls.ts';
import type { Writers } from './writers.ts';

/** An engine, by the number of its bundle. Members that the thread has already are undefined. */
export interface EngineReference {
  readonly number: number;
  readonly shared: SharedEngine | undefined;
  readonly items: ItemOverlay | undefined;
}

export interface ServedReferences {
  readonly active: EngineReference;
  readonly previous: EngineReference | undefined;
}

/** The functions that a loop thread answers. */
export interface LoopAnswers extends Answers {
  readonly serve: (served: ServedReferences) => void;
  readonly adoptKeys: (keys: readonly SharedKey[]) => void;
  readonly listen: (port: number) => Promise<void>;
  readonly drain: (argument: undefined) => void;
  readonly setLogLevel: (level: string) => void;
  readonly reopenLog: (argument: undefined) => void;
  readonly metrics: (argument: undefined) => Promise<MetricObject[]>;
  readonly close: (argument: undefined) => Promise<number>;
}

/** What a loop thread is started with. */
export interface LoopData {
  readonly settings: ServerSettings;
  readonly transport: TransportChoice;
  /** Salt of the user hashes in the access log. */
  readonly salt: Uint8Array;
}

/** The functions that the leading loop answers. */
export interface LeaderAnswers extends Answers {
  /** The metrics of all loops in Prometheus' text format. */
  readonly scrape: (argument: undefined) => Promise<string>;
  readonly ingest: (events: readonly IngestedEvent[]) => Promise<IngestReport>;
  readonly changeItems: (items: readonly ChangedItem[]) => Promise<ItemsReport>;
}

class LoopThread {
  readonly calls: ThreadCalls<LoopAnswers>;
  readonly ended: Promise<void>;
  /** The bundles that the thread has engines of: their numbers, and the version of their items. */
  #engines = new Map<Engine['bundle'], { readonly number: number; readonly version: number }>();
  #lastNumber = 0;

  constructor(data: LoopData, answers: Answers, isClosing: () => boolean) {
    // The compiled file, as in bundle-loader.ts.
    const file = join(packageRoot(), 'dist', 'serve', 'process', 'loop-thread.js');
    const worker = new Worker(file, { workerData: data, execArgv: [] });
    this.calls = new ThreadCalls(worker, answers);
    let failure: Error | undefined;
    worker.once('error', (error) => {
      failure = error;
    });
    this.ended = new Promise((resolve) => {
      worker.once('exit', (code) => {
        const error =
          failure ??
          new Error(
            `Expected the event loop to run until it is closed, but it ended with ${code}.`,
          );
        this.calls.abandon(error);
        resolve();
        if (isClosing()) return;
        // Its connections are lost, and the kernel would still give it new ones. Only a new process
        // helps.
        logger.fatal({ err: error }, 'an event loop has died');
        process.exit(1);
      });
    });
  }

  /** Resolves when the thread answers its next micro-batch from these engines. */
  serve({ active, previous }: Served): Promise<void> {
    const before = this.#engines;
    this.#engines = new Map();
    const refer = (engine: Engine): EngineReference => {
      const known = before.get(engine.bundle);
      const number = known?.number ?? ++this.#lastNumber;
      const { version, overlay } = engine.items;
      this.#engines.set(engine.bundle, { number, version });
      return {
        number,
        shared: known === undefined ? engine.share() : undefined,
        items: (known?.version ?? 0) === version ? undefined : overlay,
      };
    };
    return this.calls.call('serve', {
      active: refer(active),
      previous: previous && refer(previous),
    });
  }
}

/**
 * @throws TandemError ERR_CONFIG_INVALID when the transport cannot share a port among the event
 *   loops.
 */
export function requirePortSharing(eventLoops: number, { name, reason }: TransportChoice): void {
  if (eventLoops === 1 || name === 'uws') return;
  throw new TandemError(
    'ERR_CONFIG_INVALID',
    `Expected eventLoops 1 with transport "node", received ${eventLoops}: several loops on one ` +
      `port need transport "uws", and ${reason}. Start several processes behind a balancer ` +
      'instead.',
    { details: { setting: 'eventLoops' } },
  );
}

export class LoopThreads {
  readonly #threads: readonly LoopThread[];
  readonly #metrics: ServerMetrics;
  #closing = false;

  /**
   * Starts the threads. They answer requests after serve() and listen().
   *
   * @param metrics - the metrics of the leading loop.
   * @param writers - of the leading loop; the threads pass events and items to them.
   */
  constructor(count: number, data: LoopData, metrics: ServerMetrics, writers: Writers) {
    this.#metrics = metrics;
    const answers = {
      scrape: () => this.scrape(),
      ...(writers.ingest && { ingest: writers.ingest }),
      ...(writers.changeItems && { changeItems: writers.changeItems }),
    };
    this.#threads = Array.from(
      { length: count },
      () => new LoopThread(data, answers, () => this.#closing),
    );
  }

  /** The metrics of all loops, the leading one included, in Prometheus' text format. */
  async scrape(): Promise<string> {
    const { registry } = this.#metrics;
    if (this.#threads.length === 0) return registry.metrics();
    const [own, others] = await Promise.all([
      registry.getMetricsAsJSON(),
      this.#callAll('metrics', undefined),
    ]);
    return AggregatorRegistry.aggregate([own, ...others]).metrics();
  }

  /** Sends engines to the threads. While they close, it does nothing, as #tell(). */
  async serve(served: Served): Promise<void> {
    if (!this.#closing) await Promise.all(this.#threads.map((thread) => thread.serve(served)));
  }

  adoptKeys(keys: readonly SharedKey[]): Promise<void> {
    return this.#tell('adoptKeys', keys);
  }

  /** @throws the error of an event loop that cannot start. */
  async listen(port: number): Promise<void> {
    await this.#callAll('listen', port);
  }

  drain(): Promise<void> {
    return this.#tell('drain', undefined);
  }

  setLogLevel(level: string): Promise<void> {
    return this.#tell('setLogLevel', level);
  }

  reopenLog(): Promise<void> {
    return this.#tell('reopenLog', undefined);
  }

  /**
   * Closes every loop, as EventLoop.close(), and resolves when the threads have ended.
   *
   * @returns the number of requests that were not answered.
   */
  async close(): Promise<number> {
    this.#closing = true;
    const unanswered = await this.#callAll('close', undefined);
    await Promise.all(this.#threads.map(({ ended }) => ended));
    return unanswered.reduce((sum, count) => sum + count, 0);
  }

  /**
   * Calls every thread. While they close, it does nothing: a watched file or a signal may still
   * come then.
   */
  async #tell<Name extends keyof LoopAnswers & string>(
    name: Name,
    argument: Parameters<LoopAnswers[Name]>[0],
  ): Promise<void> {
    if (!this.#closing) await this.#callAll(name, argument);
  }

  #callAll<Name extends keyof LoopAnswers & string>(
    name: Name,
    argument: Parameters<LoopAnswers[Name]>[0],
  ): Promise<Awaited<ReturnType<LoopAnswers[Name]>>[]> {
    return Promise.all(this.#threads.map(({ calls }) => calls.call(name, argument)));
  }
}
