// The request path. Pipeline.#run() reads top to bottom as docs/serving.md does: hydrate states, context + head, retrieve
// or score, select and encode, record. Requests that arrive in one turn of the event loop run together, inside one bundle
// and whatever their kind: it decides only what follows the head, and their endpoint how the answer is written.

import { stateRows } from '../bundle/manifest.ts';
import { TandemError } from '../errors.ts';
import { HeadBatchBuilder } from '../features/head-batch.ts';
import { stateAge } from '../features/sequence.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { newSearchOutput } from '../retrieval/candidate-index.ts';
import {
  newStateBatch,
  onlyState,
  stateOf,
  type StateBatch,
  type UserStateStore,
} from '../store/store.ts';
import { logger } from '../telemetry.ts';
import { capAdvertisers } from './advertiser-cap.ts';
import type { Client } from './api-keys.ts';
import { ConcurrencyLimit } from './concurrency-limit.ts';
import type { AnswerParts, Degradation, StateSummary } from './encode-answer.ts';
import type { Endpoint } from './endpoints.ts';
import type { Engine, ResolvedSubject } from './engine.ts';
import type { CompiledFilter } from './filters.ts';
import type { ServerMetrics, Stage } from './metrics.ts';
import { hasContext, popularHits } from './popular.ts';
import type { CandidatesRequest, PipelineRequest, ScoreRequest } from './schemas.ts';
import type { Served } from './served-bundles.ts';

/** A request's answer: the body as its endpoint wrote it, and where its time went. */
export interface Answer<Body = unknown> {
  readonly body: Body;
  readonly stagesMs: Readonly<Record<Stage, number>>;
}

