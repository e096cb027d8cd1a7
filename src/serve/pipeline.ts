// The request path. Pipeline.#run() and #answer() read top to bottom as docs/serving.md does: hydrate states (state-reader.ts), context +
// head, retrieve or score (retrieve.ts), encode and record (answer-writer.ts). Requests that arrive in one turn of the event loop run
// together, inside one bundle and whatever their kind: it decides only what follows the head, and their endpoint how the answer is written.

import { maxStateRows } from '../bundle/manifest.ts';
import { stateAge } from '../features/sequence.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { newStateBatch, stateOf, type StateBatch } from '../store/state-batch.ts';
import type { StateStore } from '../store/store.ts';
import { Admission, type AdmissionOptions } from './admission/admission.ts';
import { AnswerWriter, type AnswerWriterOptions } from './answer/answer-writer.ts';
import type { Engine } from './engine/engine.ts';
import type { ServerMetrics } from './metrics/metrics.ts';
import { resolveAll, resolveOne } from './resolve.ts';
import { retrieveAll } from './retrieve/retrieve.ts';
import { StageClock } from './metrics/stage-clock.ts';
import { StateReader } from './state-reader.ts';
import { TurnScheduler } from './scheduler.ts';
import { Workspace } from './engine/workspace.ts';
import type { StateFailure } from './answer/answer-parts.ts';
import type { Endpoint } from './answer/endpoint.ts';
import type { Answer, Caller, Pending, Resolved } from './answer/pending.ts';
import type { PipelineRequest } from './request/request-types.ts';
import type { Served } from './engine/served.ts';

export interface PipelineOptions extends AdmissionOptions, AnswerWriterOptions {
  /** How long a request is worth waiting for that does not say so itself. */
  readonly requestTimeoutMs: number;
}

/** A search that is expected to take longer runs apart from the event loop. Below, the hand-over is what counts. */
const TURN_MS = 2;
/** What one micro-batch adds to what searches are expected to take. */
const SMOOTHING = 0.2;

export class Pipeline {
  readonly admission: Admission;
  readonly #bundles: { readonly served: Served };
  readonly #metrics: ServerMetrics;
  readonly #options: PipelineOptions;
  readonly #turns = new TurnScheduler();
  readonly #states: StateReader;
  readonly #writer: AnswerWriter;
  /** Arrays of finished micro-batches, by bundle; more than one exists only while an asynchronous store is read. */
  readonly #workspaces = new WeakMap<Engine['bundle'], Workspace[]>();
  #queue: Pending[] = [];
  #scheduled = false;
  /** Micro-batches that search or wait for their turn to, and the end of the last of them. */
  #searches = 0;
  #lastSearch: Promise<unknown> = Promise.resolve();
  /** What the search of one request takes, by the last micro-batches. */
  #searchMs = 0;

  constructor(
    bundles: { readonly served: Served },
    store: StateStore,
    metrics: ServerMetrics,
    options: PipelineOptions,
  ) {
    this.#bundles = bundles;
    this.#metrics = metrics;
    this.#options = options;
    this.#states = new StateReader(store);
    this.#writer = new AnswerWriter(metrics, () => this.#turns.next(), options);
    this.admission = new Admission(metrics, options);
  }

  /** As AnswerWriter.setWatermark(). */
  setWatermark(encoderId: EncoderId, untilSeconds: number): void {
    this.#writer.setWatermark(encoderId, untilSeconds);
  }

