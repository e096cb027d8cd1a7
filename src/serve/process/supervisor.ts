// Keeps a server running. It restarts a server that dies, the first time at once. In a crash loop
// it rolls back to the previous bundle. It decides by the times of the deaths and the current
// bundle alone.

import { spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { bundleBefore, readHistory, rollbackBundle } from '../../bundle/current.ts';
import { TandemError } from '../../errors.ts';
import { logger } from '../../telemetry.ts';
import { withSearchThreads } from './search-threads.ts';

/** This many deaths within the window are a crash loop. */
const LOOP_DEATHS = 3;
const LOOP_WINDOW_MS = 60_000;
/** Waiting time before a restart. It doubles with each death in the window, from the second on. */
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 10_000;

export interface Supervised {
  /** Arguments of node: the program and its own. */
  readonly command: readonly string[];
  /** A directory of bundles, or one bundle, which cannot be rolled back. */
  readonly bundles: string;
}

export class Supervisor {
  readonly #supervised: Supervised;
  #child: ChildProcess | undefined;
  readonly #stopped = new AbortController();
  /** Times of the deaths within the window. */
  #deathsMs: number[] = [];
  /**
   * Whether this crash loop has rolled back already. One rollback may help. Further ones would undo
   * the work of days because, say, a port is in use.
   */
  #rolledBack = false;

  constructor(supervised: Supervised) {
    this.#supervised = supervised;
  }

  /**
   * Runs until the server ends by itself or is told to stop.
   *
   * @returns the exit status to end with.
   */
  async run(): Promise<number> {
    for (;;) {
      const startedMs = performance.now();
      const { code, signal } = await this.#runOnce();
      if (this.#stopped.signal.aborted || code === 0) return code ?? 1;
      const nowMs = performance.now();
      if (nowMs - startedMs >= LOOP_WINDOW_MS) this.#rolledBack = false;
      this.#deathsMs = [...this.#deathsMs, nowMs].filter((ms) => nowMs - ms < LOOP_WINDOW_MS);
      const deaths = this.#deathsMs.length;
      logger.error({ code, signal, deaths_in_a_minute: deaths }, 'the server died');
      if (deaths >= LOOP_DEATHS && !this.#rolledBack) this.#rollBack();
      const waitMs = deaths < 2 ? 0 : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (deaths - 2));
      try {
        await sleep(waitMs, undefined, { signal: this.#stopped.signal });
      } catch {
        return 0;
      }
    }
  }

  /** Passes a signal to the server. A signal that stops the server stops the supervisor, too. */
  signal(signal: NodeJS.Signals): void {
    if (signal === 'SIGTERM' || signal === 'SIGINT') this.#stopped.abort();
    this.#child?.kill(signal);
  }

  #runOnce(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [...this.#supervised.command], {
        stdio: 'inherit',
        env: withSearchThreads(process.env),
      });
      this.#child = child;
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        this.#child = undefined;
        resolve({ code, signal });
      });
    });
  }

  #rollBack(): void {
    const { bundles } = this.#supervised;
    try {
      const [current] = readHistory(bundles);
      bundleBefore(bundles);
      const name = rollbackBundle(bundles);
      this.#rolledBack = true;
      logger.error({ from: current, to: name }, 'crash loop: rolled back to the bundle before');
    } catch (error) {
      if (!(error instanceof TandemError)) throw error;
      logger.error({ err: error }, 'crash loop, and no bundle to roll back to');
    }
  }
}
