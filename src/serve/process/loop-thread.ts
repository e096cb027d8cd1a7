// The thread of loop-threads.ts: an event loop that serves what the leading one tells it to.

import { parentPort, workerData } from 'node:worker_threads';
import { logger } from '../../telemetry.ts';
import { openAccessLog } from '../web/access-log.ts';
import { openStore } from '../../store/open-store.ts';
import type { FeatureStore } from '../../store/store.ts';
import { ApiKeys } from '../admission/api-keys.ts';
import { Engine } from '../engine/engine.ts';
import { startEventLoop, type EventLoop } from './event-loop.ts';
import type { EngineReference, LeaderAnswers, LoopAnswers, LoopData } from './loop-threads.ts';
import { ServerMetrics } from '../metrics/metrics.ts';
import { ThreadCalls } from './thread-calls.ts';
import type { Served } from '../engine/served.ts';

const { settings, salt } = workerData as LoopData;
const keys = new ApiKeys(settings.keys);
const metrics = new ServerMetrics();
const accessLog = openAccessLog(settings.accessLog, salt);
const bundles = { served: undefined as unknown as Served };
let engines = new Map<number, Engine>();
let loop: EventLoop | undefined;
let store: FeatureStore | undefined;

/** The engine of a reference, kept in `next`. */
function engineOf({ number, shared, items }: EngineReference, next: Map<number, Engine>): Engine {
  const known = shared === undefined ? engines.get(number)! : Engine.attach(shared);
  const engine = items === undefined ? known : known.withItems(items);
  next.set(number, engine);
  return engine;
}

const answers: LoopAnswers = {
  serve: ({ active, previous }) => {
    const next = new Map<number, Engine>();
    bundles.served = {
      active: engineOf(active, next),
      previous: previous && engineOf(previous, next),
    };
    engines = next;
  },
  adoptKeys: (shared) => {
    keys.adopt(shared);
  },
  listen: async (port) => {
    const scrape = (): Promise<string> => leader.call('scrape', undefined);
    const { store: location, storeTimeoutMs: timeoutMs } = settings;
    store = await openStore(location, { readOnly: true, timeoutMs });
    loop = await startEventLoop({
      ...{ settings, bundles, keys, metrics, accessLog, scrape, port, store },
      ingest: settings.freshEvents === 'on' ? (events) => leader.call('ingest', events) : undefined,
      changeItems:
        settings.freshItems === 'on' ? (items) => leader.call('changeItems', items) : undefined,
      portSharing: 'joined',
    });
  },
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
  close: async () => {
    const unanswered = (await loop?.close()) ?? 0;
    await store?.close();
    // The thread ends when nothing is left to wait for: an exit() would end it under uWebSockets' feet.
    setImmediate(() => {
      parentPort!.close();
    });
    return unanswered;
  },
};
const leader = new ThreadCalls<LeaderAnswers>(parentPort!, answers);
