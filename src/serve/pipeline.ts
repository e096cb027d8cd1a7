// The request path. Requests that arrive together form a micro-batch (micro-batches.ts), which one
// bundle answers in five stages:
//
//   resolve    ids become rows of the bundle                       resolve.ts
//   hydrate    the store gives the users' states                   state-reader.ts
//   head       state and context become query embeddings           the native head
//   retrieve   searches find candidates, given items get scores    retrieve/
//   encode     answers are written, sent and counted               answer/
//
// The kind of a request (candidates, embeddings or scores) matters only in the last two.

import { maxStateRows } from '../bundle/manifest.ts';
import { stateAge } from '../features/sequence.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { newStateBatch, stateOf, type StateBatch } from '../store/state-batch.ts';
import type { StateStore } from '../store/store.ts';
import { Admission, type AdmissionOptions } from './admission/admission.ts';
import type { StateFailure } from './answer/answer-parts.ts';
import { AnswerWriter, type AnswerWriterOptions } from './answer/answer-writer.ts';
import type { Endpoint } from './answer/endpoint.ts';
import type { Answer, Caller, Pending, Resolved } from './answer/pending.ts';
import type { Engine } from './engine/engine.ts';
import type { Served } from './engine/served.ts';
import { Workspaces, type Workspace } from './engine/workspace.ts';
import type { ServerMetrics } from './metrics/metrics.ts';
import { StageClock } from './metrics/stage-clock.ts';
import { MicroBatches } from './micro-batches.ts';
import type { PipelineRequest } from './request/request-types.ts';
import { resolveAll, resolveOne } from './resolve.ts';
import type { Hits } from './retrieve/hits.ts';
import { retrieveAll } from './retrieve/retrieve.ts';
import { TurnScheduler } from './scheduler.ts';
import { StateReader } from './state-reader.ts';

export interface PipelineOptions extends AdmissionOptions, AnswerWriterOptions {
  /** Time limit of requests that do not state one. */
  readonly requestTimeoutMs: number;
}

/**
 * Searches expected to take longer run on a worker thread. Below 2 ms, passing them to a thread
 * costs too much.
 */
const MAX_INLINE_SEARCH_MS = 2;
/** Weight of the newest micro-batch in the expected time of a search. */
const SMOOTHING = 0.2;

export class Pipeline {
  readonly admission: Admission;
  readonly #bundles: { readonly served: Served };
  readonly #metrics: ServerMetrics;
  readonly #requestTimeoutMs: number;
  readonly #batches: MicroBatches;
  readonly #states: StateReader;
  readonly #writer: AnswerWriter;
  readonly #workspaces = new Workspaces();
  /** Expected time of a search for one request, from the last micro-batches. */
  #searchMs = 0;

