// Metrics over ranks, and their intervals. Each is defined in docs/evaluation.md.

import { Random } from '../random.ts';
import type { EvaluationQuery } from './query.ts';
import type { RankedQuery } from './ranking.ts';

export const RECALL_AT = [10, 50, 100, 200] as const;
export const COVERAGE_AT = [10, 100] as const;

const RESAMPLES = 1000;
const INTERVAL = 0.95;

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Means over the requests of one scorer, or of one slice of them. */
export interface Metrics {
  /** Requests. */
  readonly count: number;
  /** By K, in the order of RECALL_AT; higher is better. */
  readonly recall: Readonly<Record<string, number>>;
  readonly ndcgAt10: number;
  readonly mrr: number;
}

export interface ScorerMetrics extends Metrics {
  /** 95 % bootstrap interval of recall, by K. */
  readonly recallInterval: Readonly<Record<string, Interval>>;
  /** Share of the candidates that appear in some request's best K, by K. */
  readonly coverage: Readonly<Record<string, number>>;
  /** Mean popularity of the best K over the mean popularity of the candidates, by K; 1 = no bias. */
  readonly popularityLift: Readonly<Record<string, number>>;
  readonly slices: Readonly<Record<string, Metrics>>;
}

/** Hits among the best K over min(positives, K): 1 when as many were found as fit. */
export function recallAtK(ranks: Int32Array, k: number): number {
  let hits = 0;
  for (const rank of ranks) if (rank < k) hits++;
  return hits / Math.min(ranks.length, k);
}

/** Discounted gain of the positives among the best K over that of the ideal order; binary gains. */
export function ndcgAtK(ranks: Int32Array, k: number): number {
  let gain = 0;
  for (const rank of ranks) if (rank < k) gain += 1 / Math.log2(rank + 2);
  let ideal = 0;
  for (let rank = 0; rank < Math.min(ranks.length, k); rank++) ideal += 1 / Math.log2(rank + 2);
  return gain / ideal;
}

/** 1 / (1 + rank of the best positive). */
export function reciprocalRank(ranks: Int32Array): number {
  let best = Infinity;
  for (const rank of ranks) best = Math.min(best, rank);
  return 1 / (1 + best);
}

/** Collects one scorer's ranks; `result()` when all queries were added. */
export class MetricsCollector {
  readonly #popularity: Float64Array;
  readonly #candidates: Uint8Array;
  readonly #retrieved: Uint8Array[];
  readonly #retrievedPopularity: number[] = COVERAGE_AT.map(() => 0);
  readonly #retrievedCount: number[] = COVERAGE_AT.map(() => 0);
  readonly #all = new Means();
  readonly #slices = new Map<string, Means>();
  readonly #recalls: number[][] = RECALL_AT.map(() => []);
  readonly #users: number[] = [];

  /** @param popularity - [N] of training events; @param candidates - [N], 1 = ranked. */
  constructor(popularity: Float64Array, candidates: Uint8Array) {
    this.#popularity = popularity;
    this.#candidates = candidates;
    this.#retrieved = COVERAGE_AT.map(() => new Uint8Array(candidates.length));
  }

  /** @param slices - names of the groups that the query belongs to. */
  add(query: EvaluationQuery, ranked: RankedQuery, slices: readonly string[]): void {
    const recalls = RECALL_AT.map((k) => recallAtK(ranked.ranks, k));
    const ndcg = ndcgAtK(ranked.ranks, 10);
    const reciprocal = reciprocalRank(ranked.ranks);
    this.#all.add(recalls, ndcg, reciprocal);
    for (const slice of slices) {
      const means = this.#slices.get(slice) ?? new Means();
      this.#slices.set(slice, means);
      means.add(recalls, ndcg, reciprocal);
    }
    for (const [i, recall] of recalls.entries()) this.#recalls[i]!.push(recall);
    this.#users.push(query.user);
    for (const [i, k] of COVERAGE_AT.entries())
      for (const item of ranked.top.subarray(0, k)) {
        this.#retrieved[i]![item] = 1;
        this.#retrievedPopularity[i]! += this.#popularity[item]!;
        this.#retrievedCount[i]!++;
      }
  }

