// The server: opens store and bundle, puts the parts together, and takes them down in the order that loses no answer.

import { setTimeout as sleep } from 'node:timers/promises';
import type { ServerSettings } from '../config.ts';
import { nativeAddon } from '../native/binding.ts';
import type { UserStateStore } from '../store/store.ts';
import { logger } from '../telemetry.ts';
import { packageVersion } from '../version.ts';
import { adminHandler } from './admin.ts';
import { ApiKeys } from './api-keys.ts';
import { CANDIDATES } from './endpoints.ts';
import { STREAM_PATH, httpHandler } from './http.ts';
import { ServerMetrics } from './metrics.ts';
import { openApiDocument } from './openapi.ts';
import { Pipeline } from './pipeline.ts';
import { ServedBundles } from './served-bundles.ts';
import type { Engine } from './engine.ts';
import { tlsFiles } from './tls.ts';
import type { RequestHandler, Transport, TransportOptions } from './transport.ts';
import { streamHandler } from './websocket.ts';

const WATERMARK_INTERVAL_MS = 30_000;
const DRAIN_POLL_MS = 5;
const WARM_UP_ROUNDS = 20;

export interface RunningServer {
  readonly port: number;
  /** Port of the admin listener; undefined where it is off. */
  readonly adminPort: number | undefined;
  /** Reads the file of API keys again; it is also read when it changes. */
  readonly reloadKeys: () => void;
  /**
   * Stops: not ready, no new connections, answers what is open (within drainTimeoutSeconds), closes sockets and store.
   * Calling it again gives the same promise.
   */
  close(): Promise<void>;
}

/**
 * Starts a server; it answers when the promise resolves.
 *
 * @param store - where user states are read; by default LMDB at settings.store. close() closes it.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND, ERR_BUNDLE_INVALID, ERR_STORE_UNAVAILABLE, ERR_NATIVE_UNAVAILABLE,
 *   ERR_CONFIG_INVALID (address in use, key file, certificate).
 */
