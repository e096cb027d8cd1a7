// The request path. Pipeline.#run() and #answer() read top to bottom as docs/serving.md does: hydrate states, context + head,
// retrieve or score (retrieve.ts), encode, record. Requests that arrive in one turn of the event loop run together, inside one bundle
// and whatever their kind: it decides only what follows the head, and their endpoint how the answer is written.

import { stateRows } from '../bundle/manifest.ts';
import { TandemError } from '../errors.ts';
import { stateAge } from '../features/sequence.ts';
import type { EncoderId, UserId } from '../ids.ts';
import {
  newStateBatch,
  onlyState,
  stateOf,
  type StateBatch,
  type UserStateStore,
} from '../store/store.ts';
import { logger } from '../telemetry.ts';
import type { AnswerFacts } from './access-log.ts';
import { Admission, type AdmissionOptions } from './admission.ts';
import type { AnswerParts, Degradation, StateSummary } from './encode-answer.ts';
import type { Endpoint } from './endpoints.ts';
import type { Engine } from './engine.ts';
import type { ServerMetrics, Stage } from './metrics.ts';
import { RecallCanary } from './recall-canary.ts';
import { retrieveAll, rowOf, type Asked } from './retrieve.ts';
import type { PipelineRequest } from './schemas.ts';
import type { Served } from './served-bundles.ts';
import { StageClock } from './stage-clock.ts';
import { Turns } from './turns.ts';
import { Workspace } from './workspace.ts';

/** A request's answer: the body as its endpoint wrote it, and where its time went. */
export interface Answer<Body = unknown> {
  readonly body: Body;
  readonly stagesMs: Readonly<Record<Stage, number>>;
  readonly facts: AnswerFacts;
}

export interface PipelineOptions extends AdmissionOptions {
  /** How long a request is worth waiting for that does not say so itself. */
  readonly requestTimeoutMs: number;
  readonly staleAfterSeconds: number;
  /** Answers of approximate searches to one that is checked against an exact one. */
  readonly canaryEvery: number;
}

/** Anything that can tell that nobody waits for the answer any more. */
interface Caller {
  readonly aborted: boolean;
}

interface Pending {
  readonly endpoint: Endpoint<PipelineRequest, unknown>;
  readonly request: PipelineRequest;
  readonly requestId: string;
  readonly caller: Caller;
  readonly parseMs: number;
  readonly queuedAtMs: number;
  /** Once it is over, nobody wants the answer. */
  readonly deadlineMs: number;
  readonly resolve: (answer: Answer<never>) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Which bundle a request is answered from: the current one; the previous one, whose encoder made the user's state; or the
 * current one without that state, because the previous one does not know what the request names.
 */
type BundleVersion = 'current' | 'previous' | 'mismatch';

/** A request whose ids became rows of the bundle. */
interface Resolved extends Pending, Asked {
  readonly request: PipelineRequest;
  readonly version: BundleVersion;
}

/** A search that is expected to take longer runs apart from the event loop. Below, the hand-over is what counts. */
const TURN_MS = 2;
/** Answers are written for so long in a turn: its end sends them, which takes as long again. */
const WRITING_MS = TURN_MS / 2;
/** What one micro-batch adds to what searches are expected to take. */
const SMOOTHING = 0.2;

export class Pipeline {
  readonly admission: Admission;
  readonly #bundles: { readonly served: Served };
  readonly #store: UserStateStore;
  readonly #metrics: ServerMetrics;
  readonly #options: PipelineOptions;
  readonly #canary: RecallCanary;
  /** Arrays of finished micro-batches, by bundle; more than one exists only while an asynchronous store is read. */
  readonly #workspaces = new WeakMap<Engine['bundle'], Workspace[]>();
  readonly #watermarkSeconds = new Map<EncoderId, number>();
  readonly #turns = new Turns();
  #queue: Pending[] = [];
  #scheduled = false;
  /** Micro-batches that search or wait for their turn to, and the end of the last of them. */
  #searches = 0;
  #lastSearch: Promise<unknown> = Promise.resolve();
  /** What the search of one request takes, by the last micro-batches. */
  #searchMs = 0;
  #storeFailing = false;

