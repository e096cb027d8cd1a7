// Opens the request path and keeps it informed: creates the pipeline, warms it up, and tells it up
// to which time the stored states are complete.

import type { ServerSettings } from '../config.ts';
import type { WatermarkStore, StateStore } from '../store/store.ts';
import { CANDIDATES } from './answer/endpoints.ts';
import type { Served } from './engine/served.ts';
import type { ServerMetrics } from './metrics/metrics.ts';
import { Pipeline } from './pipeline.ts';

/** The settings that the request path reads. */
export type PipelineSettings = Pick<
  ServerSettings,
  'maxMicroBatch' | 'maxQueue' | 'requestTimeoutMs' | 'staleAfterHours' | 'canaryEvery'
>;

const WATERMARK_INTERVAL_MS = 30_000;
const WARM_UP_ROUNDS = 20;

/**
 * Opens the request path. It answers requests at full speed when the promise resolves.
 *
 * @param bundles - read at the start of every micro-batch.
 * @param metrics - reset after the requests of the warm-up.
 */
export async function openPipeline(
  settings: PipelineSettings,
  bundles: { readonly served: Served },
  store: StateStore & WatermarkStore,
  metrics: ServerMetrics,
): Promise<Pipeline> {
  const pipeline = new Pipeline(bundles, store, metrics, {
    maxMicroBatch: settings.maxMicroBatch,
    maxQueue: settings.maxQueue,
    requestTimeoutMs: settings.requestTimeoutMs,
    staleAfterSeconds: settings.staleAfterHours * 3600,
    canaryEvery: settings.canaryEvery,
  });
  await readWatermarks(bundles.served, store, pipeline);
  await warmUp(pipeline);
  metrics.registry.resetMetrics();
  return pipeline;
}

/** Reads the watermarks of the served bundles every 30 s, until the timer is cleared. */
export function followWatermarks(
  pipeline: Pipeline,
  bundles: { readonly served: Served },
  store: WatermarkStore,
): NodeJS.Timeout {
  const timer = setInterval(
    () => void readWatermarks(bundles.served, store, pipeline),
    WATERMARK_INTERVAL_MS,
  );
  return timer.unref();
}

/**
 * Tells the pipeline up to which time the states of each served encoder are known to be complete.
 */
async function readWatermarks(
  { active, previous }: Served,
  store: WatermarkStore,
  pipeline: Pipeline,
): Promise<void> {
  for (const engine of previous === undefined ? [active] : [active, previous]) {
    // An unavailable store only makes states look older here. Reads of states report the failure.
    const until = await store.readWatermark(engine.encoderId).catch(() => undefined);
    if (until !== undefined) pipeline.setWatermark(engine.encoderId, until);
  }
}

/**
 * The first requests compile validators and hot loops, which takes tens of milliseconds. No client
 * waits for that.
 */
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
