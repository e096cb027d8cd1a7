// One event loop of a server, on the thread that runs it: store, pipeline and listener, and how they stop without losing an answer.

import { setTimeout as sleep } from 'node:timers/promises';
import type { ServerSettings } from '../../config.ts';
import { nativeAddon } from '../../native/binding.ts';
import type { FeatureStore } from '../../store/store.ts';
import { packageVersion } from '../../version.ts';
import type { AccessLog } from '../web/access-log.ts';
import type { ApiKeys } from '../admission/api-keys.ts';
import { CANDIDATES } from '../answer/endpoints.ts';
import type { Engine } from '../engine/engine.ts';
import { httpHandlers } from '../web/http.ts';
import type { HttpServices } from '../web/routes/route.ts';
import { STREAM_PATH } from '../web/routes/stream.ts';
import type { ServerMetrics } from '../metrics/metrics.ts';
import { openApiDocument } from '../web/openapi.ts';
import { Pipeline } from '../pipeline.ts';
import { tlsFiles } from '../web/tls.ts';
import type { Transport, TransportOptions } from '../web/transport.ts';
import { streamHandler } from '../web/websocket.ts';
import type { Served } from '../engine/served.ts';

const WATERMARK_INTERVAL_MS = 30_000;
const DRAIN_POLL_MS = 5;
const WARM_UP_ROUNDS = 20;

export interface EventLoopOptions {
  readonly settings: ServerSettings;
  /** Read at the start of every micro-batch. */
  readonly bundles: { readonly served: Served };
  readonly keys: ApiKeys;
  /** Of this loop. */
  readonly metrics: ServerMetrics;
  readonly accessLog: AccessLog | undefined;
  /** Undefined where the server takes no events. */
  readonly ingest: HttpServices['ingest'];
  /** Undefined where the server takes no items. */
  readonly changeItems: HttpServices['changeItems'];
  /** The metrics of all loops, as Prometheus reads them. */
  readonly scrape: () => Promise<string>;
  /** The port, and whether other loops of this process listen on it, too. */
  readonly port: number;
  readonly portSharing: TransportOptions['portSharing'];
  /** Where user states are read. */
  readonly store: FeatureStore;
}

export interface EventLoop {
  readonly port: number;
  readonly transport: Transport['name'];
  /** Not ready from now on; requests that come are still answered. */
  drain(): void;
  /**
   * Answers what is open (within drainTimeoutSeconds), then closes sockets.
   *
   * @returns requests that stayed unanswered.
   */
  close(): Promise<number>;
}

/**
 * Starts a loop; it answers when the promise resolves.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE, ERR_CONFIG_INVALID (address in use, certificate).
 */
export async function startEventLoop(options: EventLoopOptions): Promise<EventLoop> {
  const { settings, bundles, keys, metrics, accessLog, store } = options;
  const tls = tlsFiles(settings);
  const pipeline = new Pipeline(bundles, store, metrics, {
    maxMicroBatch: settings.maxMicroBatch,
    maxQueue: settings.maxQueue,
    requestTimeoutMs: settings.requestTimeoutMs,
    staleAfterSeconds: settings.staleAfterHours * 3600,
    canaryEvery: settings.canaryEvery,
  });
  const readWatermarks = async (): Promise<void> => {
    for (const engine of Object.values(bundles.served) as (Engine | undefined)[]) {
      if (engine === undefined) continue;
      // A store that is down costs freshness of this number only; reads of states report the failure.
      const until = await store.readWatermark(engine.encoderId).catch(() => undefined);
      if (until !== undefined) pipeline.setWatermark(engine.encoderId, until);
    }
  };
  await readWatermarks();
  await warmUp(pipeline);
  metrics.registry.resetMetrics();
  metrics.describeLimit(() => pipeline.admission.limit);
  const watermarkTimer = setInterval(() => void readWatermarks(), WATERMARK_INTERVAL_MS);
  watermarkTimer.unref();

  let ready = true;
  let openApi: string | undefined;
  let transport: Transport;
  try {
    transport = await listen(settings.transport, {
      host: settings.host,
      port: options.port,
      portSharing: options.portSharing,
      maxBodyBytes: settings.maxBodyBytes,
      maxFrameBytes: settings.maxFrameBytes,
      socketPath: STREAM_PATH,
      socketIdleSeconds: settings.socketIdleSeconds,
      tls,
      handleUpgrade: streamHandler(pipeline, keys, {
        maxInFlight: settings.maxSocketInFlight,
        accessLog,
      }),
      ...httpHandlers({
        engine: () => bundles.served.active,
        pipeline,
        keys,
        metrics,
        accessLog,
        ingest: options.ingest,
        changeItems: options.changeItems,
        scrape: options.scrape,
        isReady: () => ready,
        openApi: () => (openApi ??= JSON.stringify(openApiDocument(packageVersion()))),
        version: () => describeVersion(settings, bundles.served.active),
      }),
    });
  } catch (error) {
    clearInterval(watermarkTimer);
    throw error;
  }
  return {
    port: transport.port,
    transport: transport.name,
    drain: () => {
      ready = false;
    },
    close: async () => {
      ready = false;
      pipeline.admission.drain();
      transport.stopAccepting();
      const deadlineMs = performance.now() + settings.drainTimeoutSeconds * 1000;
      while (
        pipeline.admission.open + transport.openRequests() > 0 &&
        performance.now() < deadlineMs
      )
        await sleep(DRAIN_POLL_MS);
      const unanswered = pipeline.admission.open + transport.openRequests();
      await transport.close();
      clearInterval(watermarkTimer);
      accessLog?.close();
      return unanswered;
    },
  };
}

function describeVersion({ transport, eventLoops }: ServerSettings, engine: Engine): object {
  const addon = nativeAddon();
  const { head, bundle } = engine;
  return {
    version: packageVersion(),
    addon: addon.version,
    usearch: addon.usearchVersion,
    isa: head.isa,
    node: process.version,
    transport,
    event_loops: eventLoops,
    bundle_id: bundle.manifest.bundleId,
    encoder_id: bundle.manifest.encoderId,
  };
}

async function listen(
  name: ServerSettings['transport'],
  options: TransportOptions,
): Promise<Transport> {
  // Imported here so that a machine without the uWebSockets binary can serve on node:http.
  if (name === 'uws') return (await import('../web/transport-uws.ts')).listenUws(options);
  return (await import('../web/transport-node.ts')).listenNode(options);
}

/** The first requests compile validators and hot loops (tens of milliseconds): nobody should wait for that. */
async function warmUp(pipeline: Pipeline): Promise<void> {
  const body = {
    user: 'warm-up',
    surface: 'search',
    subject: { query: 'warm up' },
    filter: { min_price: 0 },
  };
  for (let round = 0; round < WARM_UP_ROUNDS; round++)
    await pipeline.answer(CANDIDATES, () => body, 'warm-up', { aborted: false });
}