  /**
   * Parses an admitted request and answers it with the next micro-batch.
   *
   * @param endpoint - which body is expected, and how the answer is written.
   * @param read - gives the body as parsed JSON; what it throws is the answer.
   * @param timeoutMs - how long the answer is worth waiting for, undefined = requestTimeoutMs.
   * @throws TandemError ERR_INVALID_REQUEST, ERR_UNKNOWN_ITEM, ERR_DEADLINE_EXCEEDED, or what `read` throws.
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

  /** As answer(), for a request that is parsed already. */
  submit<R extends PipelineRequest, Body>(
    endpoint: Endpoint<R, Body>,
    request: R,
    requestId: string,
    caller: Caller,
    parseMs: number,
    timeoutMs: number = this.#options.requestTimeoutMs,
  ): Promise<Answer<Body>> {
    this.#metrics.observeStage('parse', parseMs / 1000);
    return new Promise((resolve, reject) => {
      const queuedAtMs = performance.now();
      const deadlineMs = queuedAtMs - parseMs + timeoutMs;
      this.#queue.push({
        endpoint,
        request,
        requestId,
        caller,
        parseMs,
        queuedAtMs,
        deadlineMs,
        resolve,
        reject,
      });
      this.admission.enter();
      this.#schedule();
    });
  }

  /**
   * A turn comes after every socket that was readable in this one: those requests are the micro-batch; while one is searched, all
   * that arrive until it has its hits.
   */
  #schedule(): void {
    if (this.#scheduled || this.#queue.length === 0) return;
    this.#scheduled = true;
    this.#turns.ask(() => {
      this.#scheduled = false;
      if (this.#searches > 0) return;
      this.#dropExpired();
      const batch = this.#queue.splice(0, this.#options.maxMicroBatch);
      this.#schedule();
      if (batch.length === 0) return;
      this.admission.begin(batch.length);
      void this.#settle(batch).finally(() => {
        this.admission.leave(batch.length);
      });
    });
  }

  /** Rejects those at the head of the queue whose deadline has passed, so that the micro-batch is made of live ones. */
  #dropExpired(): void {
    const nowMs = performance.now();
    const { maxMicroBatch } = this.#options;
    const live: Pending[] = [];
    let seen = 0;
    for (; seen < this.#queue.length && live.length < maxMicroBatch; seen++) {
      const pending = this.#queue[seen]!;
      if (pending.deadlineMs > nowMs) live.push(pending);
      else pending.reject(this.admission.expire());
    }
    if (live.length === seen) return;
    this.#queue.splice(0, seen, ...live);
  }

  /**
   * Runs a micro-batch on the bundles that are served now, whatever is swapped meanwhile; when it fails as a whole, each
   * request alone, so that one bad request fails alone.
   */
  async #settle(batch: readonly Pending[]): Promise<void> {
    const { active, previous } = this.#bundles.served;
    const other = previous?.encoderId === active.encoderId ? undefined : previous;
    try {
      await this.#run(active, resolveAll(active, batch), other);
    } catch (error) {
      if (batch.length > 1) for (const pending of batch) await this.#settle([pending]);
      else batch[0]!.reject(error);
    }
  }

  /** @param previous - bundle of another encoder that users without a state may have one of. */
  async #run(engine: Engine, resolved: readonly Resolved[], previous?: Engine): Promise<void> {
    if (resolved.length === 0) return;
    const idle = this.#workspaces.get(engine.bundle) ?? [];
    this.#workspaces.set(engine.bundle, idle);
    const workspace = idle.pop() ?? new Workspace(engine);
    try {
      const clock = new StageClock(this.#metrics);
      const states = workspace.statesFor(resolved.length);
      const failures = await this.#hydrate(engine, resolved, states);
      const split =
        previous === undefined
          ? undefined
          : await this.#split(previous, resolved, states, failures);
      if (split === undefined) await this.#answer(engine, resolved, workspace, failures, clock);
      else {
        await this.#run(previous!, split.moved);
        await this.#run(engine, split.stayed);
      }
    } finally {
      idle.push(workspace);
    }
  }

  /**
   * Which requests `previous` answers, because their user's state is of its encoder. A state is never scored against
   * another encoder's items: the whole request moves to the bundle that its state belongs to, unless that bundle does not
   * know what the request names.
   *
   * @returns undefined when none of the users without a state has one there.
   */
  async #split(
    previous: Engine,
    resolved: readonly Resolved[],
    { lengths }: StateBatch,
    failures: readonly StateFailure[],
  ): Promise<{ readonly moved: Resolved[]; readonly stayed: Resolved[] } | undefined> {
    const without = resolved.filter((_, row) => lengths[row] === 0 && failures[row] === undefined);
    if (without.length === 0) return undefined;
    const { model } = previous.bundle.manifest;
    const states = newStateBatch(without.length, previous.width, maxStateRows(model));
    await this.#hydrate(previous, without, states);
    if (states.lengths.every((length) => length === 0)) return undefined;
    const moved: Resolved[] = [];
    const stayed: Resolved[] = [];
    for (const request of resolved) {
      const row = without.indexOf(request);
      if (row < 0 || states.lengths[row] === 0) stayed.push(request);
      else
        try {
          moved.push(resolveOne(previous, request, 'previous'));
        } catch {
          stayed.push({ ...request, version: 'mismatch' });
        }
    }
    return { moved, stayed };
  }

  /** From states to answers. A long search runs apart: whoever is refused meanwhile, or asks for health, does not wait for it. */
  async #answer(
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

    const mode = this.#searchMs * resolved.length > TURN_MS ? 'async' : 'inline';
    const hits = await this.#searchInTurn(() =>
      retrieveAll(engine, resolved, embeddings, workspace, mode),
    );
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
    // A store that answers late holds no request up but those that wait for it: that is no load of this server.
    const hydratedMs = clock.startedMs + stateMs;
    this.admission.observe({ requests: resolved.length, waitMs, hydratedMs });
  }

  /** One search at a time: several at once would each take longer, and make small micro-batches. */
  async #searchInTurn<Hits>(search: () => Promise<Hits>): Promise<Hits> {
    this.#searches++;
    const found = this.#lastSearch.then(search);
    this.#lastSearch = found.catch(() => undefined);
    try {
      return await found;
    } finally {
      this.#searches--;
      this.#schedule();
    }
  }

  #hydrate(
    { encoderId }: Engine,
    requests: readonly Resolved[],
    states: StateBatch,
  ): Promise<readonly StateFailure[]> {
    const users = requests.map(({ request }) => request.user as UserId);
    return this.#states.read(encoderId, users, states);
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
    for (const [row, { request, subject }] of requests.entries()) {
      const found = states.lengths[row]! > 0;
      builder.add(
        found ? stateOf(states, row) : undefined,
        found ? stateAge(states.lastEventSeconds[row]!, nowSeconds) : 0,
        subject.bag,
        engine.demographicRows(request.demographics),
        subject.inputRow,
      );
    }
    const embeddings = workspace.embeddingsFor(requests.length);
    engine.head.embed(builder.batch(), embeddings);
    return embeddings;
  }
}