  constructor(
    bundles: { readonly served: Served },
    store: UserStateStore,
    metrics: ServerMetrics,
    options: PipelineOptions,
  ) {
    this.#bundles = bundles;
    this.#store = store;
    this.#metrics = metrics;
    this.#options = options;
    this.#canary = new RecallCanary(metrics, options.canaryEvery);
    this.admission = new Admission(metrics, options);
  }

  /** A state is as fresh as the last job that looked at all users, also when that user had nothing new. */
  setWatermark(encoderId: EncoderId, untilSeconds: number): void {
    this.#watermarkSeconds.set(encoderId, untilSeconds);
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
      await this.#run(active, resolve(active, batch), other);
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
      const reasons = await this.#hydrate(engine, resolved, states);
      const split =
        previous === undefined ? undefined : await this.#split(previous, resolved, states, reasons);
      if (split === undefined) await this.#answer(engine, resolved, workspace, reasons, clock);
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
    reasons: readonly (string | undefined)[],
  ): Promise<{ readonly moved: Resolved[]; readonly stayed: Resolved[] } | undefined> {
    const without = resolved.filter((_, row) => lengths[row] === 0 && reasons[row] === undefined);
    if (without.length === 0) return undefined;
    const { model } = previous.bundle.manifest;
    const states = newStateBatch(without.length, previous.width, stateRows(model));
    await this.#hydrate(previous, without, states);
    if (states.lengths.every((length) => length === 0)) return undefined;
    const moved: Resolved[] = [];
    const stayed: Resolved[] = [];
    for (const request of resolved) {
      const row = without.indexOf(request);
      if (row < 0 || states.lengths[row] === 0) stayed.push(request);
      else
        try {
          moved.push(resolveRequest(previous, request, 'previous'));
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
    reasons: readonly (string | undefined)[],
    clock: StageClock,
  ): Promise<void> {
    const stateMs = clock.lap('state');

    const nowSeconds = Date.now() / 1000;
    const embeddings = this.#embed(engine, resolved, workspace, nowSeconds);
    const headMs = clock.lap('head');

    const place = this.#searchMs * resolved.length > TURN_MS ? 'apart' : 'here';
    const hits = await this.#searchInTurn(() =>
      retrieveAll(engine, resolved, embeddings, workspace, place),
    );
    const retrieveMs = clock.lap('retrieve');
    this.#searchMs += SMOOTHING * (retrieveMs / resolved.length - this.#searchMs);

    let turnMs = performance.now();
    for (const [row, pending] of resolved.entries()) {
      if (performance.now() - turnMs >= WRITING_MS) {
        await this.#turns.next();
        turnMs = performance.now();
      }
      const state = this.#summarise(engine, pending, workspace.states, row, nowSeconds);
      const stagesMs = {
        parse: pending.parseMs,
        queue: clock.startedMs - pending.queuedAtMs,
        state: stateMs,
        head: headMs,
        retrieve: retrieveMs,
        encode: 0,
      };
      const parts: AnswerParts = {
        ...pending,
        state,
        degraded: degradation(hits[row]!.plan, pending.version, reasons[row]),
        embedding: rowOf(embeddings, row, engine.width),
        hits: hits[row]!,
        batchSize: resolved.length,
        stagesMs,
      };
      const body = pending.endpoint.encode(engine, parts) as never;
      stagesMs.encode = clock.sinceLapMs();
      pending.resolve({ body, stagesMs, facts: factsOf(engine, parts) });
      this.#record(parts, reasons[row]);
      const { plan, slots } = parts.hits;
      this.#canary.observe({
        asked: pending,
        engine,
        plan,
        query: parts.embedding,
        slots,
      });
    }
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

