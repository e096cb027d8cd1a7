// Which rows a report has: baselines, each model with several contexts, swap tests, stale states,
// and mixed versions.

import type { Dataset } from '../data/dataset.ts';
import { swapContexts, swapHistories } from './context-swap.ts';
import type { ScorerMetrics } from './metrics.ts';
import { mixtures, mixVersions, type Versions } from './mixed-versions.ts';
import {
  ModelEvaluation,
  ORACLE_LABEL,
  type ContextMode,
  type ScorableModel,
} from './model-scorer.ts';
import type { EvaluationQuery, EvaluationSet, Scorer } from './query.ts';
import { searchQueries } from './search.ts';
import { STALE_DAYS, staleQueries } from './staleness.ts';

/**
 * `baseline` and `model` are results. The others test the evaluation (`swap`, `leak`) or show how
 * serving can fail (`stale`, `skew`).
 */
export type RowKind = 'baseline' | 'model' | 'swap' | 'leak' | 'stale' | 'skew';

/** Describes a row of a report. */
export interface RowLabel {
  readonly name: string;
  readonly kind: RowKind;
  /** Name of the model; absent for baselines and mixed versions. */
  readonly model?: string;
  /** For a swap row: what was swapped, and the row that it must stay below. */
  readonly swapped?: { readonly what: 'contexts' | 'histories'; readonly base: string };
  /** How many days late the states are; 0 for the main row of a model. */
  readonly staleDays?: number;
  /** The models that the parts come from; only in a skew matrix. */
  readonly versions?: Versions;
}

/** A row of a report, with its metrics. */
export interface ReportRow extends RowLabel {
  readonly metrics: ScorerMetrics;
}

/** A row to compute. */
export interface RowTask {
  readonly label: RowLabel;
  readonly scorer: Scorer;
  /** The queries that the scorer answers. */
  readonly queries: readonly EvaluationQuery[];
  /** The original requests, for slices. */
  readonly requests: readonly EvaluationQuery[];
}

interface NamedModel {
  readonly name: string;
  readonly model: ScorableModel;
}

export interface ModelRowsOptions {
  readonly oracle: boolean;
  /** Seed of the swaps. */
  readonly seed: number;
  /** Whether the rows are part of a skew matrix. */
  readonly skew: boolean;
}

/** The rows of the baselines. */
export function baselineRows(scorers: readonly Scorer[], set: EvaluationSet): RowTask[] {
  return scorers.map((scorer) => ({
    label: { name: scorer.name, kind: 'baseline' },
    scorer,
    queries: set.queries,
    requests: set.queries,
  }));
}

/**
 * The rows of one model.
 *
 * @throws TandemError as ModelEvaluation does.
 */
export function modelRows(
  { name, model }: NamedModel,
  dataset: Dataset,
  set: EvaluationSet,
  { oracle, seed, skew }: ModelRowsOptions,
): RowTask[] {
  const evaluation = new ModelEvaluation(model, dataset);
  const { queries } = set;
  const swappable = queries.length > 1;
  const contexts = queries.some(({ subject }) => subject.kind !== 'none');
  const { name: main, context } = mainRow(name, model);
  const historyOnly = model.config.fusion === 'none';
  const tasks: RowTask[] = [];
  const add = (
    label: Omit<RowLabel, 'model'>,
    options: { context: ContextMode; history?: 'real' | 'cold' },
    changed = queries,
    requests = queries,
  ): void => {
    tasks.push({
      label: { ...label, model: name },
      scorer: evaluation.scorer({ name: label.name, oracle, ...options }),
      queries: changed,
      requests,
    });
  };
  if (!historyOnly) {
    // Each of these rows adds one ingredient of the context.
    add({ name: `${name}: context none`, kind: 'model' }, { context: 'none' });
    if (contexts && evaluation.knowsDemographics(queries))
      add({ name: `${name}: demographics only`, kind: 'model' }, { context: 'demographics' });
    if (model.config.subjectItem && queries.some(({ subject }) => subject.kind === 'item'))
      add(
        { name: `${name}: categories of the item in view`, kind: 'model' },
        { context: 'categories' },
      );
  }
  add(
    {
      name: main,
      kind: 'model',
      staleDays: 0,
      ...(skew && { versions: { state: name, head: name, index: name } }),
    },
    { context },
  );
  if (!historyOnly) {
    add(
      { name: `${name}: context only (cold start)`, kind: 'model' },
      { context: 'real', history: 'cold' },
    );
    const search = searchQueries(queries, dataset);
    if (search !== undefined)
      add(
        { name: `${name}: ${search.label}`, kind: 'model' },
        { context: 'real' },
        search.queries,
        search.queries,
      );
    if (oracle) add({ name: `${name}: ${ORACLE_LABEL}`, kind: 'leak' }, { context: 'oracle' });
    if (swappable && contexts)
      add(
        {
          name: `${name}: contexts swapped`,
          kind: 'swap',
          swapped: { what: 'contexts', base: main },
        },
        { context: 'real' },
        swapContexts(queries, seed),
      );
  }
  if (swappable)
    add(
      {
        name: `${name}: histories swapped`,
        kind: 'swap',
        swapped: { what: 'histories', base: main },
      },
      { context },
      swapHistories(queries, seed),
    );
  // Leave-one-out has no batch times, so no state can be late.
  if (set.protocol === 'time')
    for (const days of STALE_DAYS)
      add(
        {
          name: `${name}: states ${days} ${days === 1 ? 'day' : 'days'} late`,
          kind: 'stale',
          staleDays: days,
        },
        { context },
        staleQueries(queries, dataset, days),
      );
  return tasks;
}

/** The rows of the skew matrix: states, head and index of two trainings in every mixture. */
export function skewRows(
  first: NamedModel,
  second: NamedModel,
  dataset: Dataset,
  set: EvaluationSet,
): RowTask[] {
  const models = new Map([first, second].map(({ name, model }) => [name, model]));
  return mixtures(first.name, second.name).map((versions) => {
    const { state, head, index } = versions;
    const mixed = mixVersions(models.get(state)!, models.get(head)!, models.get(index)!);
    const name = `state of ${state}, head of ${head}, index of ${index}`;
    return {
      label: { name, kind: 'skew', versions },
      scorer: new ModelEvaluation(mixed, dataset).scorer({
        name,
        context: mainRow(first.name, first.model).context,
      }),
      queries: set.queries,
      requests: set.queries,
    };
  });
}

/**
 * The scorer of a model's main row, which ranks as serving would answer.
 *
 * @throws TandemError as ModelEvaluation does.
 */
export function mainScorer({ name, model }: NamedModel, dataset: Dataset): Scorer {
  return new ModelEvaluation(model, dataset).scorer(mainRow(name, model));
}

function mainRow(
  name: string,
  { config }: NamedModel['model'],
): { name: string; context: 'none' | 'real' } {
  return config.fusion === 'none'
    ? { name: `${name}: history only`, context: 'none' }
    : { name: `${name}: context real`, context: 'real' };
}
