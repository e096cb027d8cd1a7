// One evaluation: a protocol's requests, every floor, every model with its context rows and swap tests, one report.

import type { Dataset } from '../data/dataset.ts';
import { TandemError } from '../errors.ts';
import { startProgress } from '../telemetry.ts';
import { DEFAULT_MIXTURE, Floors, type MixtureWeights } from './baselines.ts';
import { swapContexts, swapHistories } from './context-swap.ts';
import { COVERAGE_AT, MetricsCollector, type ScorerMetrics } from './metrics.ts';
import { chooseMixture } from './mixture.ts';
import { ModelEvaluation, ORACLE_LABEL, type ScorableModel } from './model-scorer.ts';
import { tableProtocol, timeProtocol, validationWindow } from './protocols.ts';
import type { EvaluationSet, Scorer } from './query.ts';
import { rankAll, TIE_RULE } from './ranking.ts';
import { searchQueries } from './search.ts';
import { slicesOf } from './slices.ts';

/** A trained model to judge, with what its checkpoint says it has seen. */
export interface EvaluatedModel {
  /** Short name for the rows of the report, e.g. the checkpoint's folder. */
  readonly name: string;
  readonly model: ScorableModel;
  readonly datasetDigest?: string;
  /** Unix seconds of the newest event that training saw. */
  readonly dataUntilSeconds?: number;
  /** Events that training saw. */
  readonly trainingEvents?: number;
  /** Whatever identifies the checkpoint; copied into the report. */
  readonly identity?: Readonly<Record<string, unknown>>;
}

export interface EvaluationOptions {
  readonly dataset: Dataset;
  readonly protocol: 'table' | 'time';
  /** Of the time protocol; `all` when absent. */
  readonly form?: 'all' | 'discovery';
  /** `test` when absent. */
  readonly split?: 'validation' | 'test';
  readonly models?: readonly EvaluatedModel[];
  /** Adds the row whose context is derived from the label. */
  readonly oracle?: boolean;
  /** Weights of the mixed floor; chosen on the validation split when absent. */
  readonly mixture?: MixtureWeights;
  /** Of the bootstrap and of the swaps; 1 when absent. */
  readonly seed?: number;
}

/** `swap` and `leak` rows test the evaluation; they are no results. */
export type RowKind = 'floor' | 'model' | 'swap' | 'leak';

export interface ReportRow {
  readonly name: string;
  readonly kind: RowKind;
  /** Name of the model; absent for floors. */
  readonly model?: string;
  readonly metrics: ScorerMetrics;
}

/** Recall@100 must fall when contexts or histories are swapped between requests. */
export interface SwapCheck {
  readonly model: string;
  readonly swapped: 'contexts' | 'histories';
  readonly recallAt100: number;
  readonly recallAt100Swapped: number;
  /** Whether it fell below the 95 % interval of the row without the swap: less than that may be chance. */
  readonly fell: boolean;
}

export interface EvaluationReport {
  readonly format: 'tandem-evaluation';
  readonly version: 1;
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
  readonly floors: {
    readonly basketRule: string;
    readonly mixture: MixtureWeights;
    readonly mixtureFrom: string;
  };
  readonly seed: number;
  readonly models: readonly Readonly<Record<string, unknown>>[];
  readonly rows: readonly ReportRow[];
  readonly swapChecks: readonly SwapCheck[];
  readonly seconds: number;
}

interface Task {
  readonly scorer: Scorer;
  readonly kind: RowKind;
  readonly model?: string;
  readonly set: EvaluationSet;
  /** Of a swap row: the row that it must stay below. */
  readonly swapped?: { readonly what: 'contexts' | 'histories'; readonly base: string };
}

/**
 * Ranks every candidate for every request with each floor and each model.
 *
 * @returns the report; report.ts prints and writes it. Cost: rows x requests x items.
 * @throws TandemError ERR_INVALID_ARGUMENT when a model has trained on events that it is asked to predict;
 *   ERR_CHECKPOINT_INVALID for a model of another catalogue; ERR_DATASET_INVALID when the protocol does not fit the data.
 */
