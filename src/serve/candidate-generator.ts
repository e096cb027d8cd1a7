// The request path in the process of the caller, without a port: bundles and their swaps, the
// feature store, micro-batches and metrics, as a server has them. Admission control is left to the
// caller.

import { resolveServerSettings, type ServerSettings } from '../config.ts';
import { TandemError } from '../errors.ts';
import { openStore } from '../store/open-store.ts';
import type { FeatureStore } from '../store/store.ts';
import type { Endpoint } from './answer/endpoint.ts';
import { CANDIDATES, EMBEDDINGS, SCORE } from './answer/endpoints.ts';
import { ServedBundles } from './engine/served-bundles.ts';
import { ServerMetrics } from './metrics/metrics.ts';
import { followWatermarks, openPipeline } from './open-pipeline.ts';
import type { Pipeline } from './pipeline.ts';
import type {
  CandidatesQuery,
  PipelineRequest,
  QueryRequest,
  ScoreQuery,
} from './request/request-types.ts';
import type {
  CandidatesResponse,
  EmbeddingsResponse,
  ScoreResponse,
} from './request/response-types.ts';

/** Settings of a candidate generator. They mean the same as those of a server. */
export interface CandidateGeneratorOptions extends Partial<
  Pick<
    ServerSettings,
    | 'plan'
    | 'storeTimeoutMs'
    | 'staleAfterHours'
    | 'maxMicroBatch'
    | 'requestTimeoutMs'
    | 'bundlePollSeconds'
    | 'canaryEvery'
  >
> {
  /** Directory of one bundle, or of bundles, whose current one is then followed. */
  readonly bundles: string;
  /** Location of the feature store (see openStore()), or an open store, which stays open. */
  readonly store: string | FeatureStore;
}

/** Options of one request. */
export interface QueryOptions {
  /** Longest time that the request may wait for its micro-batch. Default: requestTimeoutMs. */
  readonly timeoutMs?: number;
}

/** A served bundle and a feature store that answer requests in this process. */
export class CandidateGenerator {
  readonly #bundles: ServedBundles;
  readonly #pipeline: Pipeline;
  readonly #metrics: ServerMetrics;
  readonly #watermarkTimer: NodeJS.Timeout;
  /** The store to close; undefined when the caller closes it. */
  readonly #ownStore: FeatureStore | undefined;
  readonly #open = new Set<Promise<unknown>>();
  #requests = 0;
  #closing: Promise<void> | undefined;

  private constructor(
    bundles: ServedBundles,
    pipeline: Pipeline,
    metrics: ServerMetrics,
    watermarkTimer: NodeJS.Timeout,
    ownStore: FeatureStore | undefined,
  ) {
    this.#bundles = bundles;
    this.#pipeline = pipeline;
    this.#metrics = metrics;
    this.#watermarkTimer = watermarkTimer;
    this.#ownStore = ownStore;
  }

  /**
   * Opens bundle and store, with every check of a server: digests, golden requests, index. It
   * answers at full speed when the promise resolves. Its timers do not keep the process alive.
   *
   * @throws TandemError ERR_BUNDLE_NOT_FOUND, ERR_BUNDLE_INVALID, ERR_INDEX_INVALID;
   *   ERR_STORE_UNAVAILABLE; ERR_NATIVE_UNAVAILABLE; ERR_CONFIG_INVALID naming the setting.
   */
  static async open(options: CandidateGeneratorOptions): Promise<CandidateGenerator> {
    const { store: place, ...flags } = options;
    const { settings } = resolveServerSettings({
      flags: { ...flags, store: typeof place === 'string' ? place : 'the store of the caller' },
    });
    const metrics = new ServerMetrics();
    const bundles = await ServedBundles.open(settings.bundles, settings.plan, metrics);
    const ownStore =
      typeof place === 'string'
        ? await openStore(place, { readOnly: true, timeoutMs: settings.storeTimeoutMs })
        : undefined;
    const store = ownStore ?? (place as FeatureStore);
    let pipeline: Pipeline;
    try {
      pipeline = await openPipeline(settings, bundles, store, metrics);
    } catch (error) {
      await ownStore?.close();
      throw error;
    }
    bundles.follow(settings.bundlePollSeconds * 1000);
    void bundles.restorePrevious();
    const timer = followWatermarks(pipeline, bundles, store);
    return new CandidateGenerator(bundles, pipeline, metrics, timer, ownStore);
  }

  /** Id of the bundle that answers. */
  get bundleId(): string {
    return this.#bundles.served.active.bundle.manifest.bundleId;
  }

  /**
   * Returns the best k items for a user, the subject in view and the filter, as POST /v1/candidates
   * does.
   *
   * Requests that are made in one turn of the event loop form a micro-batch. An unavailable store
   * degrades the answer; the request does not fail.
   *
   * @throws TandemError ERR_INVALID_REQUEST naming the field; ERR_UNKNOWN_ITEM when the bundle does
   *   not have the subject's item; ERR_DEADLINE_EXCEEDED; ERR_DRAINING after close().
   */
  candidates(request: CandidatesQuery, options?: QueryOptions): Promise<CandidatesResponse> {
    return this.#answer<CandidatesResponse>(CANDIDATES, request, options);
  }

  /**
   * Returns the query embedding of a request: a unit vector [D], whose dot product with an item
   * vector is the score of the item, without the boost of itemFrequency.
   *
   * @throws TandemError as candidates().
   */
  embedding(request: QueryRequest, options?: QueryOptions): Promise<EmbeddingsResponse> {
    return this.#answer<EmbeddingsResponse>(EMBEDDINGS, request, options);
  }

  /**
   * Returns exact scores of the given items. An item that the bundle does not have gets an error in
   * its place.
   *
   * @throws TandemError as candidates().
   */
  scores(request: ScoreQuery, options?: QueryOptions): Promise<ScoreResponse> {
    return this.#answer<ScoreResponse>(SCORE, request, options);
  }

  /** The metrics of the request path in Prometheus' text format. */
  metrics(): Promise<string> {
    return this.#metrics.registry.metrics();
  }

  /**
   * Refuses new requests, waits for open ones, and closes the store if open() opened it. Further
   * calls return the same promise.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#open);
    clearInterval(this.#watermarkTimer);
    await this.#bundles.close();
    await this.#ownStore?.close();
  }

  /**
   * Answers with the object that a client of HTTP would parse, so that there is one encoder of
   * answers.
   */
  async #answer<Response>(
    endpoint: Endpoint<PipelineRequest, string>,
    request: unknown,
    options: QueryOptions = {},
  ): Promise<Response> {
    if (this.#closing !== undefined)
      throw new TandemError(
        'ERR_DRAINING',
        'Expected an open candidate generator for a request, but close() was called. ' +
          'Open another one with CandidateGenerator.open().',
      );
    const requestId = String(++this.#requests);
    const answered = this.#pipeline.answer(
      endpoint,
      () => request,
      requestId,
      { aborted: false },
      options.timeoutMs,
    );
    this.#open.add(answered);
    try {
      return JSON.parse((await answered).body) as Response;
    } finally {
      this.#open.delete(answered);
    }
  }
}
