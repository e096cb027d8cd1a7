// Uses a model as a scorer. This file decides which state and which context each row of a report
// gets. All features come from features/.

import type { ModelConfig } from '../bundle/manifest.ts';
import type { Dataset } from '../data/dataset.ts';
import { TandemError } from '../errors.ts';
import { ActionRows } from '../features/action-rows.ts';
import { ContextFeatures, NO_SUBJECT, type SubjectBag } from '../features/context.ts';
import { HeadBatchBuilder, type HeadBatch } from '../features/head-batch.ts';
import { catalogueDigest, type FeatureSchema } from '../features/schema.ts';
import { historyBoosts, type FrequencyWeights } from '../features/item-frequency.ts';
import { HistoryBatchBuilder, stateAge, type HistoryBatch } from '../features/sequence.ts';
import { LoggedContext } from '../model/training/contexts/logged-context.ts';
import type { EvaluationQuery, Scorer } from './query.ts';

/** The part of a TwoTower that the evaluator needs. */
export interface ScorableModel {
  readonly config: Pick<
    ModelConfig,
    'embeddingWidth' | 'maxHistory' | 'fusion' | 'subjectItem' | 'itemFrequency'
  >;
  readonly schema: FeatureSchema;
  encodeHistories(batch: HistoryBatch): Promise<Float32Array[]>;
  embedQueries(batch: HeadBatch): Promise<Float32Array>;
  /** Undefined for a model without history boosts. */
  frequencyWeights(): Promise<FrequencyWeights | undefined>;
  itemVectors(): Promise<Float32Array>;
  scores(queries: Float32Array, vectors: Float32Array): Promise<Float32Array>;
}

/**
 * Which context a query gets:
 *
 * - `none`: neither subject nor demographics.
 * - `demographics`: demographics only.
 * - `categories`: demographics and subject; an item in view gives its categories only.
 * - `real`: the context as logged.
 * - `oracle`: the categories of the first positive as subject.
 */
export type ContextMode = 'none' | 'demographics' | 'categories' | 'real' | 'oracle';
/** `cold` gives every query the cold-start vector. */
export type HistoryMode = 'real' | 'cold';

export const ORACLE_LABEL = 'oracle (leaks the label)';

export interface ModelScorerOptions {
  readonly name: string;
  readonly context: ContextMode;
  readonly history?: HistoryMode;
  /** Allows the context `oracle`. */
  readonly oracle?: boolean;
}

/** States and item vectors of one model on one dataset, computed once for all rows of a report. */
export class ModelEvaluation {
  readonly #model: ScorableModel;
  readonly #dataset: Dataset;
  readonly #logged: LoggedContext;
  /** Row of the action table, by event. */
  readonly #actions: Int32Array;
  /** User states by historyEnd, which identifies both the user and the events of the state. */
  readonly #states = new Map<number, Float32Array>();
  #vectors: Float32Array | undefined;

  /** @throws TandemError ERR_CHECKPOINT_INVALID when the model was trained on another catalogue. */
  constructor(model: ScorableModel, dataset: Dataset) {
    const digest = catalogueDigest(dataset.items.ids);
    if (digest !== model.schema.catalogueDigest)
      throw new TandemError(
        'ERR_CHECKPOINT_INVALID',
        `Expected a checkpoint over the ${dataset.items.count} items of ${dataset.name} ` +
          `(catalogue ${digest.slice(0, 12)}), received one over catalogue ` +
          `${model.schema.catalogueDigest.slice(0, 12)}. ` +
          'Train on this dataset, or evaluate on the one it was trained on.',
      );
    this.#model = model;
    this.#dataset = dataset;
    this.#logged = new LoggedContext(new ContextFeatures(model.schema), dataset);
    this.#actions = new ActionRows(model.schema).column(dataset.events);
  }

