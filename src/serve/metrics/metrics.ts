// The metrics of an event loop, in base units and with the prefix tandem_. process/server.ts
// aggregates the registries of several event loops.

import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import { TallyCounter, TallyHistogram, type HistogramSeries } from './tallies.ts';

export const STAGES = ['parse', 'queue', 'state', 'head', 'retrieve', 'encode'] as const;
export type Stage = (typeof STAGES)[number];

/** From 50 microseconds, which a single cached request takes, to seconds, for overload. */
const DURATION_BUCKETS = [
  5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 1, 2.5,
];
const STAGE_BUCKETS = [1e-6, 5e-6, 1e-5, 2.5e-5, ...DURATION_BUCKETS];
const HOUR = 3600;

/** The bundles in memory, and how many items have changed since the active one was published. */
export interface BundlesSummary {
  readonly bundles: readonly {
    readonly role: 'active' | 'previous';
    readonly bundleId: string;
    readonly encoderId: string;
  }[];
  readonly freshItems: number;
  readonly itemTombstones: number;
  readonly skippedItemChanges: {
    /** Changes whose records in the store are damaged. */
    readonly damaged: number;
    /** Changes that the active bundle cannot serve. */
    readonly unusable: number;
  };
}

export class ServerMetrics {
  readonly registry: Registry = new Registry();
  readonly storeRequests: TallyCounter;
  readonly degraded: TallyCounter;
  readonly shed: TallyCounter;
  readonly stateAge: HistogramSeries;
  readonly candidatesReturned: HistogramSeries;
  readonly filterSelectivity: HistogramSeries;
  readonly microBatch: HistogramSeries;
  readonly bundleSwaps: Counter<'outcome'>;
  readonly annRecall: HistogramSeries;
  readonly freshEvents: Counter<'outcome'>;
  readonly damagedHistories: Counter;
  readonly itemChanges: Counter;
  readonly #freshItems: Gauge;
  readonly #itemTombstones: Gauge;
  readonly #skippedItemChanges: Gauge<'reason'>;
  readonly #bundleInfo: Gauge<'role' | 'bundle_id' | 'encoder_id'>;
  readonly #requests: TallyHistogram;
  readonly #stages: Readonly<Record<Stage, HistogramSeries>>;

