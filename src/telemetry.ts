// What the program reports while it runs: one logger, and the progress of long jobs. Progress goes
// to the listener of the job; without one, it is a bar on a terminal and log records elsewhere.

import { AsyncLocalStorage } from 'node:async_hooks';
import { pino, type Logger } from 'pino';

/**
 * Writes JSON lines to standard error, so that standard output stays free for results.
 * TANDEM_LOG_LEVEL sets the level.
 */
export const logger: Logger = pino(
  { level: process.env['TANDEM_LOG_LEVEL'] ?? 'info', base: null },
  pino.destination({ dest: 2, sync: true }),
);

export interface Progress {
  /** Reports `done` units of the total, with a short note on the state, e.g. a loss. */
  update(done: number, note?: string): void;
  /** Reports the last state once more and ends the line. Call it after a failure too. */
  end(note?: string): void;
}

/** How far a job has come. */
export interface JobProgress {
  /** What the job does, e.g. "train concat". A job may consist of several, one after the other. */
  readonly job: string;
  /** Finished units. */
  readonly done: number;
  /** Units of work; 0 when unknown. */
  readonly total: number;
  /** Plural name of the unit, e.g. "steps". */
  readonly unit: string;
  /** A short note on the state, e.g. a loss; may be empty. */
  readonly note: string;
}

/** Receives the progress of a job. It is called often, so it must be fast, and must not throw. */
export type ProgressListener = (progress: JobProgress) => void;

const listeners = new AsyncLocalStorage<ProgressListener>();

/**
 * Runs a job whose progress goes to `listener`, also that of the asynchronous calls in it.
 *
 * @param listener - undefined reports to standard error.
 */
export function reportProgressTo<Result>(
  listener: ProgressListener | undefined,
  job: () => Promise<Result>,
): Promise<Result> {
  return listener === undefined ? job() : listeners.run(listener, job);
}

const LOG_INTERVAL_MS = 5_000;
const BAR_INTERVAL_MS = 100;
const BAR_WIDTH = 24;

/**
 * Starts to report the progress of a job, with its rate and the remaining time.
 *
 * The bar is drawn here and not by cli-progress: a bar of cli-progress repaints itself by a timer,
 * which keeps the process alive until the bar is stopped, so a job that throws would hang instead
 * of exiting. Loading that package also takes 13 to 40 ms, and the server loads this file at its
 * start.
 *
 * @param label - what the job does, e.g. "train concat".
 * @param total - units of work; 0 when unknown.
 * @param unit - plural name of the unit, e.g. "steps".
 */
export function startProgress(label: string, total: number, unit: string): Progress {
  const listener = listeners.getStore();
  if (listener !== undefined) return listenedProgress(listener, label, total, unit);
  const terminal = process.stderr.isTTY;
  const startedMs = performance.now();
  let lastMs = terminal ? -Infinity : startedMs;
  let first: number | undefined;
  let latest = 0;
  const report = (done: number, note: string): void => {
    const seconds = (performance.now() - startedMs) / 1000;
    // A resumed job counts only the units of this run.
    const rate = seconds > 0 ? (done - (first ?? 0)) / seconds : 0;
    if (terminal) {
      const bar = progressBar(done, total);
      const eta = rate > 0 && total > 0 ? ` ETA ${Math.ceil((total - done) / rate)} s` : '';
      process.stderr.write(`\r\x1b[K${label} ${bar} ${unit} ${rate.toFixed(1)}/s${eta} ${note}`);
    } else {
      const ratePerSecond = Number(rate.toFixed(2));
      logger.info(
        { job: label, done, total, unit, ratePerSecond, ...(note && { note }) },
        'progress',
      );
    }
  };
  return {
    update(done: number, note = ''): void {
      first ??= done;
      latest = done;
      const nowMs = performance.now();
      if (nowMs - lastMs < (terminal ? BAR_INTERVAL_MS : LOG_INTERVAL_MS)) return;
      lastMs = nowMs;
      report(done, note);
    },
    end(note = ''): void {
      report(latest, note);
      if (terminal) process.stderr.write('\n');
    },
  };
}

function listenedProgress(
  listener: ProgressListener,
  job: string,
  total: number,
  unit: string,
): Progress {
  let latest = 0;
  return {
    update(done: number, note = ''): void {
      latest = done;
      listener({ job, done, total, unit, note });
    },
    end(note = ''): void {
      // Every update has been reported, so only a note is news.
      if (note !== '') listener({ job, done: latest, total, unit, note });
    },
  };
}

function progressBar(done: number, total: number): string {
  if (total <= 0) return String(done);
  const filled = Math.round((BAR_WIDTH * done) / total);
  return `[${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}] ${done}/${total}`;
}
