// The last stage of the pipeline: writes the answers of a micro-batch, sends them and counts them.
// It decides the status and age of states and which fallback an answer reports. The endpoint of a
// request decides how the body is written.

import type { EncoderId } from '../../ids.ts';
import { boostsOf, type StateBatch } from '../../store/state-batch.ts';
import type { Engine } from '../engine/engine.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import type { StageClock } from '../metrics/stage-clock.ts';
import type { Hits, HitsPlan } from '../retrieve/hits.ts';
import { RecallCanary } from '../retrieve/recall-canary.ts';
import { rowOf } from '../retrieve/row-of.ts';
import type { AnswerFacts, AnswerParts, StateFailure, ReportedState } from './answer-parts.ts';
import type { AnswerDegradation } from '../request/response-types.ts';
import type { BundleVersion, Resolved } from './pending.ts';

/** A micro-batch after retrieval. Its arrays have the order of `requests`. */
export interface FoundBatch {
  readonly engine: Engine;
  readonly requests: readonly Resolved[];
  readonly states: StateBatch;
  readonly failures: readonly StateFailure[];
  /** [B, D] query embeddings. */
  readonly embeddings: Float32Array;
  readonly hits: readonly Hits[];
  /** Unix seconds at which the head ran. The ages of states refer to it. */
  readonly nowSeconds: number;
  readonly clock: StageClock;
  /** Milliseconds in the stages so far. */
  readonly stateMs: number;
  readonly headMs: number;
  readonly retrieveMs: number;
}

export interface AnswerWriterOptions {
  /** Age from which a state counts as stale. */
  readonly staleAfterSeconds: number;
  /** One in this many answers of approximate searches is checked against an exact search. */
  readonly canaryEvery: number;
}

/**
 * Longest time for which answers are written in one iteration of the event loop. The iteration then
 * sends them, which takes about as long again.
 */
const MAX_WRITING_MS = 1;

export class AnswerWriter {
  readonly #metrics: ServerMetrics;
  readonly #nextTurn: () => Promise<void>;
  readonly #staleAfterSeconds: number;
  readonly #canary: RecallCanary;
  readonly #watermarksSeconds = new Map<EncoderId, number>();

  /** @param nextTurn - resolves in a later iteration of the event loop. */
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

  /**
   * Sets the Unix time up to which batch jobs have encoded the events of all users. A state is at
   * least as fresh as that, also if the user has had no event since.
   */
  setWatermark(encoderId: EncoderId, untilSeconds: number): void {
    this.#watermarksSeconds.set(encoderId, untilSeconds);
  }

  /**
   * Answers every request of the micro-batch, in as many iterations of the event loop as it needs.
   */
  async write(batch: FoundBatch): Promise<void> {
    const { engine, requests, states, failures, embeddings, hits, clock } = batch;
    let turnMs = performance.now();
    for (const [i, pending] of requests.entries()) {
      if (performance.now() - turnMs >= MAX_WRITING_MS) {
        await this.#nextTurn();
        turnMs = performance.now();
      }
      const failure = failures[i];
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
        state: this.#summariseState(engine, pending, states, i, batch.nowSeconds),
        degraded: degradationOf(hits[i]!.plan, pending.version, failure),
        embedding: rowOf(embeddings, i, engine.width),
        hits: hits[i]!,
        batchSize: requests.length,
        stagesMs,
      };
      const body = pending.endpoint.encode(engine, parts);
      stagesMs.encode = clock.sinceLapMs();
      pending.resolve({ body, stagesMs, facts: factsOf(engine, parts) });
      this.#record(parts, failure);
      this.#canary.observe({
        resolved: pending,
        engine,
        plan: parts.hits.plan,
        query: parts.embedding,
        rows: parts.hits.rows,
        boostedItems: boostsOf(states, i).items,
      });
    }
  }

  #summariseState(
    { encoderId }: Engine,
    { version }: Resolved,
    states: StateBatch,
    index: number,
    nowSeconds: number,
  ): ReportedState {
    if (states.lengths[index] === 0)
      return { status: version === 'mismatch' ? 'version_mismatch' : 'missing', ageSeconds: null };
    const watermark = this.#watermarksSeconds.get(encoderId) ?? Number.NEGATIVE_INFINITY;
    const knownUntil = Math.max(states.encodedAtSeconds[index]!, watermark);
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

/** The fallback that an answer reports. If several apply, it is the one that personalises least. */
function degradationOf(
  plan: HitsPlan,
  version: BundleVersion,
  failure: StateFailure,
): AnswerDegradation | undefined {
  const reason = failure ?? (version === 'mismatch' ? 'version_mismatch' : undefined);
  if (plan === 'popular') return { mode: 'popular', reason: reason ?? 'no_history_no_context' };
  if (reason !== undefined) return { mode: 'context-only', reason };
  return version === 'previous'
    ? { mode: 'previous-bundle', reason: 'state_of_previous_encoder' }
    : undefined;
}
