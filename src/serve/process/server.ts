// The server: opens what all its event loops share, starts them, and takes everything down in the order that loses no answer.

import { randomBytes } from 'node:crypto';
import { AggregatorRegistry } from 'prom-client';
import type { ServerSettings } from '../../config.ts';
import { openStore } from '../../store/open-store.ts';
import type { FeatureStore } from '../../store/store.ts';
import { logger } from '../../telemetry.ts';
import { adminHandler } from '../web/admin.ts';
import { openAccessLog } from '../web/access-log.ts';
import { ApiKeys } from '../admission/api-keys.ts';
import { startEventLoop, type EventLoop } from './event-loop.ts';
import { FreshEvents, type IngestReport } from '../ingest/fresh-events.ts';
import { FreshItems, type ItemsReport } from '../ingest/fresh-items.ts';
import { LoopThreads } from './loop-threads.ts';
import { ServerMetrics } from '../metrics/metrics.ts';
import { checkSearchThreads } from './search-threads.ts';
import { ServedBundles } from '../engine/served-bundles.ts';
import { tlsFiles } from '../web/tls.ts';
import type { RequestHandler, Transport } from '../web/transport.ts';
import type { ChangedItem, IngestedEvent } from '../request/request-types.ts';
import { summarise } from '../engine/served.ts';

const SALT_BYTES = 16;

export interface RunningServer {
  readonly port: number;
  /** Port of the admin listener; undefined where it is off. */
  readonly adminPort: number | undefined;
  /** Reads the file of API keys again, which is also read when it changes, and opens the access log anew. */
  readonly reload: () => void;
  /**
   * Stops: not ready, no new connections, answers what is open (within drainTimeoutSeconds), closes sockets and store.
   * Calling it again gives the same promise.
   */
  close(): Promise<void>;
}

/**
 * Starts a server; it answers when the promise resolves.
 *
 * @param store - where user states are read, for a server of one event loop; by default at settings.store. close() closes it.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND, ERR_BUNDLE_INVALID, ERR_STORE_UNAVAILABLE, ERR_NATIVE_UNAVAILABLE,
 *   ERR_CONFIG_INVALID (address in use, key file, certificate, event loops).
 */
export async function startServer(
  settings: ServerSettings,
  store?: FeatureStore,
): Promise<RunningServer> {
  const startedMs = performance.now();
  checkSearchThreads(settings.eventLoops);
  const keys = new ApiKeys(settings.keys);
  const metrics = new ServerMetrics();
  const salt = randomBytes(SALT_BYTES);
  const accessLog = openAccessLog(settings.accessLog, salt);
  metrics.describeProcess();
  const scrape = async (): Promise<string> => {
    const { registry } = metrics;
    if (settings.eventLoops === 1) return registry.metrics();
    const [own, others] = await Promise.all([registry.getMetricsAsJSON(), threads.metrics()]);
    return AggregatorRegistry.aggregate([own, ...others]).metrics();
  };
  let fresh: FreshEvents | undefined;
  const ingest = (events: readonly IngestedEvent[]): Promise<IngestReport> => fresh!.ingest(events);
  let freshItems: FreshItems | undefined;
  const changeItems = (items: readonly ChangedItem[]): Promise<ItemsReport> =>
    freshItems!.change(items);
  const threads = new LoopThreads(
    settings.eventLoops - 1,
    { settings, salt },
    { scrape, ingest, changeItems },
  );
  let first: EventLoop | undefined;
  let opened: FeatureStore | undefined;
  try {
    const bundles = await ServedBundles.open(settings.bundles, settings.plan, metrics);
    const takesEvents = settings.freshEvents === 'on';
    const takesItems = settings.freshItems === 'on';
    // Before other loops open it: one environment of LMDB serves the whole process.
    const states =
      store ??
      (await openStore(settings.store, {
        readOnly: !takesEvents && !takesItems,
        timeoutMs: settings.storeTimeoutMs,
      }));
    opened = states;
    if (takesEvents) fresh = new FreshEvents(bundles, states, metrics);
    if (takesItems) {
      freshItems = new FreshItems(bundles, states, metrics);
      await freshItems.follow();
    }
    const own = await startEventLoop({
      ...{ settings, bundles, keys, metrics, accessLog, scrape, port: settings.port },
      store: states,
      ingest: takesEvents ? ingest : undefined,
      changeItems: takesItems ? changeItems : undefined,
      portSharing: settings.eventLoops === 1 ? 'none' : 'first',
    });
    first = own;
    metrics.describeBundles(summarise(bundles.served));
    await threads.serve(bundles.served);
    await threads.adoptKeys(keys.share());
    await threads.listen(own.port);
    const handleAdmin = adminHandler({
      ...{ bundles, keys, directory: settings.bundles },
      drain: async () => {
        own.drain();
        await threads.drain();
      },
      setLogLevel: async (level) => {
        logger.level = level;
        await threads.setLogLevel(level);
      },
    });
    const { adminPort } = settings;
    const admin =
      adminPort === 'off' ? undefined : await listenAdmin(settings, adminPort, handleAdmin);

    bundles.onServe = (served) => threads.serve(served);
    bundles.follow(settings.bundlePollSeconds * 1000);
    void bundles.restorePrevious();
    keys.onChange = (shared) => void threads.adoptKeys(shared);
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
        port: own.port,
        transport: own.transport,
        event_loops: settings.eventLoops,
        ...(admin !== undefined && { admin_port: admin.port }),
        tls: settings.tlsCert !== undefined,
        bundle: bundle.manifest.bundleId,
        items: bundle.catalogue.count,
        isa: head.isa,
        startup_ms: Math.round(performance.now() - startedMs),
      },
      'serving',
    );

    const stop = async (): Promise<void> => {
      const unanswered = await Promise.all([own.close(), threads.close()]);
      await freshItems?.close();
      await states.close();
      await admin?.close();
      await bundles.close();
      keys.unwatch();
      logger.info({ unanswered: unanswered[0] + unanswered[1] }, 'stopped');
    };
    let stopping: Promise<void> | undefined;
    return {
      port: own.port,
      adminPort: admin?.port,
      reload: () => {
        keys.reload();
        accessLog?.reopen();
        void threads.reopenLog();
      },
      close: () => (stopping ??= stop()),
    };
  } catch (error) {
    await Promise.all([first?.close(), threads.close()]);
    await opened?.close();
    throw error;
  }
}

/** Whether only this machine reaches the address. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

/** On node:http whatever the public transport is: it is asked seldom, and sockets of both would share uWebSockets' loop. */
async function listenAdmin(
  settings: ServerSettings,
  port: number,
  handleRequest: RequestHandler,
): Promise<Transport> {
  const { adminHost, maxBodyBytes, maxFrameBytes, socketIdleSeconds } = settings;
  const { listenNode } = await import('../web/transport-node.ts');
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
    handleHead: () => undefined,
    handleRequest,
    tls: tlsFiles(settings),
    portSharing: 'none',
  });
}
