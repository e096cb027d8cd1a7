// Metrics over ranks, with intervals. docs/explanation/evaluation.md defines each one.

import { bootstrap, intervalOf, ratioOf, type ConfidenceInterval } from './report/bootstrap.ts';
import type { EvaluationQuery } from './query.ts';
import type { RankedQuery } from './ranking.ts';

/** The K of Recall@K. */
export const RECALL_AT = [10, 50, 100, 200] as const;
/** The K of coverage and popularity lift. */
export const COVERAGE_AT = [10, 100] as const;

/**
 * Means over the requests of one scorer, or of one slice of them. Intervals are 95 % bootstrap
 * intervals.
 */
export interface Metrics {
  /** Number of requests. */
  readonly count: number;
  /** By K, in the order of RECALL_AT; higher is better. */
  readonly recall: Readonly<Record<string, number>>;
  readonly recallInterval: Readonly<Record<string, ConfidenceInterval>>;
  readonly ndcgAt10: number;
  readonly ndcgAt10Interval: ConfidenceInterval;
  readonly mrr: number;
  readonly mrrInterval: ConfidenceInterval;
}

/** The metrics of one scorer, over all requests and by slice. */
export interface ScorerMetrics extends Metrics {
  /** Share of the candidates that are among the best K of at least one request, by K. */
  readonly coverage: Readonly<Record<string, number>>;
  /**
   * Mean popularity of the best K divided by the mean popularity of the candidates, by K; 1 = no
   * bias.
   */
  readonly popularityLift: Readonly<Record<string, number>>;
  readonly slices: Readonly<Record<string, Metrics>>;
}

/**
 * Recall@K: the positives among the best K items, divided by min(positives, K). It is 1 when as
 * many positives as possible are among the best K.
 *
 * @param ranks - [positives], 0 = best.
 */
export function recallAtK(ranks: Int32Array, k: number): number {
  let hits = 0;
  for (const rank of ranks) if (rank < k) hits++;
  return hits / Math.min(ranks.length, k);
}

/**
 * Normalised discounted cumulative gain at K with binary gains: the gain of the positives among the
 * best K divided by the gain of the ideal order.
 *
 * @param ranks - [positives], 0 = best.
 */
export function ndcgAtK(ranks: Int32Array, k: number): number {
  let gain = 0;
  for (const rank of ranks) if (rank < k) gain += 1 / Math.log2(rank + 2);
  let ideal = 0;
  for (let rank = 0; rank < Math.min(ranks.length, k); rank++) ideal += 1 / Math.log2(rank + 2);
  return gain / ideal;
}

/**
 * Reciprocal rank: 1 / (1 + rank of the best positive).
 *
 * @param ranks - [positives], 0 = best.
 */
export function reciprocalRank(ranks: Int32Array): number {
  let best = Infinity;
  for (const rank of ranks) best = Math.min(best, rank);
  return 1 / (1 + best);
}

/** Collects the ranks of one scorer; `result()` gives the metrics once all queries were added. */
export class MetricsCollector {
  readonly #popularity: Float64Array;
  readonly #candidates: Uint8Array;
  readonly #retrieved: Uint8Array[];
  readonly #retrievedPopularity: number[] = COVERAGE_AT.map(() => 0);
  readonly #retrievedCount: number[] = COVERAGE_AT.map(() => 0);
  readonly #all = new Sample();
  readonly #slices = new Map<string, Sample>();

  /**
   * @param popularity - [N] popularity of each item in training.
   * @param candidates - [N], 1 = ranked.
   */
  constructor(popularity: Float64Array, candidates: Uint8Array) {
    this.#popularity = popularity;
    this.#candidates = candidates;
    this.#retrieved = COVERAGE_AT.map(() => new Uint8Array(candidates.length));
  }

  /**
   * Adds one query.
   *
   * @param slices - names of the groups that the query belongs to.
   */
  add(query: EvaluationQuery, ranked: RankedQuery, slices: readonly string[]): void {
    this.#all.add(query.user, ranked.ranks);
    for (const slice of slices) {
      const sample = this.#slices.get(slice) ?? new Sample();
      this.#slices.set(slice, sample);
      sample.add(query.user, ranked.ranks);
    }
    for (const [i, k] of COVERAGE_AT.entries())
      for (const item of ranked.top.subarray(0, k)) {
        this.#retrieved[i]![item] = 1;
        this.#retrievedPopularity[i]! += this.#popularity[item]!;
        this.#retrievedCount[i]!++;
      }
  }

  /**
   * The metrics over all queries.
   *
   * @param seed - of the bootstrap; scorers with the same seed are resampled alike.
   */
  result(seed: number): ScorerMetrics {
    const candidates = sum(this.#candidates);
    let popularity = 0;
    for (const [item, ranked] of this.#candidates.entries())
      if (ranked === 1) popularity += this.#popularity[item]!;
    const byCoverage = (value: (i: number) => number): Record<string, number> =>
      Object.fromEntries(COVERAGE_AT.map((k, i) => [String(k), value(i)]));
    return {
      ...this.#all.metrics(seed),
      coverage: byCoverage((i) => sum(this.#retrieved[i]!) / candidates),
      popularityLift: byCoverage((i) =>
        popularity === 0
          ? 1
          : this.#retrievedPopularity[i]! / this.#retrievedCount[i]! / (popularity / candidates),
      ),
      slices: Object.fromEntries(
        [...this.#slices]
          .sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }))
          .map(([name, sample]) => [name, sample.metrics(seed)]),
      ),
    };
  }
}

/** Metrics of single requests, before they are averaged. */
class Sample {
  readonly #users: number[] = [];
  readonly #recalls: number[][] = RECALL_AT.map(() => []);
  readonly #ndcg: number[] = [];
  readonly #reciprocal: number[] = [];

  add(user: number, ranks: Int32Array): void {
    this.#users.push(user);
    for (const [i, k] of RECALL_AT.entries()) this.#recalls[i]!.push(recallAtK(ranks, k));
    this.#ndcg.push(ndcgAtK(ranks, 10));
    this.#reciprocal.push(reciprocalRank(ranks));
  }

  metrics(seed: number): Metrics {
    const columns = [...this.#recalls, this.#ndcg, this.#reciprocal].map((values) => ({ values }));
    const means = columns.map(ratioOf);
    const intervals = bootstrap(columns, this.#users, seed).map(intervalOf);
    const ndcg = RECALL_AT.length;
    const byK = <T>(values: readonly T[]): Record<string, T> =>
      Object.fromEntries(RECALL_AT.map((k, i) => [String(k), values[i]!]));
    return {
      count: this.#users.length,
      recall: byK(means),
      recallInterval: byK(intervals),
      ndcgAt10: means[ndcg]!,
      ndcgAt10Interval: intervals[ndcg]!,
      mrr: means[ndcg + 1]!,
      mrrInterval: intervals[ndcg + 1]!,
    };
  }
}

function sum(values: Uint8Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