  /** @param seed - names the bootstrap's draws; scorers with the same seed are resampled alike. */
  result(seed: number): ScorerMetrics {
    const candidates = sum(this.#candidates);
    let popularity = 0;
    for (const [item, ranked] of this.#candidates.entries())
      if (ranked === 1) popularity += this.#popularity[item]!;
    const intervals = bootstrapIntervals(this.#recalls, this.#users, seed);
    const byCoverage = (value: (i: number) => number): Record<string, number> =>
      Object.fromEntries(COVERAGE_AT.map((k, i) => [String(k), value(i)]));
    return {
      ...this.#all.means(),
      recallInterval: Object.fromEntries(RECALL_AT.map((k, i) => [String(k), intervals[i]!])),
      coverage: byCoverage((i) => sum(this.#retrieved[i]!) / candidates),
      popularityLift: byCoverage((i) =>
        popularity === 0
          ? 1
          : this.#retrievedPopularity[i]! / this.#retrievedCount[i]! / (popularity / candidates),
      ),
      slices: Object.fromEntries(
        [...this.#slices]
          .sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }))
          .map(([name, means]) => [name, means.means()]),
      ),
    };
  }
}

/**
 * Percentile bootstrap of means, resampling users: requests of one user resemble each other.
 *
 * @param values - [metrics][requests]; @param users - [requests], -1 = a user of its own.
 */
export function bootstrapIntervals(
  values: readonly (readonly number[])[],
  users: readonly number[],
  seed: number,
): Interval[] {
  const clusterOf = new Map<number, number>();
  let clusters = 0;
  const rows = users.map((user) => {
    const known = user < 0 ? undefined : clusterOf.get(user);
    if (known !== undefined) return known;
    if (user >= 0) clusterOf.set(user, clusters);
    return clusters++;
  });
  const sizes = new Float64Array(clusters);
  const sums = values.map(() => new Float64Array(clusters));
  for (const [request, cluster] of rows.entries()) {
    sizes[cluster]!++;
    for (const [i, column] of values.entries()) sums[i]![cluster]! += column[request]!;
  }
  const random = new Random(seed);
  const means = values.map(() => new Float64Array(RESAMPLES));
  const totals = new Float64Array(values.length);
  for (let resample = 0; resample < RESAMPLES; resample++) {
    totals.fill(0);
    let size = 0;
    for (let draw = 0; draw < clusters; draw++) {
      const cluster = random.integer(clusters);
      size += sizes[cluster]!;
      for (let i = 0; i < totals.length; i++) totals[i]! += sums[i]![cluster]!;
    }
    for (let i = 0; i < totals.length; i++) means[i]![resample] = totals[i]! / size;
  }
  return means.map((column) => {
    column.sort();
    const at = (share: number): number => column[Math.round(share * (RESAMPLES - 1))]!;
    return { low: at((1 - INTERVAL) / 2), high: at((1 + INTERVAL) / 2) };
  });
}

class Means {
  #count = 0;
  #ndcg = 0;
  #reciprocal = 0;
  readonly #recalls: number[] = RECALL_AT.map(() => 0);

  add(recalls: readonly number[], ndcg: number, reciprocal: number): void {
    this.#count++;
    this.#ndcg += ndcg;
    this.#reciprocal += reciprocal;
    for (const [i, recall] of recalls.entries()) this.#recalls[i]! += recall;
  }

  means(): Metrics {
    return {
      count: this.#count,
      recall: Object.fromEntries(
        RECALL_AT.map((k, i) => [String(k), this.#recalls[i]! / this.#count]),
      ),
      ndcgAt10: this.#ndcg / this.#count,
      mrr: this.#reciprocal / this.#count,
    };
  }
}

function sum(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total;
}