export async function startServer(
  settings: ServerSettings,
  store?: UserStateStore,
): Promise<RunningServer> {
  const startedMs = performance.now();
  const addon = nativeAddon();
  const keys = new ApiKeys(settings.keys);
  const tls = tlsFiles(settings);
  const metrics = new ServerMetrics();
  const bundles = await ServedBundles.open(settings.bundles, settings.plan, metrics);
  const states = store ?? (await openStore(settings.store));
  const pipeline = new Pipeline(bundles, states, metrics, {
    maxMicroBatch: settings.maxMicroBatch,
    maxQueue: settings.maxQueue,
    requestTimeoutMs: settings.requestTimeoutMs,
    staleAfterSeconds: settings.staleAfterHours * 3600,
  });
  const readWatermarks = async (): Promise<void> => {
    for (const engine of Object.values(bundles.served) as (Engine | undefined)[]) {
      if (engine === undefined) continue;
      // A store that is down costs freshness of this number only; reads of states report the failure.
      const until = await states.readWatermark(engine.encoderId).catch(() => undefined);
      if (until !== undefined) pipeline.setWatermark(engine.encoderId, until);
    }
  };
  await readWatermarks();
  await warmUp(pipeline);
  metrics.registry.resetMetrics();
  metrics.describeLimit(() => pipeline.limit);
  metrics.describeBundles(bundles.served);
  const watermarkTimer = setInterval(() => void readWatermarks(), WATERMARK_INTERVAL_MS);
  watermarkTimer.unref();

  let ready = true;
  let openApi: string | undefined;
  const version = packageVersion();
  let transport: Transport;
  let admin: Transport | undefined;
  try {
    transport = await listen(settings.transport, {
      host: settings.host,
      port: settings.port,
      maxBodyBytes: settings.maxBodyBytes,
      maxFrameBytes: settings.maxFrameBytes,
      socketPath: STREAM_PATH,
      socketIdleSeconds: settings.socketIdleSeconds,
      tls,
      handleUpgrade: streamHandler(pipeline, keys, { maxInFlight: settings.maxSocketInFlight }),
      handleRequest: httpHandler({
        engine: () => bundles.served.active,
        pipeline,
        keys,
        metrics,
        isReady: () => ready,
        openApi: () => (openApi ??= JSON.stringify(openApiDocument(version))),
        version: () => {
          const { head, bundle } = bundles.served.active;
          return {
            version,
            addon: addon.version,
            usearch: addon.usearchVersion,
            isa: head.isa,
            node: process.version,
            transport: settings.transport,
            bundle_id: bundle.manifest.bundleId,
            encoder_id: bundle.manifest.encoderId,
          };
        },
      }),
    });
    if (settings.adminPort !== 'off') {
      const drain = (): void => {
        ready = false;
      };
      admin = await listenAdmin(
        settings,
        settings.adminPort,
        adminHandler({ bundles, keys, directory: settings.bundles, drain }),
        tls,
      );
    }
  } catch (error) {
    clearInterval(watermarkTimer);
    await states.close();
    throw error;
  }
  bundles.follow(settings.bundlePollSeconds * 1000);
  void bundles.restorePrevious();
  keys.watch();
  if (keys.isOpen && !isLoopback(settings.host))
    logger.warn(
      { host: settings.host },
      'no API keys (setting keys): whoever reaches this address is served',
    );
  const { bundle, head } = bundles.served.active;
  logger.info(
    {
      host: settings.host,
      port: transport.port,
      transport: transport.name,
      ...(admin !== undefined && { admin_port: admin.port }),
      tls: tls !== undefined,
      bundle: bundle.manifest.bundleId,
      items: bundle.catalogue.count,
      isa: head.isa,
      startup_ms: Math.round(performance.now() - startedMs),
    },
    'serving',
  );

  const stop = async (): Promise<void> => {
    ready = false;
    pipeline.drain();
    transport.stopAccepting();
    const deadlineMs = performance.now() + settings.drainTimeoutSeconds * 1000;
    while (pipeline.open + transport.openRequests() > 0 && performance.now() < deadlineMs)
      await sleep(DRAIN_POLL_MS);
    const unanswered = pipeline.open + transport.openRequests();
    await transport.close();
    await admin?.close();
    clearInterval(watermarkTimer);
    await bundles.close();
    keys.unwatch();
    await states.close();
    logger.info({ unanswered }, 'stopped');
  };
  let stopping: Promise<void> | undefined;
  return {
    port: transport.port,
    adminPort: admin?.port,
    reloadKeys: keys.reload,
    close: () => (stopping ??= stop()),
  };
}

/** Whether only this machine reaches the address. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

async function listen(
  name: ServerSettings['transport'],
  options: TransportOptions,
): Promise<Transport> {
  // Imported here so that a machine without the uWebSockets binary can serve on node:http.
  if (name === 'uws') return (await import('./transport-uws.ts')).listenUws(options);
  return (await import('./transport-node.ts')).listenNode(options);
}

/** On node:http whatever the public transport is: it is asked seldom, and sockets of both would share uWebSockets' loop. */
async function listenAdmin(
  { adminHost, maxBodyBytes, maxFrameBytes, socketIdleSeconds }: ServerSettings,
  port: number,
  handleRequest: RequestHandler,
  tls: TransportOptions['tls'],
): Promise<Transport> {
  const { listenNode } = await import('./transport-node.ts');
  return listenNode({
    host: adminHost,
    port,
    maxBodyBytes,
    maxFrameBytes,
    socketIdleSeconds,
    // No path leads to a socket.
    socketPath: '',
    handleUpgrade: () => {
      throw new Error('Expected no WebSocket on the admin port.');
    },
    handleRequest,
    tls,
  });
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

async function openStore(path: string): Promise<UserStateStore> {
  const { LmdbStore } = await import('../store/lmdb-store.ts');
  return LmdbStore.open(path, { readOnly: true });
}
