// The server: opens what all its event loops share, starts the loops, and stops everything in an
// order that loses no answer.

import { randomBytes } from 'node:crypto';
import type { ServerSettings } from '../../config.ts';
import { openStore } from '../../store/open-store.ts';
import type { FeatureStore } from '../../store/store.ts';
import { logger } from '../../telemetry.ts';
import { ApiKeys } from '../admission/api-keys.ts';
import { ItemOverlays } from '../engine/item-overlays.ts';
import { summarise } from '../engine/served.ts';
import { ServedBundles } from '../engine/served-bundles.ts';
import { ServerMetrics } from '../metrics/metrics.ts';
import { openAccessLog, type AccessLog } from '../web/access-log.ts';
import { chooseTransport, type TransportChoice } from '../web/choose-transport.ts';
import { listenAdmin } from './admin-port.ts';
import { startEventLoop, type EventLoop } from './event-loop.ts';
import { LoopThreads, requirePortSharing } from './loop-threads.ts';
import { checkSearchThreads } from './search-threads.ts';
import type { Transport } from '../web/transport.ts';
import { openWriters, type OpenWriters } from './writers.ts';

const SALT_BYTES = 16;

/** A server that answers requests. */
export interface RunningServer {
  readonly port: number;
  /** Port of the admin listener; undefined if it is off. */
  readonly adminPort: number | undefined;
  /**
   * Reads the file of API keys again, which is also read when it changes, and reopens the access
   * log.
   */
  readonly reload: () => void;
  /**
   * Stops the server: it reports "not ready", accepts no new connections, answers open requests for
   * at most drainTimeoutSeconds, and closes sockets and store. Further calls return the same
   * promise.
   */
  close(): Promise<void>;
}

/** What all event loops of a server share. */
interface Shared {
  readonly settings: ServerSettings;
  readonly transport: TransportChoice;
  readonly keys: ApiKeys;
  /** The metrics of the leading loop. */
  readonly metrics: ServerMetrics;
  /** Salt of the user hashes in the access log. */
  readonly salt: Uint8Array;
  readonly accessLog: AccessLog | undefined;
  readonly bundles: ServedBundles;
  readonly overlays: ItemOverlays;
  readonly store: FeatureStore;
}

/** The event loops of a server: the leading one, which runs on this thread, and the others. */
interface Loops {
  readonly leading: EventLoop;
  readonly threads: LoopThreads;
  readonly writers: OpenWriters;
  readonly admin: Transport | undefined;
}

/**
 * Starts a server. It answers requests when the promise resolves.
 *
 * @param store - the store of user states, for a server of one event loop; by default the one at
 *   settings.store. close() closes it.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND, ERR_BUNDLE_INVALID, ERR_STORE_UNAVAILABLE,
 *   ERR_NATIVE_UNAVAILABLE; ERR_CONFIG_INVALID for an address in use, the key file, the certificate
 *   or the number of event loops.
 */
export async function startServer(
  settings: ServerSettings,
  store?: FeatureStore,
): Promise<RunningServer> {
  const startedMs = performance.now();
  checkSearchThreads(settings.eventLoops);
  const transport = chooseTransport(settings.transport);
  requirePortSharing(settings.eventLoops, transport);
  const keys = new ApiKeys(settings.keys);
  const metrics = new ServerMetrics();
  metrics.describeProcess();
  metrics.describeTransport(transport.name);
  const salt = randomBytes(SALT_BYTES);
  const accessLog = openAccessLog(settings.accessLog, salt);
  const overlays = new ItemOverlays();
  let opened = store;
  try {
    const bundles = await ServedBundles.open(settings.bundles, settings.plan, metrics, overlays);
    opened ??= await openOwnStore(settings);
    const shared = {
      settings,
      transport,
      keys,
      metrics,
      salt,
      accessLog,
      bundles,
      overlays,
      store: opened,
    };
    const loops = await startLoops(shared);
    followChanges(shared);
    logStart(shared, loops, performance.now() - startedMs);
    return runningServer(shared, loops);
  } catch (error) {
    accessLog?.close();
    await opened?.close();
    throw error;
  }
}

/** Opened before other loops open it: one LMDB environment serves the whole process. */
async function openOwnStore(settings: ServerSettings): Promise<FeatureStore> {
  return openStore(settings.store, {
    readOnly: settings.freshEvents !== 'on' && settings.freshItems !== 'on',
    timeoutMs: settings.storeTimeoutMs,
  });
}

/** Starts the leading loop first: it takes the port, which the others then share. */
async function startLoops(shared: Shared): Promise<Loops> {
  const { settings, transport, bundles, overlays, keys, metrics, salt, accessLog, store } = shared;
  const writers = await openWriters(settings, bundles, overlays, store, metrics);
  const data = { settings, transport, salt };
  const threads = new LoopThreads(settings.eventLoops - 1, data, metrics, writers);
  let leading: EventLoop | undefined;
  try {
    leading = await startEventLoop({
      settings,
      transport,
      bundles,
      keys,
      metrics,
      accessLog,
      store,
      writers,
      scrape: () => threads.scrape(),
      port: settings.port,
      portSharing: settings.eventLoops === 1 ? 'none' : 'first',
    });
    metrics.describeBundles(summarise(bundles.served));
    await bundles.announceTo((served) => threads.serve(served));
    await keys.announceTo((shared) => threads.adoptKeys(shared));
    await threads.listen(leading.port);
    const admin = await listenAdmin(settings, { bundles, keys, leading, threads });
    return { leading, threads, writers, admin };
  } catch (error) {
    await Promise.all([leading?.close(), threads.close()]);
    await writers.close();
    throw error;
  }
}

/** From now on the server follows bundles that become current, and changes of the key file. */
function followChanges({ settings, bundles, keys }: Shared): void {
  bundles.follow(settings.bundlePollSeconds * 1000);
  void bundles.restorePrevious();
  keys.watch();
  if (keys.isOpen && !isLoopback(settings.host))
    logger.warn(
      { host: settings.host },
      'no API keys (setting keys): whoever reaches this address is served',
    );
}

function logStart(
  { settings, transport, bundles }: Shared,
  { leading, admin }: Loops,
  startupMs: number,
): void {
  const { bundle, head } = bundles.served.active;
  logger.info(
    {
      host: settings.host,
      port: leading.port,
      transport: transport.name,
      transport_reason: transport.reason,
      event_loops: settings.eventLoops,
      ...(admin !== undefined && { admin_port: admin.port }),
      tls: settings.tlsCert !== undefined,
      bundle: bundle.manifest.bundleId,
      items: bundle.catalogue.count,
      isa: head.isa,
      startup_ms: Math.round(startupMs),
    },
    'serving',
  );
}

function runningServer(
  { bundles, keys, accessLog, store }: Shared,
  { leading, threads, writers, admin }: Loops,
): RunningServer {
  const stop = async (): Promise<void> => {
    const unanswered = await Promise.all([leading.close(), threads.close()]);
    await writers.close();
    await store.close();
    await admin?.close();
    await bundles.close();
    keys.unwatch();
    logger.info({ unanswered: unanswered[0] + unanswered[1] }, 'stopped');
  };
  let stopping: Promise<void> | undefined;
  return {
    port: leading.port,
    adminPort: admin?.port,
    reload: () => {
      keys.reload();
      accessLog?.reopen();
      void threads.reopenLog();
    },
    close: () => (stopping ??= stop()),
  };
}

/** Whether the address can be reached from this machine alone. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
