// What the server counts and times, in base units, under the prefix tandem_. One registry per server.

import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import { TallyCounter, TallyHistogram, type HistogramSeries } from './tallies.ts';

export const STAGES = ['parse', 'queue', 'state', 'head', 'retrieve', 'encode'] as const;
export type Stage = (typeof STAGES)[number];

/** From 50 microseconds, where a single cached request is, to the seconds of a server in trouble. */
const DURATION_BUCKETS = [
  5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 1, 2.5,
];
const STAGE_BUCKETS = [1e-6, 5e-6, 1e-5, 2.5e-5, ...DURATION_BUCKETS];
const HOUR = 3600;

/** The bundles in memory, and how many items changed after the active one was published. */
export interface BundlesSummary {
  readonly bundles: readonly {
    readonly role: 'active' | 'previous';
    readonly bundleId: string;
    readonly encoderId: string;
  }[];
  readonly freshItems: number;
  readonly itemTombstones: number;
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
  readonly itemChanges: Counter;
  readonly #freshItems: Gauge;
  readonly #itemTombstones: Gauge;
  readonly #bundleInfo: Gauge<'role' | 'bundle_id' | 'encoder_id'>;
  readonly #requests: TallyHistogram;
  readonly #stages: Readonly<Record<Stage, HistogramSeries>>;

  constructor() {
    const { registry } = this;
    const registers = [registry];
    this.#requests = new TallyHistogram({
      name: 'tandem_http_request_duration_seconds',
      help: 'From the last byte of a request to its answer.',
      labelNames: ['route', 'status'],
      buckets: DURATION_BUCKETS,
      registry,
    });
    const stage = new TallyHistogram({
      name: 'tandem_stage_duration_seconds',
      help: 'Time in one stage: parse per request, the others per micro-batch.',
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
      help: 'Requests that were answered together.',
      buckets: [1, 2, 4, 8, 16, 32, 64],
      registry,
    }).series();
    this.stateAge = new TallyHistogram({
      name: 'tandem_state_age_seconds',
      help: 'Age of the user states that answers were computed from.',
      buckets: [HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 48 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR],
      registry,
    }).series();
    this.storeRequests = new TallyCounter({
      name: 'tandem_store_requests_total',
      help: 'State look-ups by outcome: found, previous, missing, version_mismatch, store_unavailable, store_corrupt.',
      label: 'outcome',
      registry,
    });
    this.degraded = new TallyCounter({
      name: 'tandem_degraded_responses_total',
      help: 'Answers computed with less than the request allowed.',
      label: 'mode',
      registry,
    });
    this.shed = new TallyCounter({
      name: 'tandem_shed_requests_total',
      help: 'Requests refused before any work: overload, queue_full, rate_limited, draining or deadline.',
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
      help: 'Events that came in over HTTP: accepted, or duplicate of one that was there.',
      labelNames: ['outcome'],
      registers,
    });
    this.itemChanges = new Counter({
      name: 'tandem_item_changes_total',
      help: 'Items that were put or deleted over HTTP.',
      registers,
    });
    this.#freshItems = new Gauge({
      name: 'tandem_fresh_items',
      help: 'Items that answers may have beside those of the active bundle.',
      registers,
    });
    this.#itemTombstones = new Gauge({
      name: 'tandem_item_tombstones',
      help: 'Items of the active bundle that were deleted or replaced since.',
      registers,
    });
    this.annRecall = new TallyHistogram({
      name: 'tandem_ann_recall_ratio',
      help: 'Share of the true best that answers of the approximate index had, of those that were searched again.',
      buckets: [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1],
      registry,
    }).series();
    this.bundleSwaps = new Counter({
      name: 'tandem_bundle_swaps_total',
      help: 'Bundles that were to replace the one being served: activated, refused.',
      labelNames: ['outcome'],
      registers,
    });
    this.#bundleInfo = new Gauge({
      name: 'tandem_bundle_info',
      help: 'The bundles in memory: the active one, and the previous one for users whose state is of its encoder.',
      labelNames: ['role', 'bundle_id', 'encoder_id'],
      registers,
    });
    this.filterSelectivity = new TallyHistogram({
      name: 'tandem_filter_selectivity_ratio',
      help: 'Share of the catalogue that a request filter lets through.',
      buckets: [0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1],
      registry,
    }).series();
  }

  /** Counts what there is once in a process: its CPU time, memory and garbage collections; and the lag of this event loop. */
  describeProcess(): void {
    collectDefaultMetrics({ register: this.registry });
    // Gauges that are named as counters are, which promtool refuses.
    for (const what of ['handles', 'requests', 'resources'])
      this.registry.removeSingleMetric(`nodejs_active_${what}_total`);
  }

  /** Sets the gauges that describe the bundles in memory and the changes of items. */
  describeBundles({ bundles, freshItems, itemTombstones }: BundlesSummary): void {
    this.#bundleInfo.reset();
    for (const { role, bundleId, encoderId } of bundles)
      this.#bundleInfo.set({ role, bundle_id: bundleId, encoder_id: encoderId }, 1);
    this.#freshItems.set(freshItems);
    this.#itemTombstones.set(itemTombstones);
  }

  /** States how many requests may be open at once, read when somebody asks. */
  describeLimit(read: () => number): void {
    new Gauge({
      name: 'tandem_concurrency_limit_requests',
      help: 'Requests that may be open at once; follows the measured latency.',
      registers: [this.registry],
      collect() {
        this.set(read());
      },
    });
  }

  /** @param route - one of the known paths, or "other", so that clients cannot add label values. */
  observeRequest(route: string, status: number, seconds: number): void {
    this.#requests.series(route, String(status)).observe(seconds);
  }

  observeStage(stage: Stage, seconds: number): void {
    this.#stages[stage].observe(seconds);
  }
}
