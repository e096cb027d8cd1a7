// How the program speaks while it runs: one logger, and progress that is a bar on a terminal and log records elsewhere.

import { pino, type Logger } from 'pino';

/** JSON lines on standard error, so that standard output stays free for results. Level from TANDEM_LOG_LEVEL. */
export const logger: Logger = pino(
  { level: process.env['TANDEM_LOG_LEVEL'] ?? 'info', base: null },
  pino.destination({ dest: 2, sync: true }),
);

export interface Progress {
  /** Reports `done` of the total, with a few words on the state (a loss, a rate). */
  update(done: number, note?: string): void;
  /** Ends the line; always call it, also after a failure. */
  end(note?: string): void;
}

const LOG_INTERVAL_MS = 5_000;
const BAR_INTERVAL_MS = 100;
const BAR_WIDTH = 24;

/**
 * Progress of a long job with rate and remaining time.
 *
 * @param label - what is being done, e.g. "train concat".
 * @param total - units of work; 0 when unknown.
 * @param unit - plural name of the unit, e.g. "steps".
 */
export function startProgress(label: string, total: number, unit: string): Progress {
  const terminal = process.stderr.isTTY;
  const startedMs = performance.now();
  let lastMs = terminal ? -Infinity : startedMs;
  let first: number | undefined;
  let latest = 0;
  const describe = (done: number): { rate: number; etaSeconds: number } => {
    const seconds = (performance.now() - startedMs) / 1000;
    const rate = seconds > 0 ? (done - (first ?? 0)) / seconds : 0;
    return { rate, etaSeconds: rate > 0 && total > 0 ? (total - done) / rate : Number.NaN };
  };
  const report = (done: number, note: string): void => {
    const { rate, etaSeconds } = describe(done);
    if (terminal) {
      const filled = total > 0 ? Math.round((BAR_WIDTH * done) / total) : 0;
      const bar = total > 0 ? `[${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}] ` : '';
      const eta = Number.isFinite(etaSeconds) ? ` ETA ${Math.ceil(etaSeconds)} s` : '';
      process.stderr.write(
        `\r\x1b[K${label} ${bar}${done}${total > 0 ? `/${total}` : ''} ${unit} ${rate.toFixed(1)}/s${eta} ${note}`,
      );
    } else {
      logger.info(
        {
          job: label,
          done,
          total,
          unit,
          ratePerSecond: Number(rate.toFixed(2)),
          ...(note && { note }),
        },
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
