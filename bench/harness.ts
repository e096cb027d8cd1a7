// What every benchmark shares: interleaved rounds, medians with their spread, the description of
// the machine, and results as NDJSON. Each benchmark's own file says what is measured; report.ts
// makes docs/benchmarks.md from the results.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import Benchmark from 'benchmark';
import type { BackendName } from '../src/backend/backends.ts';
import { nativeAddon } from '../src/native/addon.ts';
import { packageRoot } from '../src/package-root.ts';
import { packageVersion } from '../src/platform/version.ts';

/** One line of bench/results/<bench>.ndjson. */
export interface BenchResult {
  readonly bench: string;
  readonly case: string;
  /**
   * A line whose metric ends in SPREAD_SUFFIX holds half the interquartile range of that metric.
   */
  readonly metric: string;
  readonly unit: string;
  readonly ours: number;
  /** What a user would use instead of ours; null where nothing is compared. */
  readonly peer: string | null;
  readonly peerValue: number | null;
  /**
   * How many times better ours is, whether low or high is good.
   * null without a peer, for spreads, and where one of the two values is 0.
   */
  readonly ratio: number | null;
  readonly machine: string;
}

/** Median of the rounds, and half of their interquartile range. */
export interface Measured {
  readonly value: number;
  readonly spread: number;
}

/** One of the implementations that a race times against each other. */
export type Contestant = {
  readonly name: string;
  /** Called before each of its rounds, untimed. */
  readonly before?: () => void | Promise<void>;
} & (
  | {
      readonly run: () => unknown;
      /** `run` returns a promise that must be awaited. */
      readonly asynchronous?: boolean;
    }
  | {
      /**
       * Runs a contestant that lives in another process for about `seconds`.
       *
       * @returns mean seconds of one run.
       */
      readonly measure: (seconds: number) => Promise<number>;
    }
);

export interface RaceOptions {
  /**
   * Every contestant runs once in a round, so that a slow minute of the machine affects all of
   * them.
   */
  readonly rounds?: number;
  /** Time that benchmark.js may take for one contestant and round. */
  readonly roundSeconds?: number;
}

/** Converts a time into the value that is reported. */
export interface Unit {
  readonly metric: string;
  readonly unit: string;
  readonly better: 'lower' | 'higher';
  /** @param seconds - of one run. */
  readonly of: (seconds: number) => number;
}

/** The options of the command line. */
export interface BenchOptions {
  /**
   * One short round, to show that a benchmark runs. Its numbers mean little and are not written.
   */
  readonly quick: boolean;
  /** A published bundle and its store for `serve`, instead of ones made of random numbers. */
  readonly bundles?: string;
  readonly store?: string;
  /**
   * The only tfjs backend to compare with. Without it, every backend of this machine is compared.
   */
  readonly backend?: BackendName;
}

export const SPREAD_SUFFIX = ' spread';

const ROUNDS = 5;
const ROUND_SECONDS = 0.2;
const QUICK_SECONDS = 0.02;
/**
 * Shortest sample of benchmark.js. Its default of 50 ms makes rounds longer but medians no better.
 */
const SAMPLE_SECONDS = 0.02;

/** The time of one run, or of one of the `operations` that a run does. */
export function timePer(unit: 's' | 'ms' | 'us', operations = 1): Unit {
  const scale = { s: 1, ms: 1e3, us: 1e6 }[unit];
  return { metric: 'time', unit, better: 'lower', of: (seconds) => (seconds * scale) / operations };
}

/** @param operations - that one run does, counted in the unit, e.g. in GFLOP for GFLOP/s. */
export function ratePerSecond(unit: string, operations: number): Unit {
  return { metric: 'rate', unit, better: 'higher', of: (seconds) => operations / seconds };
}

/**
 * Times the contestants in interleaved rounds.
 *
 * @returns seconds of one run, by contestant and round.
 */
export async function race(
  contestants: readonly Contestant[],
  options: RaceOptions & Pick<BenchOptions, 'quick'>,
): Promise<number[][]> {
  const rounds = options.quick ? 1 : (options.rounds ?? ROUNDS);
  const seconds = options.quick ? QUICK_SECONDS : (options.roundSeconds ?? ROUND_SECONDS);
  const times = contestants.map((): number[] => []);
  for (let round = 0; round < rounds; round++)
    for (const [i, contestant] of contestants.entries()) {
      await contestant.before?.();
      times[i]!.push(await secondsPerRun(contestant, seconds));
    }
  return times;
}

/** @returns mean seconds of one run. */
function secondsPerRun(contestant: Contestant, maxTime: number): number | Promise<number> {
  if ('measure' in contestant) return contestant.measure(maxTime);
  const { name, run, asynchronous = false } = contestant;
  if (asynchronous) return secondsPerAwait(run, maxTime);
  const benchmark: Benchmark = new Benchmark(name, run, {
    async: false,
    minSamples: 2,
    minTime: SAMPLE_SECONDS,
    maxTime,
  });
  benchmark.run();
  const { error, stats } = benchmark as { error?: Error; stats: Benchmark.Stats };
  if (error !== undefined) throw error;
  return stats.mean;
}

