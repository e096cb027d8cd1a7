// Counters and histograms for what happens several times per request. prom-client hashes the labels
// at every count, which takes microseconds. These classes find a series once, or by one string.
// prom-client's registry reads, formats and aggregates them as its own metrics.

import type { MetricValueWithName, Registry } from 'prom-client';

interface TallyOptions {
  readonly name: string;
  readonly help: string;
  readonly registry: Registry;
}

type Sample = MetricValueWithName<string>;

/** The interface of a metric that prom-client's registry calls. */
abstract class Tally {
  readonly name: string;
  readonly help: string;
  abstract readonly type: 'counter' | 'histogram';
  /** How values of several event loops are aggregated. */
  readonly aggregator = 'sum';

  constructor({ name, help, registry }: TallyOptions) {
    this.name = name;
    this.help = help;
    // The registry's type names prom-client's own classes. It uses name, get() and reset().
    registry.registerMetric(this as unknown as Parameters<Registry['registerMetric']>[0]);
  }

  get(): Promise<object> {
    const { name, help, type, aggregator } = this;
    return Promise.resolve({ name, help, type, aggregator, values: this.values() });
  }

  abstract reset(): void;

  protected abstract values(): Sample[];
}

/** A counter with one label. */
export class TallyCounter extends Tally {
  readonly type = 'counter';
  readonly #label: string;
  readonly #counts = new Map<string, number>();

  constructor(options: TallyOptions & { readonly label: string }) {
    super(options);
    this.#label = options.label;
  }

  inc(labelValue: string, by: number = 1): void {
    this.#counts.set(labelValue, (this.#counts.get(labelValue) ?? 0) + by);
  }

  reset(): void {
    this.#counts.clear();
  }

  protected values(): Sample[] {
    return Array.from(this.#counts, ([labelValue, value]) => ({
      labels: { [this.#label]: labelValue },
      value,
    }));
  }
}

export interface TallyHistogramOptions extends TallyOptions {
  /** Upper bounds, inclusive, ascending. */
  readonly buckets: readonly number[];
  readonly labelNames?: readonly string[];
}

/** A histogram. Callers keep a series, so that an observation needs no lookup. */
export class TallyHistogram extends Tally {
  readonly type = 'histogram';
  readonly #bounds: Float64Array;
  readonly #labelNames: readonly string[];
  readonly #series = new Map<string, HistogramSeries>();

  constructor(options: TallyHistogramOptions) {
    super(options);
    this.#bounds = Float64Array.from(options.buckets);
    this.#labelNames = options.labelNames ?? [];
  }

  /** Returns the series of these label values: the same object for the same values. */
  series(...labelValues: readonly string[]): HistogramSeries {
    const key = labelValues.join('\n');
    let found = this.#series.get(key);
    if (found === undefined) {
      const labels = Object.fromEntries(this.#labelNames.map((name, i) => [name, labelValues[i]!]));
      found = new HistogramSeries(labels, this.#bounds);
      this.#series.set(key, found);
    }
    return found;
  }

  reset(): void {
    for (const series of this.#series.values()) series.reset();
  }

  protected values(): Sample[] {
    return [...this.#series.values()].flatMap((series) => series.values(this.name));
  }
}

export class HistogramSeries {
  readonly #labels: Readonly<Record<string, string>>;
  readonly #bounds: Float64Array;
  /** Count of each bucket. The last bucket has no upper bound. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(labels: Readonly<Record<string, string>>, bounds: Float64Array) {
    this.#labels = labels;
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let bucket = 0;
    while (bucket < bounds.length && value > bounds[bucket]!) bucket++;
    this.#counts[bucket]!++;
    this.#sum += value;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#sum = 0;
  }

  values(name: string): Sample[] {
    const labels = this.#labels;
    let count = 0;
    const buckets = Array.from(this.#counts, (inBucket, bucket) => {
      count += inBucket;
      const le = this.#bounds[bucket] ?? '+Inf';
      return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: this.#sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
  }
}