export interface PipelineOptions {
  readonly maxMicroBatch: number;
  /** Requests that may wait before new ones are refused, whatever the measured limit says. */
  readonly maxQueue: number;
  /** How long a request is worth waiting for that does not say so itself. */
  readonly requestTimeoutMs: number;
  readonly staleAfterSeconds: number;
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
interface Resolved extends Pending {
  readonly subject: ResolvedSubject;
  readonly filter: CompiledFilter | undefined;
  readonly excluded: ReadonlySet<number>;
  readonly version: BundleVersion;
}

/** Retrieval of some rows of a micro-batch that share filter and number of hits. */
interface Group {
  readonly filter: CompiledFilter | undefined;
  readonly fetch: number;
  readonly rows: number[];
}

/** The limit starts at as many full micro-batches; it never falls below one, and grows by a quarter of one. */
const LIMIT_START_BATCHES = 4;
const LIMIT_HEADROOM_BATCHES = 1 / 4;

export class Pipeline {
  readonly #bundles: { readonly served: Served };
  readonly #store: UserStateStore;
  readonly #metrics: ServerMetrics;
  readonly #options: PipelineOptions;
  readonly #limit: ConcurrencyLimit;
  /** Arrays of finished micro-batches, by bundle; more than one exists only while an asynchronous store is read. */
  readonly #workspaces = new WeakMap<Engine, Workspace[]>();
  readonly #watermarkSeconds = new Map<EncoderId, number>();
  #queue: Pending[] = [];
  #scheduled = false;
  #open = 0;
  #draining = false;
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
    const { maxMicroBatch, maxQueue: max } = options;
    this.#limit = new ConcurrencyLimit({
      min: Math.min(max, maxMicroBatch),
      max,
      start: Math.min(max, LIMIT_START_BATCHES * maxMicroBatch),
      headroom: LIMIT_HEADROOM_BATCHES * maxMicroBatch,
    });
  }

  /** Requests admitted and not answered yet. */
  get open(): number {
    return this.#open;
  }

  /** Requests that may be open; follows the measured latency. */
  get limit(): number {
    return this.#limit.limit;
  }

  /** Refuses new requests from now on. */
  drain(): void {
    this.#draining = true;
  }

  /** A state is as fresh as the last job that looked at all users, also when that user had nothing new. */
  setWatermark(encoderId: EncoderId, untilSeconds: number): void {
    this.#watermarkSeconds.set(encoderId, untilSeconds);
  }

  /**
   * Lets requests in, and counts them against the client's rate.
   *
   * @throws TandemError as refuse() does.
   */
  admit(requests: number, client: Client): void {
    this.refuse(requests, client);
    client.spend(requests);
  }

  /**
   * Refuses what admit() would refuse, before any work is done: also before a body is parsed.
   *
   * The limit counts what is open before these requests, so that one batch may be larger than the limit.
   *
   * @throws TandemError ERR_DRAINING, ERR_OVERLOADED, ERR_RATE_LIMITED.
   */
  refuse(requests: number, client: Client): void {
    if (this.#draining)
      throw this.#shed(requests, 'draining', [
        'ERR_DRAINING',
        'Expected a serving process, but this one is stopping. Ask another.',
      ]);
    if (this.#open >= this.#limit.limit)
      throw this.#shed(requests, 'overload', [
        'ERR_OVERLOADED',
        `Expected at most ${this.#limit.limit} open requests, which this server answers without a queue. Try again later or add a server.`,
      ]);
    if (this.#queue.length + requests > this.#options.maxQueue)
      throw this.#shed(requests, 'queue_full', [
        'ERR_OVERLOADED',
        `Expected at most ${this.#options.maxQueue} waiting requests (setting maxQueue). Try again later or add a server.`,
      ]);
    const waitSeconds = client.waitSeconds(requests);
    if (waitSeconds > 0) {
      const retryAfterSeconds = Math.ceil(waitSeconds);
      throw this.#shed(requests, 'rate_limited', [
        'ERR_RATE_LIMITED',
        `Expected no more requests than the rate of this API key. Try again in ${retryAfterSeconds} s.`,
        { details: { retryAfterSeconds } },
      ]);
    }
  }

  #shed(
    requests: number,
    reason: string,
    error: ConstructorParameters<typeof TandemError>,
  ): TandemError {
    this.#metrics.shed.inc({ reason }, requests);
    return new TandemError(...error);
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
        ...{
          endpoint,
          request,
          requestId,
          caller,
          parseMs,
          queuedAtMs,
          deadlineMs,
          resolve,
          reject,
        },
      });
      this.#open += 1;
      this.#schedule();
    });
  }

  /** setImmediate runs after every socket that was readable in this turn: those requests are the micro-batch. */
  #schedule(): void {
    if (this.#scheduled || this.#queue.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#dropExpired();
      const batch = this.#queue.splice(0, this.#options.maxMicroBatch);
      this.#schedule();
      if (batch.length === 0) return;
      void this.#settle(batch).finally(() => {
        this.#open -= batch.length;
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
      else
        pending.reject(
          this.#shed(1, 'deadline', [
            'ERR_DEADLINE_EXCEEDED',
            'Expected to answer within the time the request gave, but it was over before its turn came. Ask with more time, or add a server.',
          ]),
        );
    }
    if (live.length === seen) return;
    this.#queue.splice(0, seen, ...live);
    this.#open -= seen - live.length;
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
    const idle = this.#workspaces.get(engine) ?? [];
    this.#workspaces.set(engine, idle);
    const workspace = idle.pop() ?? new Workspace(engine);
    try {
      const clock = new StageClock(this.#metrics);
      const states = workspace.statesFor(resolved.length);
      const reasons = await this.#hydrate(engine, resolved, states);
      const split =
        previous === undefined ? undefined : await this.#split(previous, resolved, states, reasons);
      if (split === undefined) this.#answer(engine, resolved, workspace, reasons, clock);
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

  /** From states to answers; nothing here waits. */
  #answer(
    engine: Engine,
    resolved: readonly Resolved[],
    workspace: Workspace,
    reasons: readonly (string | undefined)[],
    clock: StageClock,
  ): void {
    const stateMs = clock.lap('state');

    const nowSeconds = Date.now() / 1000;
    const embeddings = this.#embed(engine, resolved, workspace, nowSeconds);
    const headMs = clock.lap('head');

    const hits = resolved.map((asked, row) =>
      asked.request.kind === 'candidates' &&
      workspace.states.lengths[row] === 0 &&
      !hasContext(engine, asked)
        ? popularHits(engine, asked.request, asked.excluded)
        : undefined,
    );
    for (const group of groupBySearch(resolved, hits, engine.index.size))
      retrieve(engine, resolved, group, embeddings, workspace, hits);
    for (const [row, { request }] of resolved.entries())
      if (request.kind === 'score')
        hits[row] = score(engine, request, rowOf(embeddings, row, engine.width));
    const retrieveMs = clock.lap('retrieve');

    for (const [row, pending] of resolved.entries()) {
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
        degraded: degradation(hits[row], pending.version, reasons[row]),
        embedding: rowOf(embeddings, row, engine.width),
        hits: select(pending, hits[row] ?? NO_HITS),
        batchSize: resolved.length,
        stagesMs,
      };
      const body = pending.endpoint.encode(engine, parts) as never;
      stagesMs.encode = clock.sinceLapMs();
      pending.resolve({ body, stagesMs });
      this.#record(parts, reasons[row]);
    }
    clock.lap('encode');
    const waitMs = clock.startedMs - resolved[0]!.queuedAtMs;
    this.#metrics.observeStage('queue', waitMs / 1000);
    this.#metrics.microBatch.observe(resolved.length);
    this.#adaptLimit(resolved.length, waitMs, clock);
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
        subject.itemRow,
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

  #adaptLimit(requests: number, waitMs: number, { startedMs }: StageClock): void {
    const nowMs = performance.now();
    const open = this.#open;
    this.#limit.observe({ requests, waitMs, runMs: nowMs - startedMs, open }, nowMs);
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
    if (filter !== undefined) metrics.filterSelectivity.observe(filter.selectivity);
    if (request.kind === 'candidates') metrics.candidatesReturned.observe(hits.slots.length);
  }
}

