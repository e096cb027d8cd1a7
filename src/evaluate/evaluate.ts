// One evaluation: ranks the requests of a protocol for every row of rows.ts, and makes one report.

import type { Dataset } from '../data/dataset.ts';
import { TandemError } from '../errors.ts';
import { startProgress } from '../telemetry.ts';
import { Baselines, DEFAULT_MIXTURE, type MixtureWeights } from './baselines/baselines.ts';
import { COVERAGE_AT, MetricsCollector, type ScorerMetrics } from './metrics.ts';
import { requireTwoTrainings } from './mixed-versions.ts';
import { chooseMixture } from './baselines/mixture.ts';
import type { ScorableModel } from './model-scorer.ts';
import {
  refuseItemFrequencyInTable,
  tableProtocol,
  timeProtocol,
  validationWindow,
} from './protocols.ts';
import type { EvaluationSet } from './query.ts';
import { rankAll, TIE_RULE } from './ranking.ts';
import { baselineRows, modelRows, skewRows, type ReportRow, type RowLabel } from './rows.ts';
import { slicesOf } from './report/slices.ts';

/** A trained model to evaluate, with the training data that its checkpoint names. */
export interface EvaluatedModel {
  /** A short name for the rows of the report, such as the checkpoint's folder. */
  readonly name: string;
  readonly model: ScorableModel;
  readonly datasetDigest?: string;
  /** Unix seconds of the newest event that training saw. */
  readonly dataUntilSeconds?: number;
  /** Number of events that training saw. */
  readonly trainingEvents?: number;
  /** Identifies the checkpoint; copied into the report. */
  readonly identity?: Readonly<Record<string, unknown>>;
}

export interface EvaluationOptions {
  readonly dataset: Dataset;
  readonly protocol: 'table' | 'time';
  /** Form of the time protocol; `all` when absent. */
  readonly form?: 'all' | 'discovery';
  /** `test` when absent. */
  readonly split?: 'validation' | 'test';
  readonly models?: readonly EvaluatedModel[];
  /** Adds the row whose context is derived from the label. */
  readonly oracle?: boolean;
  /**
   * Mixes states, head and index of the two models, which must be trainings with the same settings.
   */
  readonly skew?: boolean;
  /** False when another report already has the baselines of these requests. */
  readonly baselines?: boolean;
  /** Weights of the mixed baseline; chosen on the validation split when absent. */
  readonly mixture?: MixtureWeights;
  /** Seed of the bootstrap and of the swaps; 1 when absent. */
  readonly seed?: number;
}

/**
 * Result of a swap test: Recall@100 must fall when contexts or histories are swapped between
 * requests.
 */
export interface SwapCheck {
  readonly model: string;
  readonly swapped: 'contexts' | 'histories';
  readonly recallAt100: number;
  readonly recallAt100Swapped: number;
  /**
   * Whether Recall@100 fell below the 95 % interval of the row without the swap. A smaller fall can
   * be chance.
   */
  readonly fell: boolean;
}

/** The content of report.json. */
export interface EvaluationReport {
  readonly format: 'tandem-evaluation';
  readonly version: 2;
  readonly dataset: { readonly name: string; readonly digest: string };
  readonly protocol: {
    readonly name: 'table' | 'time';
    readonly form: 'all' | 'discovery' | null;
    readonly split: 'validation' | 'test';
    readonly description: string;
    readonly seenFilter: string;
    readonly tieRule: string;
    readonly requests: number;
    readonly candidates: number;
    /** Unix seconds; null for the table protocol. */
    readonly cutSeconds: number | null;
    readonly dropped: Readonly<Record<string, number>>;
  };
  /** Null when another report has the baselines. */
  readonly baselines: {
    readonly basketRule: string;
    readonly mixture: MixtureWeights;
    readonly mixtureFrom: string;
  } | null;
  readonly seed: number;
  readonly models: readonly Readonly<Record<string, unknown>>[];
  readonly rows: readonly ReportRow[];
  readonly swapChecks: readonly SwapCheck[];
  readonly seconds: number;
}

/**
 * Ranks every candidate for every request, with each baseline and each model. Costs rows x requests
 * x items.
 *
 * @returns the report; report.ts prints and writes it.
 * @throws TandemError ERR_INVALID_ARGUMENT when a model has trained on events that it is asked to
 *   predict; ERR_CHECKPOINT_INVALID for a model of another catalogue; ERR_CONFIG_INVALID for a
 *   model with itemFrequency in the table protocol; ERR_DATASET_INVALID when the protocol does not
 *   fit the data.
 */
