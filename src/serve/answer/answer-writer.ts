// From hits to answers: what a state was worth, what an answer lacks, the body as its endpoint writes it, and what is counted of all that.

import type { EncoderId } from '../../ids.ts';
import { boostsOf, type StateBatch } from '../../store/state-batch.ts';
import type { Engine } from '../engine/engine.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import { RecallCanary } from '../retrieve/recall-canary.ts';
import { rowOf } from '../retrieve/row-of.ts';
import type { StageClock } from '../metrics/stage-clock.ts';
import type {
  AnswerFacts,
  AnswerParts,
  Degradation,
  StateFailure,
  StateSummary,
} from './answer-parts.ts';
import type { Hits, HitsPlan } from '../retrieve/hits.ts';
import type { BundleVersion, Resolved } from './pending.ts';

/** A micro-batch that has its hits; arrays by row of `requests`. */
export interface FoundBatch {
  readonly engine: Engine;
  readonly requests: readonly Resolved[];
  readonly states: StateBatch;
  readonly failures: readonly StateFailure[];
  /** [B, D]. */
  readonly embeddings: Float32Array;
  readonly hits: readonly Hits[];
  /** When states aged and heads ran, Unix seconds. */
  readonly nowSeconds: number;
  readonly clock: StageClock;
  readonly stateMs: number;
  readonly headMs: number;
  readonly retrieveMs: number;
}

export interface AnswerWriterOptions {
  readonly staleAfterSeconds: number;
  /** Answers of approximate searches to one that is checked against an exact one. */
  readonly canaryEvery: number;
}

/** Answers are written for so long in a turn: its end sends them, which takes as long again. */
const WRITING_MS = 1;

export class AnswerWriter {
  readonly #metrics: ServerMetrics;
  readonly #nextTurn: () => Promise<void>;
  readonly #staleAfterSeconds: number;
  readonly #canary: RecallCanary;
  readonly #watermarkSeconds = new Map<EncoderId, number>();

  constructor(
    metrics: ServerMetrics,
    nextTurn: () => Promise<void>,
    { staleAfterSeconds, canaryEvery }: AnswerWriterOptions,
  ) {
    this.#metrics = metrics;
    this.#nextTurn = nextTurn;
    this.#staleAfterSeconds = staleAfterSeconds;
    this.#canary = new RecallCanary(metrics, canaryEvery);
  }

  /** A state is as fresh as the last job that looked at all users, also when that user had nothing new. */
  setWatermark(encoderId: EncoderId, untilSeconds: number): void {
    this.#watermarkSeconds.set(encoderId, untilSeconds);
  }

  /** Settles every request of the micro-batch, in as many turns of the loop as that takes. */
  async write(batch: FoundBatch): Promise<void> {
    const { engine, requests, states, failures, embeddings, hits, clock } = batch;
    let turnMs = performance.now();
    for (const [row, pending] of requests.entries()) {
      if (performance.now() - turnMs >= WRITING_MS) {
        await this.#nextTurn();
        turnMs = performance.now();
      }
      const failure = failures[row];
      const stagesMs = {
        parse: pending.parseMs,
        queue: clock.startedMs - pending.queuedAtMs,
        state: batch.stateMs,
        head: batch.headMs,
        retrieve: batch.retrieveMs,
        encode: 0,
      };
      const parts: AnswerParts = {
        request: pending.request,
        requestId: pending.requestId,
        subject: pending.subject,
        filter: pending.filter,
        state: this.#summarise(engine, pending, states, row, batch.nowSeconds),
        degraded: degradation(hits[row]!.plan, pending.version, failure),
        embedding: rowOf(embeddings, row, engine.width),
        hits: hits[row]!,
        batchSize: requests.length,
        stagesMs,
      };
      const body = pending.endpoint.encode(engine, parts) as never;
      stagesMs.encode = clock.sinceLapMs();
      pending.resolve({ body, stagesMs, facts: factsOf(engine, parts) });
      this.#record(parts, failure);
      const { plan, rows } = parts.hits;
      const { items: listed } = boostsOf(states, row);
      this.#canary.observe({ asked: pending, engine, plan, query: parts.embedding, rows, listed });
    }
  }

  #summarise(
    { encoderId }: Engine,
    { version }: Resolved,
    states: StateBatch,
    row: number,
    nowSeconds: number,
  ): StateSummary {
    if (states.lengths[row] === 0)
      return { status: version === 'mismatch' ? 'version_mismatch' : 'missing', ageSeconds: null };
    const watermark = this.#watermarkSeconds.get(encoderId) ?? Number.NEGATIVE_INFINITY;
    const knownUntil = Math.max(states.encodedAtSeconds[row]!, watermark);
    const ageSeconds = Math.max(0, Math.round(nowSeconds - knownUntil));
    return {
      status: ageSeconds > this.#staleAfterSeconds ? 'stale' : 'fresh',
      ageSeconds,
    };
  }

  #record({ request, state, degraded, filter, hits }: AnswerParts, failure: StateFailure): void {
    const metrics = this.#metrics;
    if (state.ageSeconds !== null) metrics.stateAge.observe(state.ageSeconds);
    const found = degraded?.mode === 'previous-bundle' ? 'previous' : 'found';
    metrics.storeRequests.inc(failure ?? (state.ageSeconds === null ? state.status : found));
    if (degraded !== undefined) metrics.degraded.inc(degraded.mode);
    if (request.kind !== 'candidates') return;
    metrics.candidatesReturned.observe(hits.rows.length);
    if (request.filter !== undefined && filter !== undefined)
      metrics.filterSelectivity.observe(filter.selectivity);
  }
}

function factsOf({ bundle }: Engine, { request, state, degraded, hits }: AnswerParts): AnswerFacts {
  const { bundleId } = bundle.manifest;
  return {
    user: request.user,
    bundleId,
    state,
    degraded,
    plan: hits.plan,
    items: hits.rows.length,
  };
}

/** What an answer lacks that the request allowed, the furthest step down first. */
function degradation(
  plan: HitsPlan,
  version: BundleVersion,
  failure: StateFailure,
): Degradation | undefined {
  const reason = failure ?? (version === 'mismatch' ? 'version_mismatch' : undefined);
  if (plan === 'popular') return { mode: 'popular', reason: reason ?? 'no_history_no_context' };
  if (reason !== undefined) return { mode: 'context-only', reason };
  return version === 'previous'
    ? { mode: 'previous-bundle', reason: 'state_of_previous_encoder' }
    : undefined;
}
