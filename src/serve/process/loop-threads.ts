// Further event loops of a server, each on a thread of its own: they share port, native objects, catalogue columns and rates with
// the first one, which leads. It loads bundles and keys and tells them; nothing else is shared, so that no request waits for a lock.

import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { MetricObject } from 'prom-client';
import type { ServerSettings } from '../../config.ts';
import { TandemError } from '../../errors.ts';
import { packageRoot } from '../../native/binding.ts';
import { logger } from '../../telemetry.ts';
import type { SharedKey } from '../admission/api-keys.ts';
import type { Engine, SharedEngine } from '../engine/engine.ts';
import type { IngestReport } from '../ingest/fresh-events.ts';
import type { ItemsReport } from '../ingest/fresh-items.ts';
import type { ItemOverlay } from '../engine/live-items.ts';
import { ThreadCalls } from './thread-calls.ts';
import type { ChangedItem, IngestedEvent } from '../request/request-types.ts';
import type { Served } from '../engine/served.ts';

/** An engine by the number of its bundle, and with what of it the thread has not seen. */
export interface EngineReference {
  readonly number: number;
  readonly shared: SharedEngine | undefined;
  readonly items: ItemOverlay | undefined;
}

export interface ServedReferences {
  readonly active: EngineReference;
  readonly previous: EngineReference | undefined;
}

/** What loop-thread.ts answers. */
export interface LoopAnswers {
  readonly [name: string]: (argument: never) => unknown;
  readonly serve: (served: ServedReferences) => void;
  readonly adoptKeys: (keys: readonly SharedKey[]) => void;
  readonly listen: (port: number) => Promise<void>;
  readonly drain: (argument: undefined) => void;
  readonly setLogLevel: (level: string) => void;
  readonly reopenLog: (argument: undefined) => void;
  readonly metrics: (argument: undefined) => Promise<MetricObject[]>;
  readonly close: (argument: undefined) => Promise<number>;
}

/** What a thread starts with. */
export interface LoopData {
  readonly settings: ServerSettings;
  /** Of the access log. */
  readonly salt: Uint8Array;
}

/** What the leading loop answers. */
export interface LeaderAnswers {
  readonly [name: string]: (argument: never) => unknown;
  /** The metrics of all loops, as Prometheus reads them. */
  readonly scrape: (argument: undefined) => Promise<string>;
  readonly ingest: (events: readonly IngestedEvent[]) => Promise<IngestReport>;
  readonly changeItems: (items: readonly ChangedItem[]) => Promise<ItemsReport>;
}

class LoopThread {
  readonly calls: ThreadCalls<LoopAnswers>;
  readonly ended: Promise<void>;
  /** Bundles that the thread has engines of: their numbers, and which items. */
  #engines = new Map<Engine['bundle'], { readonly number: number; readonly version: number }>();
  #lastNumber = 0;

  constructor(data: LoopData, answers: LeaderAnswers, isClosing: () => boolean) {
    // What is built, as in bundle-loader.ts.
    const file = join(packageRoot(), 'dist', 'serve', 'process', 'loop-thread.js');
    const worker = new Worker(file, { workerData: data, execArgv: [] });
    this.calls = new ThreadCalls(worker, answers);
    let failure: Error | undefined;
    worker.once('error', (error) => {
      failure = error;
    });
    this.ended = new Promise((resolve) => {
      worker.once('exit', (code) => {
        const error = failure ?? new Error(`Expected it to run until closed, ended with ${code}.`);
        this.calls.abandon(error);
        resolve();
        if (isClosing()) return;
        // Its share of connections is lost, and the kernel would go on to give it new ones: only a new process helps.
        logger.fatal({ err: error }, 'an event loop has died');
        process.exit(1);
      });
    });
  }

  /** Resolves when the thread's next micro-batch is answered from these. */
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

export class LoopThreads {
  readonly #threads: readonly LoopThread[];
  #closing = false;

  constructor(count: number, data: LoopData, answers: LeaderAnswers) {
    const { settings } = data;
    if (count > 0 && settings.transport !== 'uws')
      throw new TandemError(
        'ERR_CONFIG_INVALID',
        `Expected eventLoops 1 with transport "${settings.transport}", received ${count + 1}: several loops on one port need transport "uws". Start several processes behind a balancer instead.`,
        { details: { setting: 'eventLoops' } },
      );
    this.#threads = Array.from(
      { length: count },
      () => new LoopThread(data, answers, () => this.#closing),
    );
  }

  /** Nothing once they are closing, as #tell(): a bundle that was being loaded then serves nobody. */
  async serve(served: Served): Promise<void> {
    if (!this.#closing) await Promise.all(this.#threads.map((thread) => thread.serve(served)));
  }

  adoptKeys(keys: readonly SharedKey[]): Promise<void> {
    return this.#tell('adoptKeys', keys);
  }

  /** @throws what an event loop throws that cannot start. */
  listen(port: number): Promise<unknown> {
    return this.#all('listen', port);
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

  metrics(): Promise<MetricObject[][]> {
    return this.#all('metrics', undefined);
  }

  /** Each as EventLoop.close(); resolves when the threads have ended. @returns requests that stayed unanswered. */
  async close(): Promise<number> {
    this.#closing = true;
    const unanswered = await this.#all('close', undefined);
    await Promise.all(this.#threads.map(({ ended }) => ended));
    return unanswered.reduce((sum, count) => sum + count, 0);
  }

  /** Nothing once they are closing: nobody is left to hear what a watched file or a signal says late. */
  async #tell<Name extends keyof LoopAnswers & string>(
    name: Name,
    argument: Parameters<LoopAnswers[Name]>[0],
  ): Promise<void> {
    if (!this.#closing) await this.#all(name, argument);
  }

  #all<Name extends keyof LoopAnswers & string>(
    name: Name,
    argument: Parameters<LoopAnswers[Name]>[0],
  ): Promise<Awaited<ReturnType<LoopAnswers[Name]>>[]> {
    return Promise.all(this.#threads.map(({ calls }) => calls.call(name, argument)));
  }
}
