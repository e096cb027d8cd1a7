// Bootstrap of means and ratios over users: the source of every interval that a report prints.

import { Random } from '../../random.ts';

const RESAMPLES = 1000;
const CONFIDENCE = 0.95;

/** A 95 % interval. */
export interface ConfidenceInterval {
  readonly low: number;
  readonly high: number;
}

/** A statistic of requests: sum(values) / sum(per), or mean(values) when `per` is absent. */
export interface Ratio {
  /** [requests]. */
  readonly values: readonly number[];
  /** [requests], at least 0. */
  readonly per?: readonly number[];
}

/** The statistic itself; 0 when the divisor is 0. */
export function ratioOf({ values, per }: Ratio): number {
  return quotient(sum(values), per === undefined ? values.length : sum(per));
}

/**
 * Statistics of 1,000 resamples of users, with replacement. Users are resampled and not requests,
 * because requests of one user are not independent.
 *
 * @param ratios - [S] statistics over the same requests.
 * @param users - [requests], -1 = a user of its own.
 * @param seed - the same users and seed are resampled alike, so replicates of two generators are
 *   paired.
 * @returns [S][1,000], unsorted.
 */
export function bootstrap(
  ratios: readonly Ratio[],
  users: readonly number[],
  seed: number,
): Float64Array[] {
  const { clusters, count } = clusterUsers(users);
  const totalsOf = (column: readonly number[] | undefined): Float64Array => {
    const totals = new Float64Array(count);
    for (const [request, cluster] of clusters.entries())
      totals[cluster]! += column === undefined ? 1 : column[request]!;
    return totals;
  };
  const above = ratios.map(({ values }) => totalsOf(values));
  const below = ratios.map(({ per }) => totalsOf(per));
  const replicates = ratios.map(() => new Float64Array(RESAMPLES));
  const random = new Random(seed);
  const draws = new Int32Array(count);
  for (let resample = 0; resample < RESAMPLES; resample++) {
    for (let draw = 0; draw < count; draw++) draws[draw] = random.integer(count);
    for (const [i, column] of above.entries()) {
      const other = below[i]!;
      let numerator = 0;
      let denominator = 0;
      for (const cluster of draws) {
        numerator += column[cluster]!;
        denominator += other[cluster]!;
      }
      replicates[i]![resample] = quotient(numerator, denominator);
    }
  }
  return replicates;
}

/** The middle 95 % of the replicates (percentile bootstrap). */
export function intervalOf(replicates: Float64Array): ConfidenceInterval {
  const sorted = replicates.toSorted();
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))]!;
  return { low: at((1 - CONFIDENCE) / 2), high: at((1 + CONFIDENCE) / 2) };
}

function clusterUsers(users: readonly number[]): { clusters: Int32Array; count: number } {
  const clusterOf = new Map<number, number>();
  let count = 0;
  const clusters = Int32Array.from(users, (user) => {
    const known = user < 0 ? undefined : clusterOf.get(user);
    if (known !== undefined) return known;
    if (user >= 0) clusterOf.set(user, count);
    return count++;
  });
  return { clusters, count };
}

function quotient(numerator: number, denominator: number): number {
  return denominator === 0 ? 0 : numerator / denominator;
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