export async function evaluate(options: EvaluationOptions): Promise<EvaluationReport> {
  const startedMs = performance.now();
  const { dataset, oracle = false, seed = 1, models = [] } = options;
  const set = evaluationSet(options);
  for (const model of models) refuseLeakage(model, dataset, set);
  const mixture = mixtureOf(options, set);
  const floors = new Floors(dataset, set);
  const tasks: Task[] = floors
    .scorers(mixture.weights)
    .map((scorer) => ({ scorer, kind: 'floor', set }));
  for (const model of models) tasks.push(...modelTasks(model, dataset, set, oracle, seed));

  const progress = startProgress('evaluate', tasks.length * set.queries.length, 'rankings');
  const rows: ReportRow[] = [];
  const swapChecks: SwapCheck[] = [];
  try {
    for (const [i, task] of tasks.entries()) {
      const collector = new MetricsCollector(floors.popularity, set.candidates);
      await rankAll(
        task.set,
        task.scorer,
        Math.max(...COVERAGE_AT),
        (asked, ranked, index) => {
          // Slices describe the request as it is, also where its context or history was swapped.
          const query = task.swapped === undefined ? asked : set.queries[index]!;
          collector.add(query, ranked, slicesOf(query, dataset));
        },
        (done) => {
          progress.update(i * set.queries.length + done, task.scorer.name);
        },
      );
      const metrics = collector.result(seed);
      rows.push({
        name: task.scorer.name,
        kind: task.kind,
        ...(task.model !== undefined && { model: task.model }),
        metrics,
      });
      if (task.swapped !== undefined) swapChecks.push(swapCheck(task, metrics, rows));
    }
  } finally {
    progress.end();
  }
  return {
    format: 'tandem-evaluation',
    version: 1,
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
    floors: {
      basketRule: floors.basketRule,
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

/** The requests that the options name. */
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

function mixtureOf(
  options: EvaluationOptions,
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

function validationSetOrNone(options: EvaluationOptions): EvaluationSet | undefined {
  try {
    return evaluationSet(options);
  } catch (error) {
    if (error instanceof TandemError && error.code === 'ERR_DATASET_INVALID') return undefined;
    throw error;
  }
}

function refuseLeakage(model: EvaluatedModel, dataset: Dataset, set: EvaluationSet): void {
  if (model.datasetDigest !== undefined && model.datasetDigest !== dataset.digest)
    throw new TandemError(
      'ERR_CHECKPOINT_INVALID',
      `Expected checkpoint "${model.name}" to be trained on ${dataset.name} (digest ${dataset.digest.slice(0, 12)}), it was trained on data of digest ${model.datasetDigest.slice(0, 12)}. Train again, or evaluate on that dataset.`,
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
      `Expected checkpoint "${model.name}" to be trained on the ${allowed} events before the ${set.split} split, it saw ${late} and thus the answers. Evaluate on a later split, or train with an earlier cut.`,
    );
}

/** Rows of one model: its contexts, and the swaps that must hurt it. */
function modelTasks(
  { name, model }: EvaluatedModel,
  dataset: Dataset,
  set: EvaluationSet,
  oracle: boolean,
  seed: number,
): Task[] {
  const evaluation = new ModelEvaluation(model, dataset);
  const swappable = set.queries.length > 1;
  const contexts = set.queries.some(({ subject }) => subject.kind !== 'none');
  const historyOnly = model.config.fusion === 'none';
  const base = historyOnly ? `${name}: history only` : `${name}: context real`;
  const tasks: Task[] = [];
  const add = (
    label: string,
    kind: RowKind,
    options: { context: 'none' | 'real' | 'oracle'; history?: 'real' | 'cold' },
    swapped?: 'contexts' | 'histories',
    asked = set.queries,
  ): void => {
    const queries =
      swapped === 'contexts'
        ? swapContexts(asked, seed)
        : swapped === 'histories'
          ? swapHistories(asked, seed)
          : asked;
    tasks.push({
      scorer: evaluation.scorer({ name: `${name}: ${label}`, oracle, ...options }),
      kind,
      model: name,
      set: { ...set, queries },
      ...(swapped !== undefined && { swapped: { what: swapped, base } }),
    });
  };
  if (historyOnly) {
    add('history only', 'model', { context: 'none' });
  } else {
    add('context none', 'model', { context: 'none' });
    add('context real', 'model', { context: 'real' });
    add('context only (cold start)', 'model', { context: 'real', history: 'cold' });
    const search = searchQueries(set.queries, dataset);
    if (search !== undefined)
      add(search.label, 'model', { context: 'real' }, undefined, search.queries);
    if (oracle) add(ORACLE_LABEL, 'leak', { context: 'oracle' });
    if (swappable && contexts) add('contexts swapped', 'swap', { context: 'real' }, 'contexts');
  }
  if (swappable) add('histories swapped', 'swap', { context: 'real' }, 'histories');
  return tasks;
}

function swapCheck(task: Task, metrics: ScorerMetrics, rows: readonly ReportRow[]): SwapCheck {
  const { what, base } = task.swapped!;
  const whole = rows.find(({ name }) => name === base)!.metrics;
  const recallAt100 = whole.recall['100']!;
  const recallAt100Swapped = metrics.recall['100']!;
  return {
    model: task.model!,
    swapped: what,
    recallAt100,
    recallAt100Swapped,
    fell: recallAt100Swapped < whole.recallInterval['100']!.low,
  };
}
