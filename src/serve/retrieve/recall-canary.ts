// How well the index answers the requests that come: one answer of an approximate search in so many is searched again, exactly, on a
// thread of its own, and what share of the true best was found becomes a metric. One at a time, so that it cannot pile up.

import { logger } from '../../telemetry.ts';
import type { Engine } from '../engine/engine.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { HitsPlan } from './hits.ts';
import type { ResolvedQuery } from './resolved-query.ts';

export interface AnsweredSearch {
  readonly asked: ResolvedQuery;
  readonly engine: Pick<Engine, 'index'>;
  readonly plan: HitsPlan;
  /** [D]; copied. */
  readonly query: Float32Array;
  /** What was answered, best first; copied. */
  readonly rows: Int32Array;
  /** Items of the user's list, rows of the bundle; copied. */
  readonly listed: Int32Array;
}

export class RecallCanary {
  readonly #metrics: ServerMetrics;
  readonly #every: number;
  #passed = 0;
  #running = false;

  /** @param every - answers of approximate searches to one that is checked. */
  constructor(metrics: ServerMetrics, every: number) {
    this.#metrics = metrics;
    this.#every = every;
  }

  /** Call with every answer that was sent. */
  observe(search: AnsweredSearch): void {
    const { plan, asked } = search;
    if (plan !== 'clusters' && plan !== 'hnsw') return;
    // A cap on advertisers answers with others than the nearest, and is meant to.
    if (asked.request.kind !== 'candidates' || asked.request.filter?.advertisers?.max_each) return;
    if (++this.#passed < this.#every || this.#running) return;
    this.#passed = 0;
    this.#running = true;
    const { query, rows, listed } = search;
    const kept = { query: query.slice(), rows: rows.slice(), listed: listed.slice() };
    this.#check({ ...search, ...kept })
      .catch((error: unknown) => {
        logger.error({ err: error }, 'an answer could not be checked against an exact search');
      })
      .finally(() => {
        this.#running = false;
      });
  }

  /** Fresh items are not in the index, and listed ones are found without it: what is checked is the rest of the answer. */
  async #check({ asked, engine, query, rows, listed }: AnsweredSearch): Promise<void> {
    const { request, filter, excluded } = asked;
    const { index } = engine;
    const without = new Set([...excluded, ...listed]);
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