/** What an answer lacks that the request allowed, the furthest step down first. */
function degradation(
  hits: AnswerParts['hits'] | undefined,
  version: BundleVersion,
  storeFailure: string | undefined,
): Degradation | undefined {
  const reason = storeFailure ?? (version === 'mismatch' ? 'version_mismatch' : undefined);
  if (hits?.plan === 'popular')
    return { mode: 'popular', reason: reason ?? 'no_history_no_context' };
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
    const row = engine.bundle.catalogue.row(id);
    if (row >= 0) excluded.add(row);
  }
  return {
    ...pending,
    subject: resolvedSubject,
    filter: engine.filters.compile(filter),
    excluded,
    version,
  };
}

/** Hits beyond k are fetched in these steps, so that requests with a few excluded items still share a search. */
const EXCLUSION_STEP = 64;

/**
 * Requests without hits that can be searched in one call. Excluded items are fetched and dropped afterwards: the best k + e of the
 * items that pass, less e of them, are the best k.
 */
function groupBySearch(
  requests: readonly Resolved[],
  found: readonly (AnswerParts['hits'] | undefined)[],
  items: number,
): Group[] {
  const groups: Group[] = [];
  for (const [row, { request, filter, excluded }] of requests.entries()) {
    if (request.kind !== 'candidates' || found[row] !== undefined) continue;
    const extra =
      excluded.size <= 1 ? 1 : Math.ceil(excluded.size / EXCLUSION_STEP) * EXCLUSION_STEP;
    const fetch = Math.min(items, request.k + extra);
    const group = groups.find((other) => other.filter === filter && other.fetch === fetch);
    if (group === undefined) groups.push({ filter, fetch, rows: [row] });
    else group.rows.push(row);
  }
  return groups;
}

function retrieve(
  engine: Engine,
  requests: readonly Resolved[],
  { filter, fetch, rows }: Group,
  embeddings: Float32Array,
  workspace: Workspace,
  hits: (AnswerParts['hits'] | undefined)[],
): void {
  const { width } = engine;
  let queries = embeddings;
  if (rows.length * width !== embeddings.length) {
    queries = workspace.queriesFor(rows.length);
    for (const [i, row] of rows.entries())
      queries.set(embeddings.subarray(row * width, (row + 1) * width), i * width);
  }
  const found = search(engine, filter, queries, rows.length, fetch);
  for (const [i, row] of rows.entries()) {
    const query = queries.subarray(i * width, (i + 1) * width);
    // groupBySearch() took requests for candidates alone.
    const { request, excluded } = requests[row]!;
    const candidates = request as CandidatesRequest;
    hits[row] = spread(engine, candidates, filter, excluded, query, fetch, found[i]!);
  }
}

function search(
  engine: Engine,
  filter: CompiledFilter | undefined,
  queries: Float32Array,
  count: number,
  fetch: number,
): AnswerParts['hits'][] {
  const out = newSearchOutput(count, fetch);
  const { plan, reason } = engine.index.search(queries, count, fetch, filter?.allow ?? null, out);
  return Array.from(out.counts, (hits, i) => ({
    plan,
    planReason: reason,
    slots: out.slots.subarray(i * fetch, i * fetch + hits),
    scores: out.scores.subarray(i * fetch, i * fetch + hits),
  }));
}

