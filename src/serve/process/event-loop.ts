// One event loop of a server, on the thread that runs it: store, pipeline and listener, and how
// they stop without losing an answer.

import { setTimeout as sleep } from 'node:timers/promises';
import type { ServerSettings } from '../../config.ts';
import { nativeAddon } from '../../native/addon.ts';
import type { FeatureStore } from '../../store/store.ts';
import { packageVersion } from '../../platform/version.ts';
import type { ApiKeys } from '../admission/api-keys.ts';
import type { Served } from '../engine/served.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import { followWatermarks, openPipeline } from '../open-pipeline.ts';
import type { Pipeline } from '../pipeline.ts';
import type { AccessLog } from '../web/access-log.ts';
import type { TransportChoice } from '../web/choose-transport.ts';
import { Cors } from '../web/cors.ts';
import { httpHandlers } from '../web/http.ts';
import { openApiDocument } from '../web/openapi.ts';
import { STREAM_PATH } from '../web/routes/stream.ts';
import { tlsFiles } from '../web/tls.ts';
import type { Transport, TransportOptions } from '../web/transport.ts';
import { streamHandler } from '../web/websocket.ts';
import type { Writers } from './writers.ts';

const DRAIN_POLL_MS = 5;

export interface EventLoopOptions {
  readonly settings: ServerSettings;
  readonly transport: TransportChoice;
  /** Read at the start of every micro-batch. */
  readonly bundles: { readonly served: Served };
  readonly keys: ApiKeys;
  /** The metrics of this loop alone. */
  readonly metrics: ServerMetrics;
  readonly accessLog: AccessLog | undefined;
  /** User states are read from it. The caller closes it, after the loop. */
  readonly store: FeatureStore;
  readonly writers: Writers;
  /** The metrics of all loops in Prometheus' text format. */
  readonly scrape: () => Promise<string>;
  /** The port, and whether other loops of this process listen on it, too. */
  readonly port: number;
  readonly portSharing: TransportOptions['portSharing'];
}

export interface EventLoop {
  readonly port: number;
  /** Reports "not ready" from now on. Requests are still answered. */
  drain(): void;
  /**
   * Answers open requests for at most drainTimeoutSeconds, then closes sockets.
   *
   * @returns the number of requests that were not answered.
   */
  close(): Promise<number>;
}

/**
 * Starts an event loop. It answers requests when the promise resolves.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE; ERR_CONFIG_INVALID for an address in use or a bad
 *   certificate.
 */
export async function startEventLoop(options: EventLoopOptions): Promise<EventLoop> {
  const { settings, bundles, metrics, store } = options;
  const tls = tlsFiles(settings);
  const pipeline = await openPipeline(settings, bundles, store, metrics);
  metrics.describeLimit(() => pipeline.admission.limit);
  const readiness = new Readiness();
  const transport = await listen(options.transport.name, {
    host: settings.host,
    port: options.port,
    portSharing: options.portSharing,
    maxBodyBytes: settings.maxBodyBytes,
    maxFrameBytes: settings.maxFrameBytes,
    socketPath: STREAM_PATH,
    socketIdleSeconds: settings.socketIdleSeconds,
    tls,
    ...handlers(options, pipeline, readiness),
  });
  return new ListeningLoop(options, pipeline, readiness, transport);
}

/** Whether a load balancer should send requests here. */
class Readiness {
  isReady = true;
}

class ListeningLoop implements EventLoop {
  readonly port: number;
  readonly #options: EventLoopOptions;
  readonly #pipeline: Pipeline;
  readonly #readiness: Readiness;
  readonly #listener: Transport;
  readonly #watermarkTimer: NodeJS.Timeout;

  constructor(
    options: EventLoopOptions,
    pipeline: Pipeline,
    readiness: Readiness,
    listener: Transport,
  ) {
    this.port = listener.port;
    this.#options = options;
    this.#pipeline = pipeline;
    this.#readiness = readiness;
    this.#listener = listener;
    this.#watermarkTimer = followWatermarks(pipeline, options.bundles, options.store);
  }

  drain(): void {
    this.#readiness.isReady = false;
  }

  async close(): Promise<number> {
    this.drain();
    this.#pipeline.admission.drain();
    this.#listener.stopAccepting();
    const { drainTimeoutSeconds } = this.#options.settings;
    const deadlineMs = performance.now() + drainTimeoutSeconds * 1000;
    while (this.#openRequests() > 0 && performance.now() < deadlineMs) await sleep(DRAIN_POLL_MS);
    const unanswered = this.#openRequests();
    await this.#listener.close();
    clearInterval(this.#watermarkTimer);
    this.#options.accessLog?.close();
    return unanswered;
  }

  #openRequests(): number {
    return this.#pipeline.admission.open + this.#listener.openRequests();
  }
}

/** The functions that answer requests of the transport. */
function handlers(
  options: EventLoopOptions,
  pipeline: Pipeline,
  readiness: Readiness,
): Pick<TransportOptions, 'handleHead' | 'handleRequest' | 'handleUpgrade'> {
  const { settings, bundles, keys, metrics, accessLog, writers, scrape } = options;
  let openApi: string | undefined;
  const { handleHead, handleRequest } = httpHandlers({
    engine: () => bundles.served.active,
    pipeline,
    keys,
    metrics,
    accessLog,
    cors: settings.corsOrigins === undefined ? undefined : new Cors(settings.corsOrigins),
    ingest: writers.ingest,
    changeItems: writers.changeItems,
    scrape,
    isReady: () => readiness.isReady,
    openApi: () => (openApi ??= JSON.stringify(openApiDocument(packageVersion()))),
    version: () => describeVersion(options),
  });
  const handleUpgrade = streamHandler(pipeline, keys, {
    maxInFlight: settings.maxSocketInFlight,
    accessLog,
  });
  return { handleHead, handleRequest, handleUpgrade };
}

function describeVersion({ transport, settings, bundles }: EventLoopOptions): object {
  const addon = nativeAddon();
  const { head, bundle } = bundles.served.active;
  return {
    version: packageVersion(),
    addon: addon.version,
    usearch: addon.usearchVersion,
    isa: head.isa,
    node: process.version,
    transport: transport.name,
    transport_reason: transport.reason,
    event_loops: settings.eventLoops,
    bundle_id: bundle.manifest.bundleId,
    encoder_id: bundle.manifest.encoderId,
  };
}

async function listen(name: Transport['name'], options: TransportOptions): Promise<Transport> {
  if (name === 'uws') return (await import('../web/transport-uws.ts')).listenUws(options);
  return (await import('../web/transport-node.ts')).listenNode(options);
}