export async function evaluate(options: EvaluationOptions): Promise<EvaluationReport> {
  const startedMs = performance.now();
  const { dataset, oracle = false, skew = false, seed = 1, models = [] } = options;
  const set = evaluationSet(options);
  for (const model of models) refuseLeakage(model, dataset, set);
  if (skew) requireTwoTrainings(models);
  const baselines = new Baselines(dataset, set);
  const mixture = options.baselines === false ? undefined : mixtureOf(options, set);
  const tasks = [
    ...(mixture === undefined ? [] : baselineRows(baselines.scorers(mixture.weights), set)),
    ...models.flatMap((model) => modelRows(model, dataset, set, { oracle, seed, skew })),
    ...(skew ? skewRows(models[0]!, models[1]!, dataset, set) : []),
  ];

  const rankings = tasks.reduce((sum, { queries }) => sum + queries.length, 0);
  const progress = startProgress('evaluate', rankings, 'rankings');
  const rows: ReportRow[] = [];
  const swapChecks: SwapCheck[] = [];
  let ranked = 0;
  try {
    for (const { label, scorer, queries, requests } of tasks) {
      const collector = new MetricsCollector(baselines.popularity, set.candidates);
      await rankAll(
        { ...set, queries },
        scorer,
        Math.max(...COVERAGE_AT),
        // Slices describe the original request, even if its history was swapped.
        (_query, ranking, index) => {
          const request = requests[index]!;
          collector.add(request, ranking, slicesOf(request, dataset));
        },
        (done) => {
          progress.update(ranked + done, label.name);
        },
      );
      ranked += queries.length;
      const metrics = collector.result(seed);
      rows.push({ ...label, metrics });
      if (label.swapped !== undefined) swapChecks.push(swapCheck(label, metrics, rows));
    }
  } finally {
    progress.end();
  }
  return {
    format: 'tandem-evaluation',
    version: 2,
    dataset: { name: dataset.name, digest: dataset.digest },
    protocol: {
      name: set.protocol,
      form: set.protocol === 'time' ? (options.form ?? 'all') : null,
      split: set.split,
      description: set.description,
      seenFilter: set.seenFilter,
      tieRule: TIE_RULE,
      requests: set.queries.length,
      candidates: set.candidates.reduce((sum, ranked) => sum + ranked, 0),
      cutSeconds: Number.isNaN(set.cutSeconds) ? null : set.cutSeconds,
      dropped: set.dropped,
    },
    baselines:
      mixture === undefined
        ? null
        : {
            basketRule: baselines.basketRule,
            mixture: mixture.weights,
            mixtureFrom: mixture.from,
          },
    seed,
    models: models.map(({ name, model, datasetDigest, dataUntilSeconds, identity }) => ({
      name,
      fusion: model.config.fusion,
      datasetDigest,
      dataUntilSeconds,
      ...identity,
    })),
    rows,
    swapChecks,
    seconds: (performance.now() - startedMs) / 1000,
  };
}

/** The requests that the options select. */
export function evaluationSet(
  options: Pick<EvaluationOptions, 'dataset' | 'protocol' | 'form' | 'split'>,
): EvaluationSet {
  const { dataset, protocol, form = 'all', split = 'test' } = options;
  if (protocol === 'table') return tableProtocol(dataset, split);
  return timeProtocol(dataset, {
    form,
    split,
    ...(split === 'validation' && validationWindow(dataset)),
  });
}

/** Weights of the mixed baseline for the requests of `set`, and where they come from. */
export function mixtureOf(
  options: Omit<EvaluationOptions, 'models'>,
  set: EvaluationSet,
): { weights: MixtureWeights; from: string } {
  if (options.mixture !== undefined) return { weights: options.mixture, from: 'given' };
  if (options.protocol === 'table') return { weights: DEFAULT_MIXTURE, from: 'default' };
  const validation =
    set.split === 'validation' ? set : validationSetOrNone({ ...options, split: 'validation' });
  if (validation === undefined)
    return { weights: DEFAULT_MIXTURE, from: 'default: no requests in the validation window' };
  return {
    weights: chooseMixture(options.dataset, validation),
    from: 'chosen on the validation split',
  };
}

function validationSetOrNone(
  options: Parameters<typeof evaluationSet>[0],
): EvaluationSet | undefined {
  try {
    return evaluationSet(options);
  } catch (error) {
    if (error instanceof TandemError && error.code === 'ERR_DATASET_INVALID') return undefined;
    throw error;
  }
}

/**
 * Refuses a model whose training data or features contain the events that it is asked to predict.
 *
 * @throws TandemError when the model has trained on other data or on events that `set` asks it to
 *   predict, or when its item frequencies reveal the label.
 */
export function refuseLeakage(model: EvaluatedModel, dataset: Dataset, set: EvaluationSet): void {
  refuseItemFrequencyInTable(set.protocol, model.model.config);
  if (model.datasetDigest !== undefined && model.datasetDigest !== dataset.digest)
    throw new TandemError(
      'ERR_CHECKPOINT_INVALID',
      `Expected checkpoint "${model.name}" to be trained on ${dataset.name} ` +
        `(digest ${dataset.digest.slice(0, 12)}), but it was trained on data with digest ` +
        `${model.datasetDigest.slice(0, 12)}. Train again, or evaluate on that dataset.`,
    );
  let allowed = 0;
  for (const [user, end] of set.trainEnd.entries())
    allowed += end - dataset.events.userOffsets[user]!;
  const late =
    model.dataUntilSeconds !== undefined && model.dataUntilSeconds >= set.cutSeconds
      ? `events until ${new Date(model.dataUntilSeconds * 1000).toISOString()}`
      : model.trainingEvents !== undefined && model.trainingEvents > allowed
        ? `${model.trainingEvents} events`
        : undefined;
  if (late !== undefined)
    throw new TandemError(
      'ERR_INVALID_ARGUMENT',
      `Expected checkpoint "${model.name}" to be trained on the ${allowed} events before the ` +
        `${set.split} split, but it saw ${late} and thus the answers. ` +
        'Evaluate on a later split, or train with an earlier cut.',
    );
}

/**
 * Compares a swap row with its base row.
 *
 * @param rows - the rows so far, with the base row.
 */
function swapCheck(
  { model, swapped }: RowLabel,
  metrics: ScorerMetrics,
  rows: readonly ReportRow[],
): SwapCheck {
  const whole = rows.find(({ name }) => name === swapped!.base)!.metrics;
  const recallAt100 = whole.recall['100']!;
  const recallAt100Swapped = metrics.recall['100']!;
  return {
    model: model!,
    swapped: swapped!.what,
    recallAt100,
    recallAt100Swapped,
    fell: recallAt100Swapped < whole.recallInterval['100']!.low,
  };
}