/** How many times more hits are fetched when a cap on advertisers leaves fewer than k. */
const WIDER = 4;

/** Hits under the request's cap on advertisers, looked for further down as long as there are fewer than k and more to see. */
function spread(
  engine: Engine,
  request: CandidatesRequest,
  filter: CompiledFilter | undefined,
  excluded: ReadonlySet<number>,
  query: Float32Array,
  firstFetch: number,
  firstHits: AnswerParts['hits'],
): AnswerParts['hits'] {
  const maxEach = request.filter?.advertisers?.max_each;
  if (maxEach === undefined) return firstHits;
  const items = engine.index.size;
  let fetch = firstFetch;
  let hits = firstHits;
  for (;;) {
    const kept = capAdvertisers(engine.bundle.catalogue, hits, maxEach, excluded);
    const seenAll = hits.slots.length < fetch || fetch === items;
    if (kept.slots.length >= request.k || seenAll) return { ...hits, ...kept };
    fetch = Math.min(items, fetch * WIDER);
    hits = search(engine, filter, query, 1, fetch)[0]!;
  }
}

const NO_HITS: AnswerParts['hits'] = {
  plan: 'none',
  planReason: 'not-asked',
  slots: new Int32Array(0),
  scores: new Float32Array(0),
};

/** Scores of the items that a request names, in its order; an item that the bundle lacks has slot -1 and score NaN. */
function score(engine: Engine, { items }: ScoreRequest, query: Float32Array): AnswerParts['hits'] {
  const slots = Int32Array.from(items, (id) => engine.bundle.catalogue.row(id));
  const known = slots.filter((slot) => slot >= 0);
  const knownScores = new Float32Array(known.length);
  engine.index.score(query, known, knownScores);
  let next = 0;
  const scores = Float32Array.from(slots, (slot) => (slot < 0 ? Number.NaN : knownScores[next++]!));
  return { plan: 'exact', planReason: 'given-items', slots, scores };
}

/** The best k of the hits that are not excluded. */
function select({ request, excluded }: Resolved, hits: AnswerParts['hits']): AnswerParts['hits'] {
  if (request.kind !== 'candidates') return hits;
  const kept: number[] = [];
  for (let i = 0; i < hits.slots.length && kept.length < request.k; i++)
    if (!excluded.has(hits.slots[i]!)) kept.push(i);
  return {
    ...hits,
    slots: Int32Array.from(kept, (i) => hits.slots[i]!),
    scores: Float32Array.from(kept, (i) => hits.scores[i]!),
  };
}

function rowOf(matrix: Float32Array, row: number, width: number): Float32Array {
  return matrix.subarray(row * width, (row + 1) * width);
}

/** Arrays of one micro-batch, reused by later ones. */
class Workspace {
  readonly builder: HeadBatchBuilder;
  readonly #width: number;
  readonly #stateRows: number;
  states: StateBatch;
  #embeddings = new Float32Array(0);
  #queries = new Float32Array(0);

  constructor({ width, bundle }: Engine) {
    const { model } = bundle.manifest;
    this.#width = width;
    this.#stateRows = stateRows(model);
    this.builder = new HeadBatchBuilder(width, 1, model.fusion === 'attention');
    this.states = newStateBatch(0, width);
  }

  statesFor(count: number): StateBatch {
    if (this.states.lengths.length < count)
      this.states = newStateBatch(count, this.#width, this.#stateRows);
    return this.states;
  }

  embeddingsFor(count: number): Float32Array {
    const length = count * this.#width;
    if (this.#embeddings.length < length) this.#embeddings = new Float32Array(length);
    return this.#embeddings.subarray(0, length);
  }

  queriesFor(count: number): Float32Array {
    const length = count * this.#width;
    if (this.#queries.length < length) this.#queries = new Float32Array(length);
    return this.#queries.subarray(0, length);
  }
}

/** Laps of a stopwatch that are also metrics. */
class StageClock {
  readonly startedMs: number = performance.now();
  readonly #metrics: ServerMetrics;
  #lapMs: number = this.startedMs;

  constructor(metrics: ServerMetrics) {
    this.#metrics = metrics;
  }

  sinceLapMs(): number {
    return performance.now() - this.#lapMs;
  }

  lap(stage: Stage): number {
    const elapsedMs = this.sinceLapMs();
    this.#lapMs += elapsedMs;
    this.#metrics.observeStage(stage, elapsedMs / 1000);
    return elapsedMs;
  }
}