  constructor() {
    const { registry } = this;
    const registers = [registry];
    this.#requests = new TallyHistogram({
      name: 'tandem_http_request_duration_seconds',
      help: 'Time from the last byte of a request to its answer.',
      labelNames: ['route', 'status'],
      buckets: DURATION_BUCKETS,
      registry,
    });
    const stage = new TallyHistogram({
      name: 'tandem_stage_duration_seconds',
      help: 'Time of a stage. Stage parse is per request, the others are per micro-batch.',
      labelNames: ['stage'],
      buckets: STAGE_BUCKETS,
      registry,
    });
    this.#stages = Object.fromEntries(STAGES.map((name) => [name, stage.series(name)])) as Record<
      Stage,
      HistogramSeries
    >;
    this.microBatch = new TallyHistogram({
      name: 'tandem_micro_batch_requests',
      help: 'Requests per micro-batch.',
      buckets: [1, 2, 4, 8, 16, 32, 64],
      registry,
    }).series();
    this.stateAge = new TallyHistogram({
      name: 'tandem_state_age_seconds',
      help: 'Age of the user states that answers are computed from.',
      buckets: [HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 48 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR],
      registry,
    }).series();
    this.storeRequests = new TallyCounter({
      name: 'tandem_store_requests_total',
      help:
        'Lookups of user states by outcome: found, previous, missing, version_mismatch, ' +
        'store_unavailable, store_corrupt.',
      label: 'outcome',
      registry,
    });
    this.degraded = new TallyCounter({
      name: 'tandem_degraded_responses_total',
      help: 'Degraded answers by mode: previous-bundle, context-only, popular.',
      label: 'mode',
      registry,
    });
    this.shed = new TallyCounter({
      name: 'tandem_shed_requests_total',
      help:
        'Requests refused before any work, by reason: overload, queue_full, rate_limited, ' +
        'draining, deadline.',
      label: 'reason',
      registry,
    });
    this.candidatesReturned = new TallyHistogram({
      name: 'tandem_candidates_returned',
      help: 'Candidates per answer.',
      buckets: [0, 1, 10, 50, 100, 200, 500, 1000],
      registry,
    }).series();
    this.freshEvents = new Counter({
      name: 'tandem_fresh_events_total',
      help: 'Events received over HTTP by outcome: accepted, duplicate.',
      labelNames: ['outcome'],
      registers,
    });
    this.damagedHistories = new Counter({
      name: 'tandem_damaged_histories_total',
      help: 'Histories whose record was damaged when an event arrived; each began anew.',
      registers,
    });
    this.itemChanges = new Counter({
      name: 'tandem_item_changes_total',
      help: 'Items put or deleted over HTTP.',
      registers,
    });
    this.#freshItems = new Gauge({
      name: 'tandem_fresh_items',
      help: 'Fresh items: items put after the active bundle was published.',
      registers,
    });
    this.#itemTombstones = new Gauge({
      name: 'tandem_item_tombstones',
      help: 'Items of the active bundle that were deleted or replaced after it was published.',
      registers,
    });
    this.#skippedItemChanges = new Gauge({
      name: 'tandem_skipped_item_changes',
      help:
        'Changes of items in the store that are not served, by reason: damaged (the record), ' +
        'unusable (by the active bundle).',
      labelNames: ['reason'],
      registers,
    });
    this.annRecall = new TallyHistogram({
      name: 'tandem_ann_recall_ratio',
      help:
        'Recall of the approximate index, measured on sampled requests that are searched again ' +
        'with the exact scan.',
      buckets: [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1],
      registry,
    }).series();
    this.bundleSwaps = new Counter({
      name: 'tandem_bundle_swaps_total',
      help: 'Attempts to activate a bundle by outcome: activated, refused.',
      labelNames: ['outcome'],
      registers,
    });
    this.#bundleInfo = new Gauge({
      name: 'tandem_bundle_info',
      help:
        'Bundles in memory: the active one, and the previous one, which answers users whose ' +
        'state is from its encoder.',
      labelNames: ['role', 'bundle_id', 'encoder_id'],
      registers,
    });
    this.filterSelectivity = new TallyHistogram({
      name: 'tandem_filter_selectivity_ratio',
      help: 'Share of the catalogue that passes the filter of a request.',
      buckets: [0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1],
      registry,
    }).series();
  }

  /**
   * Adds metrics that exist once per process (CPU time, memory, garbage collection) and the lag of
   * this event loop.
   */
  describeProcess(): void {
    collectDefaultMetrics({ register: this.registry });
    // These gauges have names of counters, which promtool refuses.
    for (const what of ['handles', 'requests', 'resources'])
      this.registry.removeSingleMetric(`nodejs_active_${what}_total`);
  }

  /** Adds a gauge whose label says which web server answers. */
  describeTransport(transport: string): void {
    new Gauge({
      name: 'tandem_transport_info',
      help: 'The transport of the server: uws (uWebSockets) or node (node:http).',
      labelNames: ['transport'],
      registers: [this.registry],
    }).set({ transport }, 1);
  }

  /** Sets the gauges that describe the bundles in memory and the items that have changed. */
  describeBundles({
    bundles,
    freshItems,
    itemTombstones,
    skippedItemChanges,
  }: BundlesSummary): void {
    this.#bundleInfo.reset();
    for (const { role, bundleId, encoderId } of bundles)
      this.#bundleInfo.set({ role, bundle_id: bundleId, encoder_id: encoderId }, 1);
    this.#freshItems.set(freshItems);
    this.#itemTombstones.set(itemTombstones);
    const { damaged, unusable } = skippedItemChanges;
    this.#skippedItemChanges.set({ reason: 'damaged' }, damaged);
    this.#skippedItemChanges.set({ reason: 'unusable' }, unusable);
  }

  /**
   * Adds a gauge of the limit of open requests.
   *
   * @param read - called at each scrape.
   */
  describeLimit(read: () => number): void {
    new Gauge({
      name: 'tandem_concurrency_limit_requests',
      help: 'Requests that may be open at once. The limit follows the measured latency.',
      registers: [this.registry],
      collect() {
        this.set(read());
      },
    });
  }

  /** @param route - a known path, or "other", so that clients cannot add label values. */
  observeRequest(route: string, status: number, seconds: number): void {
    this.#requests.series(route, String(status)).observe(seconds);
  }

  observeStage(stage: Stage, seconds: number): void {
    this.#stages[stage].observe(seconds);
  }
}
