// The thread of loop-threads.ts: an event loop that does what the leading loop tells it.

import { parentPort, workerData } from 'node:worker_threads';
import { openStore } from '../../store/open-store.ts';
import type { FeatureStore } from '../../store/store.ts';
import { logger } from '../../telemetry.ts';
import { ApiKeys } from '../admission/api-keys.ts';
import { ServerMetrics } from '../metrics/metrics.ts';
import { openAccessLog } from '../web/access-log.ts';
import { startEventLoop, type EventLoop } from './event-loop.ts';
import type { LeaderAnswers, LoopAnswers, LoopData } from './loop-threads.ts';
import { ReceivedBundles } from './received-bundles.ts';
import { ThreadCalls } from './thread-calls.ts';

const { settings, transport, salt } = workerData as LoopData;
const keys = new ApiKeys(settings.keys);
const metrics = new ServerMetrics();
const accessLog = openAccessLog(settings.accessLog, salt);
const bundles = new ReceivedBundles();
/** Undefined until the leading loop has the port. */
let store: FeatureStore | undefined;
let loop: EventLoop | undefined;

async function listen(port: number): Promise<void> {
  const { store: location, storeTimeoutMs: timeoutMs } = settings;
  store = await openStore(location, { readOnly: true, timeoutMs });
  loop = await startEventLoop({
    settings,
    transport,
    bundles,
    keys,
    metrics,
    accessLog,
    store,
    writers: {
      ingest: settings.freshEvents === 'on' ? (events) => leader.call('ingest', events) : undefined,
      changeItems:
        settings.freshItems === 'on' ? (items) => leader.call('changeItems', items) : undefined,
    },
    scrape: () => leader.call('scrape', undefined),
    port,
    portSharing: 'joined',
  });
}

async function close(): Promise<number> {
  const unanswered = (await loop?.close()) ?? 0;
  await store?.close();
  // The thread ends when nothing is left to wait for. process.exit() would end it while uWebSockets
  // still runs.
  setImmediate(() => {
    parentPort!.close();
  });
  return unanswered;
}

const answers: LoopAnswers = {
  serve: (served) => {
    bundles.receive(served);
  },
  adoptKeys: (shared) => {
    keys.adopt(shared);
  },
  listen,
  drain: () => {
    loop?.drain();
  },
  setLogLevel: (level) => {
    logger.level = level;
  },
  reopenLog: () => {
    accessLog?.reopen();
  },
  metrics: () => metrics.registry.getMetricsAsJSON(),
  close,
};
const leader = new ThreadCalls<LeaderAnswers>(parentPort!, answers);
