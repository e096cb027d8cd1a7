// Draws training steps from shards. It holds the shard of the current step, and reads the next
// shard in the background.

import { setImmediate } from 'node:timers/promises';
import type { Dataset } from '../../../data/dataset.ts';
import { ALL_TIME } from '../../../data/read-requests.ts';
import type { DatasetShards } from '../../../data/shards.ts';
import type { ContextFeatures } from '../../../features/context.ts';
import { TrainingSampler, type TrainingStep } from './sampler.ts';
import { shardVisits, type ShardVisit } from './shard-schedule.ts';
import type { TrainConfig } from '../../train-config.ts';
import type { TrainingEnds, TrainingStatistics } from '../training-statistics.ts';

/** A shard that is being read. */
interface Reading {
  readonly visit: ShardVisit;
  readonly dataset: Promise<Dataset>;
  done: boolean;
}

/** Draws training steps from all shards, in the order of shard-schedule.ts. */
export class ShardSampler {
  readonly #shards: DatasetShards;
  readonly #trainingEnds: TrainingEnds;
  readonly #features: ContextFeatures;
  readonly #config: TrainConfig;
  readonly #untilSeconds: number;
  readonly #visits: readonly ShardVisit[];
  #current: { readonly visit: ShardVisit; readonly sampler: TrainingSampler } | undefined;
  #next: Reading | undefined;

  constructor(
    shards: DatasetShards,
    trainingEnds: TrainingEnds,
    features: ContextFeatures,
    config: TrainConfig,
    statistics: TrainingStatistics,
  ) {
    this.#shards = shards;
    this.#trainingEnds = trainingEnds;
    this.#features = features;
    this.#config = config;
    this.#untilSeconds = statistics.untilSeconds;
    this.#visits = shardVisits(statistics, config);
  }

  /**
   * Draws a step; the result does not depend on earlier draws. At most two shards are in memory.
   *
   * @throws TandemError when reading the shard fails.
   */
  async sample(step: number): Promise<TrainingStep> {
    const index = this.#visits.findIndex(({ endStep }) => step < endStep);
    const visit = this.#visits[index]!;
    if (this.#current?.visit !== visit) {
      this.#current = undefined;
      const reading = this.#next?.visit === visit ? this.#next : this.#read(visit);
      this.#next = undefined;
      this.#current = { visit, sampler: this.#samplerOf(await reading.dataset) };
      const after = this.#visits[index + 1];
      if (after !== undefined) this.#next = this.#read(after);
    }
    // A step blocks this thread. Giving way to the event loop lets the background read continue.
    if (this.#next?.done === false) await setImmediate();
    return this.#current.sampler.sample(step);
  }

  /** Waits until the background read has ended. */
  async close(): Promise<void> {
    await this.#next?.dataset.catch(() => undefined);
  }

  #read(visit: ShardVisit): Reading {
    const logged = this.#config.loggedShare > 0;
    const dataset = this.#shards.read(visit.shard, logged ? ALL_TIME : undefined);
    const reading: Reading = { visit, dataset, done: false };
    // A failed read is reported by the step that needs the shard.
    void dataset
      .catch(() => undefined)
      .finally(() => {
        reading.done = true;
      });
    return reading;
  }

  #samplerOf(dataset: Dataset): TrainingSampler {
    const ends = this.#trainingEnds(dataset);
    return new TrainingSampler(dataset, this.#features, this.#config, ends, this.#untilSeconds);
  }
}