  /**
   * A scorer that uses this model.
   *
   * @throws TandemError ERR_INVALID_ARGUMENT for context `oracle` without `oracle: true`, because
   *   that context is derived from the label.
   */
  scorer(options: ModelScorerOptions): Scorer {
    const { name, context, history = 'real' } = options;
    if (context === 'oracle' && options.oracle !== true)
      throw new TandemError(
        'ERR_INVALID_ARGUMENT',
        `Expected context "none" or "real" for "${name}", received "oracle", which is derived ` +
          'from the label. Pass --oracle to print it as leakage.',
      );
    return {
      name,
      score: async (queries, out): Promise<void> => {
        const batch = await this.#headBatch(queries, context, history);
        this.#vectors ??= await this.#model.itemVectors();
        out.set(await this.#model.scores(await this.#model.embedQueries(batch), this.#vectors));
        const frequency = await this.#model.frequencyWeights();
        if (frequency !== undefined && history === 'real') this.#addBoosts(queries, frequency, out);
      },
    };
  }

  /**
   * Adds the history boosts to scores.
   *
   * @param out - [Q, N], changed in place.
   */
  #addBoosts(
    queries: readonly EvaluationQuery[],
    weights: FrequencyWeights,
    out: Float32Array,
  ): void {
    const { events, items: catalogue } = this.#dataset;
    const { maxHistory } = this.#model.config;
    for (const [row, { historyBegin, historyEnd }] of queries.entries()) {
      const { items, boosts } = historyBoosts(
        events,
        historyBegin,
        historyEnd,
        maxHistory,
        weights,
      );
      for (const [i, item] of items.entries()) out[row * catalogue.count + item]! += boosts[i]!;
    }
  }

  async #headBatch(
    queries: readonly EvaluationQuery[],
    context: ContextMode,
    history: HistoryMode,
  ): Promise<HeadBatch> {
    const { times } = this.#dataset.events;
    if (history === 'real') await this.#encode(queries);
    const { embeddingWidth, fusion } = this.#model.config;
    const builder = new HeadBatchBuilder(embeddingWidth, queries.length, fusion === 'attention');
    for (const query of queries) {
      const known = history === 'real' && query.historyEnd > query.historyBegin;
      builder.add(
        known ? this.#states.get(query.historyEnd) : undefined,
        known ? stateAge(times[query.historyEnd - 1]!, query.timeSeconds) : 0,
        this.#subject(query, context),
        context === 'none' ? [0, 0, 0] : this.#logged.demographics(query.user, query.demographics),
        subjectItemOf(query, context),
      );
    }
    return builder.batch();
  }

  /** Whether any request has a demographic that the model knows. */
  knowsDemographics(queries: readonly EvaluationQuery[]): boolean {
    return queries.some(({ user, demographics }) =>
      this.#logged.demographics(user, demographics).some((row) => row > 0),
    );
  }

  /** Encodes the histories of `queries` that have no cached state. */
  async #encode(queries: readonly EvaluationQuery[]): Promise<void> {
    const missing = new Map<number, EvaluationQuery>();
    for (const query of queries)
      if (query.historyEnd > query.historyBegin && !this.#states.has(query.historyEnd))
        missing.set(query.historyEnd, query);
    if (missing.size === 0) return;
    const { items, times } = this.#dataset.events;
    const columns = { items, actions: this.#actions, times };
    const batch = new HistoryBatchBuilder(this.#model.config.maxHistory);
    for (const { historyBegin, historyEnd } of missing.values())
      batch.add(columns, historyBegin, historyEnd);
    const states = await this.#model.encodeHistories(batch.batch());
    for (const [row, end] of [...missing.keys()].entries()) this.#states.set(end, states[row]!);
  }

  #subject(query: EvaluationQuery, context: ContextMode): SubjectBag {
    if (context === 'none' || context === 'demographics') return NO_SUBJECT;
    return context === 'oracle'
      ? this.#logged.item(query.positives[0]!)
      : this.#logged.subject(query.subject);
  }
}

/**
 * The item in view. The oracle has the categories of the label as its subject, but not its vector.
 */
function subjectItemOf({ subject }: EvaluationQuery, context: ContextMode): number {
  return context === 'real' && subject.kind === 'item' ? subject.item : -1;
}