  /**
   * Reads the states of a micro-batch in one go.
   *
   * A store that fails costs the history of these users, never their answer.
   *
   * @returns per request the reason why its state could not be read, undefined where it was read or is missing.
   */
  async #hydrate(
    engine: Engine,
    requests: readonly Resolved[],
    states: StateBatch,
  ): Promise<readonly (string | undefined)[]> {
    const users = requests.map(({ request }) => request.user as UserId);
    try {
      await this.#store.read(engine.encoderId, users, states);
      this.#noteStore(undefined);
      return [];
    } catch (error) {
      states.lengths.fill(0);
      if (!(error instanceof TandemError) || error.code !== 'ERR_STORE_CORRUPT') {
        this.#noteStore(error);
        return users.map(() => 'store_unavailable');
      }
      // One damaged record must not take the history of the others with it.
      if (requests.length === 1) {
        logger.warn({ err: error }, 'damaged user state: answering from context alone');
        return ['store_corrupt'];
      }
    }
    const reasons: (string | undefined)[] = [];
    for (const [row, request] of requests.entries())
      reasons.push(...(await this.#hydrateOne(engine, request, states, row)));
    return reasons;
  }

  async #hydrateOne(
    engine: Engine,
    request: Resolved,
    states: StateBatch,
    row: number,
  ): Promise<[string | undefined]> {
    const [reason] = await this.#hydrate(engine, [request], onlyState(states, row));
    return [reason];
  }

  /** Logs the first failure and the recovery, not every request between them. */
  #noteStore(error: unknown): void {
    const failing = error !== undefined;
    if (failing !== this.#storeFailing) {
      if (failing)
        logger.error({ err: error }, 'feature store fails: answering from context alone');
      else logger.info('feature store answers again');
    }
    this.#storeFailing = failing;
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
      status: ageSeconds > this.#options.staleAfterSeconds ? 'stale' : 'fresh',
      ageSeconds,
    };
  }

  #record(
    { request, state, degraded, filter, hits }: AnswerParts,
    reason: string | undefined,
  ): void {
    const metrics = this.#metrics;
    if (state.ageSeconds !== null) metrics.stateAge.observe(state.ageSeconds);
    const found = degraded?.mode === 'previous-bundle' ? 'previous' : 'found';
    metrics.storeRequests.inc({
      outcome: reason ?? (state.ageSeconds === null ? state.status : found),
    });
    if (degraded !== undefined) metrics.degraded.inc({ mode: degraded.mode });
    if (request.kind !== 'candidates') return;
    metrics.candidatesReturned.observe(hits.slots.length);
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
    items: hits.slots.length,
  };
}

/** What an answer lacks that the request allowed, the furthest step down first. */
function degradation(
  plan: string,
  version: BundleVersion,
  storeFailure: string | undefined,
): Degradation | undefined {
  const reason = storeFailure ?? (version === 'mismatch' ? 'version_mismatch' : undefined);
  if (plan === 'popular') return { mode: 'popular', reason: reason ?? 'no_history_no_context' };
  if (reason !== undefined) return { mode: 'context-only', reason };
  return version === 'previous'
    ? { mode: 'previous-bundle', reason: 'state_of_previous_encoder' }
    : undefined;
}

/** Turns ids into rows of the bundle; requests that cannot be answered are settled here, aborted ones dropped. */
function resolve(engine: Engine, batch: readonly Pending[]): Resolved[] {
  const resolved: Resolved[] = [];
  for (const pending of batch)
    try {
      if (pending.caller.aborted)
        throw new TandemError(
          'ERR_INVALID_REQUEST',
          'Expected a client that waits, but it has gone.',
        );
      resolved.push(resolveRequest(engine, pending, 'current'));
    } catch (error) {
      pending.reject(error);
    }
  return resolved;
}

function resolveRequest(engine: Engine, pending: Pending, version: BundleVersion): Resolved {
  const { request } = pending;
  const filter = request.kind === 'candidates' ? request.filter : undefined;
  const resolvedSubject = engine.resolveSubject(request.subject);
  const excluded = new Set<number>();
  if (resolvedSubject.itemRow >= 0) excluded.add(resolvedSubject.itemRow);
  for (const id of filter?.exclude_items ?? []) {
    const row = engine.items.row(id);
    if (row >= 0) excluded.add(row);
  }
  return {
    ...pending,
    subject: resolvedSubject,
    filter: engine.items.compile(filter),
    excluded,
    version,
  };
}