/**
 * Times asynchronous runs without benchmark.js: its deferred mode added 50 us to a call of 70 us,
 * which would make the peers that need it look slow.
 */
async function secondsPerAwait(run: () => unknown, maxTime: number): Promise<number> {
  await run();
  const startMs = performance.now();
  let runs = 0;
  for (;;) {
    await run();
    runs++;
    const elapsedSeconds = (performance.now() - startMs) / 1000;
    if (elapsedSeconds >= maxTime) return elapsedSeconds / runs;
  }
}

/** Median and half the interquartile range. */
export function summarise(values: readonly number[]): Measured {
  const sorted = [...values].sort((a, b) => a - b);
  const quantile = (share: number): number => {
    const position = share * (sorted.length - 1);
    const below = Math.floor(position);
    const above = Math.ceil(position);
    return sorted[below]! + (position - below) * (sorted[above]! - sorted[below]!);
  };
  return { value: quantile(0.5), spread: (quantile(0.75) - quantile(0.25)) / 2 };
}

/** Collects the results of one benchmark: prints each at once and writes all of them at the end. */
export class Recorder {
  readonly #bench: string;
  readonly #machine: string;
  readonly #results: BenchResult[] = [];

  constructor(bench: string, machine: string) {
    this.#bench = bench;
    this.#machine = machine;
  }

  /**
   * Times the first contestant, ours, against each other one and adds a result for each of them.
   */
  async race(
    name: string,
    unit: Unit,
    contestants: readonly Contestant[],
    options: RaceOptions & Pick<BenchOptions, 'quick'>,
  ): Promise<void> {
    const times = await race(contestants, options);
    const [ours, ...peers] = times.map((seconds) => summarise(seconds.map(unit.of)));
    if (peers.length === 0) this.add(name, unit, ours!);
    for (const [i, peer] of peers.entries())
      this.add(name, unit, ours!, { name: contestants[i + 1]!.name, measured: peer });
  }

  add(
    name: string,
    { metric, unit, better }: Pick<Unit, 'metric' | 'unit' | 'better'>,
    ours: Measured,
    peer?: { readonly name: string; readonly measured: Measured },
  ): void {
    const other = peer?.measured.value ?? null;
    const comparable = other !== null && other > 0 && ours.value > 0;
    const times = comparable ? other / ours.value : null;
    const ratio = times !== null && better === 'higher' ? 1 / times : times;
    const line = {
      bench: this.#bench,
      case: name,
      metric,
      unit,
      ours: rounded(ours.value),
      peer: peer?.name ?? null,
      peerValue: other === null ? null : rounded(other),
      ratio: ratio === null ? null : rounded(ratio),
      machine: this.#machine,
    };
    this.#results.push(line, {
      ...line,
      metric: metric + SPREAD_SUFFIX,
      ours: rounded(ours.spread),
      peerValue: peer === undefined ? null : rounded(peer.measured.spread),
      ratio: null,
    });
    const against =
      peer === undefined
        ? ''
        : `  ${peer.name} ${withSpread(peer.measured)} ${unit}  ` +
          `ratio ${ratio === null ? '-' : rounded(ratio)}`;
    say(`${this.#bench}: ${name}: ${metric} ${withSpread(ours)} ${unit}${against}`);
  }

  /** Replaces bench/results/<bench>.ndjson. */
  write(): void {
    mkdirSync(resultsDirectory(), { recursive: true });
    const path = join(resultsDirectory(), `${this.#bench}.ndjson`);
    writeFileSync(path, this.#results.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }
}

export function resultsDirectory(): string {
  return join(packageRoot(), 'bench', 'results');
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Describes the machine that the numbers hold for: CPU, instruction sets, versions and commit. */
export function describeMachine(): string {
  const { version, defaultIsa, availableIsas } = nativeAddon();
  return [
    cpus()[0]?.model.trim() ?? 'unknown CPU',
    `${availableParallelism()} cores (load ${loadavg()[0]!.toFixed(1)} before)`,
    `ISA ${defaultIsa} of ${availableIsas.join(', ')}`,
    `node ${process.version}`,
    `tandem ${packageVersion()}, addon ${version}`,
    `commit ${commit()}`,
  ].join('; ');
}

function commit(): string {
  const git = (...parameters: string[]): string =>
    execFileSync('git', parameters, {
      cwd: packageRoot(),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return git('rev-parse', '--short', 'HEAD') + (changed ? ' with changes' : '');
  } catch {
    return 'unknown';
  }
}

function withSpread({ value, spread }: Measured): string {
  return `${rounded(value)} ±${rounded(spread)}`;
}

/** Three significant digits: more would be noise. */
function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