  constructor(
    bundles: { readonly served: Served },
    store: StateStore,
    metrics: ServerMetrics,
    options: PipelineOptions,
  ) {
    const turns = new TurnScheduler();
    this.#bundles = bundles;
    this.#metrics = metrics;
    this.#requestTimeoutMs = options.requestTimeoutMs;
    this.admission = new Admission(metrics, options);
    this.#batches = new MicroBatches(this.admission, turns, options.maxMicroBatch, (batch) =>
      this.#runBatch(batch),
    );
    this.#states = new StateReader(store);
    this.#writer = new AnswerWriter(metrics, () => turns.nextTurn(), options);
  }

  /** See AnswerWriter.setWatermark(). */
  setWatermark(encoderId: EncoderId, untilSeconds: number): void {
    this.#writer.setWatermark(encoderId, untilSeconds);
  }

  /**
   * Parses the body of an admitted request and answers it with the next micro-batch.
   *
   * @param endpoint - how the body is parsed and the answer written.
   * @param read - returns the body as parsed JSON.
   * @param timeoutMs - time limit of the request, requestTimeoutMs by default.
   * @throws TandemError ERR_INVALID_REQUEST, ERR_UNKNOWN_ITEM, ERR_DEADLINE_EXCEEDED; and what
   *   `read` throws.
   */
  async answer<R extends PipelineRequest, Body>(
    endpoint: Endpoint<R, Body>,
    read: () => unknown,
    requestId: string,
    caller: Caller,
    timeoutMs?: number,
  ): Promise<Answer<Body>> {
    const startedMs = performance.now();
    const request = endpoint.parse(read());
    const parseMs = performance.now() - startedMs;
    return this.submit(endpoint, request, requestId, caller, parseMs, timeoutMs);
  }

  /** Answers a parsed request with the next micro-batch. See answer(). */
  submit<R extends PipelineRequest, Body>(
    endpoint: Endpoint<R, Body>,
    request: R,
    requestId: string,
    caller: Caller,
    parseMs: number,
    timeoutMs: number = this.#requestTimeoutMs,
  ): Promise<Answer<Body>> {
    this.#metrics.observeStage('parse', parseMs / 1000);
    return new Promise((resolve, reject) => {
      const queuedAtMs = performance.now();
      const deadlineMs = queuedAtMs - parseMs + timeoutMs;
      this.#batches.add({
        endpoint,
        request,
        requestId,
        caller,
        parseMs,
        queuedAtMs,
        deadlineMs,
        // The answer has the body of the endpoint above.
        resolve: resolve as (answer: Answer) => void,
        reject,
      });
    });
  }

  /**
   * Answers a micro-batch from the bundles that are served at its start, also if they are swapped
   * meanwhile. If the batch fails as a whole, its requests run again one by one, so that a bad
   * request fails alone.
   */
  async #runBatch(batch: readonly Pending[]): Promise<void> {
    const { active, previous } = this.#bundles.served;
    const otherEncoder = previous?.encoderId === active.encoderId ? undefined : previous;
    try {
      await this.#answerFrom(active, resolveAll(active, batch), otherEncoder);
    } catch (error) {
      if (batch.length > 1) for (const pending of batch) await this.#runBatch([pending]);
      else batch[0]!.reject(error);
    }
  }

  /**
   * @param previous - a bundle of another encoder, which may have states of users that lack one
   *   here.
   */
  async #answerFrom(
    engine: Engine,
    resolved: readonly Resolved[],
    previous?: Engine,
  ): Promise<void> {
    if (resolved.length === 0) return;
    const workspace = this.#workspaces.take(engine);
    try {
      const clock = new StageClock(this.#metrics);
      const states = workspace.statesFor(resolved.length);
      const failures = await this.#hydrate(engine, resolved, states);
      const split =
        previous === undefined
          ? undefined
          : await this.#splitByBundle(previous, resolved, states, failures);
      if (split === undefined) await this.#runStages(engine, resolved, workspace, failures, clock);
      else {
        await this.#answerFrom(previous!, split.moved);
        await this.#answerFrom(engine, split.stayed);
      }
    } finally {
      this.#workspaces.release(engine, workspace);
    }
  }

  /** Runs the stages after hydration. */
  async #runStages(
    engine: Engine,
    resolved: readonly Resolved[],
    workspace: Workspace,
    failures: readonly StateFailure[],
    clock: StageClock,
  ): Promise<void> {
    const stateMs = clock.lap('state');

    const nowSeconds = Date.now() / 1000;
    const embeddings = this.#embed(engine, resolved, workspace, nowSeconds);
    const headMs = clock.lap('head');

    const hits = await this.#retrieve(engine, resolved, embeddings, workspace);
    const retrieveMs = clock.lap('retrieve');
    this.#searchMs += SMOOTHING * (retrieveMs / resolved.length - this.#searchMs);

    await this.#writer.write({
      engine,
      requests: resolved,
      states: workspace.states,
      failures,
      embeddings,
      hits,
      nowSeconds,
      clock,
      stateMs,
      headMs,
      retrieveMs,
    });
    clock.lap('encode');

    const waitMs = clock.startedMs - resolved[0]!.queuedAtMs;
    this.#metrics.observeStage('queue', waitMs / 1000);
    this.#metrics.microBatch.observe(resolved.length);
    // Load is measured from the end of hydration: a slow store delays only the requests that wait
    // for it.
    const hydratedMs = clock.startedMs + stateMs;
    this.admission.observe({ requests: resolved.length, waitMs, hydratedMs });
  }

  /**
   * Reads the states of the requests' users.
   *
   * @returns per request why its state could not be read.
   */
  #hydrate(
    { encoderId }: Engine,
    requests: readonly Resolved[],
    states: StateBatch,
  ): Promise<readonly StateFailure[]> {
    const users = requests.map(({ request }) => request.user as UserId);
    return this.#states.read(encoderId, users, states);
  }

  /**
   * Finds the requests that `previous` answers, because the user's state was made by its encoder. A
   * state is never scored against items of another encoder. So the whole request moves to the
   * bundle of the state, unless that bundle does not know an item of the request.
   *
   * @returns undefined if `previous` has a state for none of the users without one.
   */
  async #splitByBundle(
    previous: Engine,
    resolved: readonly Resolved[],
    { lengths }: StateBatch,
    failures: readonly StateFailure[],
  ): Promise<{ readonly moved: Resolved[]; readonly stayed: Resolved[] } | undefined> {
    const without = resolved.filter((_, i) => lengths[i] === 0 && failures[i] === undefined);
    if (without.length === 0) return undefined;
    const { model } = previous.bundle.manifest;
    const states = newStateBatch(without.length, previous.width, maxStateRows(model));
    await this.#hydrate(previous, without, states);
    if (states.lengths.every((length) => length === 0)) return undefined;
    const moved: Resolved[] = [];
    const stayed: Resolved[] = [];
    for (const request of resolved) {
      const i = without.indexOf(request);
      if (i < 0 || states.lengths[i] === 0) stayed.push(request);
      else
        try {
          moved.push(resolveOne(previous, request, 'previous'));
        } catch {
          stayed.push({ ...request, version: 'mismatch' });
        }
    }
    return { moved, stayed };
  }

  /** @returns [B, D] query embeddings, valid until the workspace is used again. */
  #embed(
    engine: Engine,
    requests: readonly Resolved[],
    workspace: Workspace,
    nowSeconds: number,
  ): Float32Array {
    const { builder, states } = workspace;
    builder.clear();
    for (const [i, { request, subject }] of requests.entries()) {
      const found = states.lengths[i]! > 0;
      builder.add(
        found ? stateOf(states, i) : undefined,
        found ? stateAge(states.lastEventSeconds[i]!, nowSeconds) : 0,
        subject.bag,
        engine.demographicRows(request.demographics),
        subject.inputRow,
      );
    }
    const embeddings = workspace.embeddingsFor(requests.length);
    engine.head.embed(builder.batch(), embeddings);
    return embeddings;
  }

  /**
   * A long search runs on a worker thread, so that the event loop goes on to refuse requests and to
   * report health.
   */
  #retrieve(
    engine: Engine,
    requests: readonly Resolved[],
    embeddings: Float32Array,
    workspace: Workspace,
  ): Promise<Hits[]> {
    const expectedMs = this.#searchMs * requests.length;
    const mode = expectedMs > MAX_INLINE_SEARCH_MS ? 'async' : 'inline';
    return this.#batches.search(() => retrieveAll(engine, requests, embeddings, workspace, mode));
  }
}
