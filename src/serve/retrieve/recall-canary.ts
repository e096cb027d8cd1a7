// Measures the recall of the approximate index on live traffic. One in `canaryEvery` of its answers
// is searched again with an exact scan on a worker thread, and the share of the true best items
// that the answer had becomes a metric. At most one check runs at a time, so checks cannot pile up.

import { logger } from '../../telemetry.ts';
import type { Engine } from '../engine/engine.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { HitsPlan } from './hits.ts';
import type { ResolvedQuery } from './resolved-query.ts';

/**
 * A search whose answer was sent. Its arrays may be reused afterwards: observe() copies what it
 * keeps.
 */
export interface AnsweredSearch {
  readonly resolved: ResolvedQuery;
  readonly engine: Pick<Engine, 'index'>;
  readonly plan: HitsPlan;
  /** [D] query embedding. */
  readonly query: Float32Array;
  /** Rows of the answer, best first. */
  readonly rows: Int32Array;
  /** Items with a history boost, as rows of the bundle. */
  readonly boostedItems: Int32Array;
}

export class RecallCanary {
  readonly #metrics: ServerMetrics;
  readonly #every: number;
  #unchecked = 0;
  #checking = false;

  /** @param every - number of answers of approximate searches of which one is checked. */
  constructor(metrics: ServerMetrics, every: number) {
    this.#metrics = metrics;
    this.#every = every;
  }

  /** Call it with every answer that was sent. */
  observe(search: AnsweredSearch): void {
    const { plan, resolved } = search;
    if (plan !== 'clusters' && plan !== 'hnsw') return;
    const { request } = resolved;
    if (request.kind !== 'candidates') return;
    // With a cap on advertisers the answer is not meant to be the nearest items.
    if (request.filter?.advertisers?.max_each) return;
    if (++this.#unchecked < this.#every || this.#checking) return;
    this.#unchecked = 0;
    this.#checking = true;
    this.#check({
      resolved,
      engine: search.engine,
      plan,
      query: search.query.slice(),
      rows: search.rows.slice(),
      boostedItems: search.boostedItems.slice(),
    })
      .catch((error: unknown) => {
        logger.error({ err: error }, 'an answer could not be checked against an exact search');
      })
      .finally(() => {
        this.#checking = false;
      });
  }

  /**
   * Checks the part of an answer that came from the index. Fresh items are not in the index, and
   * boosted items are found without it.
   */
  async #check({ resolved, engine, query, rows, boostedItems }: AnsweredSearch): Promise<void> {
    const { request, filter, excluded } = resolved;
    const { index } = engine;
    const without = new Set([...excluded, ...boostedItems]);
    const others = rows.reduce(
      (count, row) => count + Number(row >= index.size || without.has(row)),
      0,
    );
    const k = request.kind === 'candidates' ? request.k - others : 0;
    if (k === 0) return;
    const exact = await index.nearest(query, k + without.size, filter?.allow ?? null);
    const best = exact.filter((row) => !without.has(row)).slice(0, k);
    if (best.length === 0) return;
    const answered = new Set(rows);
    const found = best.reduce((count, row) => count + Number(answered.has(row)), 0);
    this.#metrics.annRecall.observe(found / best.length);
  }
}
