// Simulates which candidates survive ranker and auction, and the value of their delivery. Every
// generator proposes candidates for the same requests of the synthetic world, against the same
// rivals, ranker and budgets.

import type { Dataset, RequestRecord } from '../data/dataset.ts';
import { openWorldDelivery } from './auction.ts';
import { SIMULATION_NOTICE } from './generate.ts';
import { SLOTS } from './law.ts';
import { TandemError } from '../errors.ts';
import {
  bootstrap,
  intervalOf,
  ratioOf,
  type ConfidenceInterval,
  type Ratio,
} from '../evaluate/report/bootstrap.ts';
import type { EvaluationSet, Scorer } from '../evaluate/query.ts';
import { rankAll } from '../evaluate/ranking.ts';
import { startProgress } from '../telemetry.ts';

/**
 * Metrics of a generator in the order of the report; docs/explanation/evaluation.md defines them.
 */
export const SURVIVAL_METRICS = [
  'deliveredShare',
  'slotShare',
  'medianRelevance',
  'deliveredRelevance',
  'revenuePerRequest',
  'returnOnAdSpend',
] as const;

export type SurvivalMetric = (typeof SURVIVAL_METRICS)[number];

export interface Estimate {
  readonly value: number;
  /** 95 % interval, by bootstrap over users. */
  readonly interval: ConfidenceInterval;
}

export interface GeneratorOutcome extends Readonly<Record<SurvivalMetric, Estimate>> {
  readonly name: string;
  /** Ratio to the baseline, over the same resamples; null for the baseline itself. */
  readonly lift: Readonly<Record<SurvivalMetric, Estimate>> | null;
}

export interface SurvivalReport {
  readonly format: 'tandem-survival';
  readonly version: 1;
  /** Always true: no number here was observed. */
  readonly simulation: true;
  readonly notice: string;
  readonly dataset: { readonly name: string; readonly digest: string };
  readonly description: string;
  readonly requests: number;
  /** K: candidates of each generator per request. */
  readonly candidates: number;
  /** Largest number of ads that a request shows. */
  readonly slots: number;
  readonly seed: number;
  readonly generators: readonly GeneratorOutcome[];
}

export interface SurvivalOptions {
  readonly dataset: Dataset;
  readonly set: EvaluationSet;
  /** Generators as scorers of items; the first is the baseline of the lifts. */
  readonly generators: readonly Scorer[];
  /** K. */
  readonly candidates: number;
  /** Seed of the bootstrap; the world has its own. */
  readonly seed: number;
}

/**
 * Puts the best K of each generator through the world's ranker and auction, one generator at a
 * time.
 *
 * A request has the same rivals and the same errors of the ranker for every generator, so
 * differences are paired. Cost: that of an evaluation with these generators, and about 0.2 ms per
 * request and generator.
 *
 * @throws TandemError ERR_DATASET_INVALID unless the dataset is a synthetic world of this version:
 *   no other dataset has a known auction.
 */
export async function simulateSurvival(options: SurvivalOptions): Promise<SurvivalReport> {
  const { dataset, set, generators, candidates, seed } = options;
  const delivery = openWorldDelivery(dataset);
  if (delivery === undefined)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      'Expected a synthetic world of this version, whose auction is known, ' +
        `received the dataset ${dataset.name}. Make one with "tandem world".`,
    );
  const requests = new Map(dataset.requests.map((request) => [request.id, request]));
  const users = set.queries.map(({ user }) => user);
  const total = generators.length * set.queries.length;
  const progress = startProgress('survival', total, 'auctions');
  const outcomes: GeneratorOutcome[] = [];
  let baseline: readonly Float64Array[] | undefined;
  try {
    for (const [i, generator] of generators.entries()) {
      const tally = new Tally();
      await rankAll(
        set,
        generator,
        candidates,
        ({ id }, { top }) => {
          tally.add(delivery, requests.get(id)!, top);
        },
        (done) => {
          progress.update(i * set.queries.length + done, generator.name);
        },
      );
      const replicates = bootstrap(tally.ratios, users, seed);
      const values = tally.ratios.map(ratioOf);
      outcomes.push({
        name: generator.name,
        ...estimates(values, replicates),
        lift: baseline === undefined ? null : liftOver(outcomes[0]!, baseline, values, replicates),
      });
      baseline ??= replicates;
    }
  } finally {
    progress.end();
  }
  return {
    format: 'tandem-survival',
    version: 1,
    simulation: true,
    notice: SIMULATION_NOTICE,
    dataset: { name: dataset.name, digest: dataset.digest },
    description: set.description,
    requests: set.queries.length,
    candidates,
    slots: SLOTS,
    seed,
    generators: outcomes,
  };
}

/** Results of one generator's auctions, one number per request and column. */
class Tally {
  readonly #candidates: number[] = [];
  readonly #slots: number[] = [];
  readonly #survivors: number[] = [];
  readonly #medians: number[] = [];
  readonly #relevance: number[] = [];
  readonly #spend: number[] = [];
  readonly #revenue: number[] = [];
  /** In the order of SURVIVAL_METRICS. */
  readonly ratios: readonly Ratio[] = [
    { values: this.#survivors, per: this.#candidates },
    { values: this.#survivors, per: this.#slots },
    { values: this.#medians },
    { values: this.#relevance, per: this.#survivors },
    { values: this.#revenue },
    { values: this.#revenue, per: this.#spend },
  ];

  add(
    delivery: NonNullable<ReturnType<typeof openWorldDelivery>>,
    request: RequestRecord,
    top: Int32Array,
  ): void {
    const { delivered, survived, relevances, spend, revenue } = delivery.deliver(request, top);
    let survivors = 0;
    let relevance = 0;
    for (const [i, won] of survived.entries()) {
      survivors += won;
      relevance += won * relevances[i]!;
    }
    this.#candidates.push(top.length);
    this.#slots.push(delivered.length);
    this.#survivors.push(survivors);
    this.#medians.push(median(relevances));
    this.#relevance.push(relevance);
    this.#spend.push(spend);
    this.#revenue.push(revenue);
  }
}

function estimates(
  values: readonly number[],
  replicates: readonly Float64Array[],
): Record<SurvivalMetric, Estimate> {
  return Object.fromEntries(
    SURVIVAL_METRICS.map((metric, i) => [
      metric,
      { value: values[i]!, interval: intervalOf(replicates[i]!) },
    ]),
  ) as Record<SurvivalMetric, Estimate>;
}

function liftOver(
  first: GeneratorOutcome,
  baseline: readonly Float64Array[],
  values: readonly number[],
  replicates: readonly Float64Array[],
): Record<SurvivalMetric, Estimate> {
  return estimates(
    SURVIVAL_METRICS.map((metric, i) => values[i]! / first[metric].value),
    replicates.map((column, i) => column.map((value, resample) => value / baseline[i]![resample]!)),
  );
}

/** The middle value, or the mean of the two middle values; 0 without values. */
function median(values: Float64Array): number {
  if (values.length === 0) return 0;
  const sorted = values.toSorted();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
