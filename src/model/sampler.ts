// The sampler: which users, which positives, which states and contexts make up a training step.
// A step is a pure function of (seed, step), so a resumed run draws what an uninterrupted one would have drawn.

import type { Dataset } from '../data/dataset.ts';
import { NO_SUBJECT, type ContextFeatures, type SubjectBag } from '../features/context.ts';
import { HeadBatchBuilder, type HeadBatch } from '../features/head-batch.ts';
import {
  newHistoryBatch,
  stateAge,
  writeHistory,
  type EventColumns,
  type HistoryBatch,
} from '../features/sequence.ts';
import { TandemError } from '../errors.ts';
import { Random } from '../random.ts';
import type { LossExamples } from './loss.ts';
import { PseudoContext } from './pseudo-context.ts';
import type { TrainConfig } from './train-config.ts';

/** Conversions on either side of a positive that are looked at for a neighbour. */
const NEIGHBOUR_REACH = 10;

export interface TrainingStep extends LossExamples {
  readonly histories: HistoryBatch;
  /** [E] row of the encoder's [B * T] output that is the example's state; 0 for a cold start (its hasState is 0). */
  readonly stateRows: Int32Array;
  /** [E] contexts; its `states` are not filled, stateRows says where they are. */
  readonly contexts: HeadBatch;
}

export class TrainingSampler {
  readonly #dataset: Dataset;
  readonly #config: TrainConfig;
  readonly #features: ContextFeatures;
  readonly #pseudoContext: PseudoContext;
  readonly #columns: EventColumns;
  /** Users with at least one training event, and where their training events end. */
  readonly #users: Int32Array;
  readonly #ends: Int32Array;
  /** Time of the newest training event. */
  readonly #untilSeconds: number;

  /**
   * @param untilSeconds - only events before it are seen.
   * @throws TandemError ERR_DATASET_INVALID when no event is left to train on.
   */
  constructor(
    dataset: Dataset,
    features: ContextFeatures,
    config: TrainConfig,
    trainingEnds: Int32Array,
  ) {
    this.#dataset = dataset;
    this.#config = config;
    this.#features = features;
    this.#pseudoContext = new PseudoContext(features, dataset.items);
    this.#columns = eventColumns(dataset, features);
    this.#ends = trainingEnds;
    const users: number[] = [];
    for (let user = 0; user < dataset.users.count; user++)
      if (trainingEnds[user]! > dataset.events.userOffsets[user]!) users.push(user);
    if (users.length === 0)
      throw new TandemError(
        'ERR_DATASET_INVALID',
        `Expected users with events before the training cut in dataset "${dataset.name}", found none of ${dataset.users.count}. Choose a later cut or import more events.`,
      );
    this.#users = Int32Array.from(users);
    this.#untilSeconds = users.reduce(
      (latest, user) => Math.max(latest, this.#columns.times[trainingEnds[user]! - 1]!),
      -Infinity,
    );
  }

  get userCount(): number {
    return this.#users.length;
  }

  /** Training events of each item, for the negatives' proposal. [N] */
  itemCounts(): Float64Array {
    const counts = new Float64Array(this.#dataset.items.count);
    for (const user of this.#users)
      for (let i = this.#dataset.events.userOffsets[user]!; i < this.#ends[user]!; i++)
        counts[this.#dataset.events.items[i]!]!++;
    return counts;
  }

  sample(step: number): TrainingStep {
    const { usersPerStep, positivesPerUser, model } = this.#config;
    const random = new Random(this.#config.seed, 1, step);
    const histories = newHistoryBatch(usersPerStep, model.maxHistory);
    const contexts = new HeadBatchBuilder(model.embeddingWidth, usersPerStep * positivesPerUser);
    const stateRows: number[] = [];
    const positives: number[] = [];
    const users: number[] = [];
    const weights: number[] = [];
    for (let row = 0; row < usersPerStep; row++) {
      const user = this.#users[random.integer(this.#users.length)]!;
      const first = this.#dataset.events.userOffsets[user]!;
      const end = this.#windowEnd(first, this.#ends[user]!, random);
      // The last event of the window is a positive only, so the encoder reads the T before it.
      writeHistory(histories, row, this.#columns, first, end - 1);
      const windowBegin = Math.max(first, end - 1 - model.maxHistory);
      const chosen = this.#choosePositives(first, windowBegin, end, random);
      for (const { event, state } of chosen) {
        const cold = state < first;
        stateRows.push(cold ? 0 : (row + 1) * model.maxHistory - (end - 1 - state));
        contexts.add(
          cold ? undefined : EMPTY_STATE,
          cold ? 0 : stateAge(this.#columns.times[state]!, this.#columns.times[event]!),
          this.#subject(event, first, this.#ends[user]!, random),
          this.#demographics(user, random),
        );
        positives.push(this.#columns.items[event]!);
        users.push(row);
        weights.push(this.#recencyWeight(event) / chosen.length);
      }
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return {
      histories,
      stateRows: Int32Array.from(stateRows),
      contexts: contexts.batch(),
      positives: Int32Array.from(positives),
      users: Int32Array.from(users),
      weights: Float32Array.from(weights, (weight) => weight / total),
    };
  }

  /** What is bought changes with the seasons: 2^(-age / halfLife), the age counted from the newest training event. */
  #recencyWeight(event: number): number {
    const { halfLifeDays } = this.#config;
    if (halfLifeDays === 0 || !this.#dataset.hasTime) return 1;
    const days = (this.#untilSeconds - this.#columns.times[event]!) / 86_400;
    return 2 ** (-days / halfLifeDays);
  }

  /** Long histories are seen through random windows, short ones whole. */
  #windowEnd(first: number, end: number, random: Random): number {
    const spare = end - first - (this.#config.model.maxHistory + 1);
    return spare <= 0 ? end : end - random.integer(spare + 1);
  }

  /** Up to positivesPerUser events of the window, each with the event whose hidden state its request would have seen. */
  #choosePositives(
    first: number,
    windowBegin: number,
    end: number,
    random: Random,
  ): { event: number; state: number }[] {
    const events = Array.from({ length: end - windowBegin }, (_, i) => windowBegin + i);
    const chosen: { event: number; state: number }[] = [];
    for (const event of random.shuffle(events)) {
      const state = this.#stateBefore(event, first, random);
      // A state from before the window is not among the encoder's outputs.
      if (state >= first && state < windowBegin) continue;
      chosen.push({ event, state });
      if (chosen.length === this.#config.positivesPerUser) break;
    }
    if (chosen.length === 0) chosen.push({ event: end - 1, state: Math.max(end - 2, first - 1) });
    return chosen;
  }

  /** The last event that a batch U(0, R) hours before `event` has seen; first - 1 when there is none. */
  #stateBefore(event: number, first: number, random: Random): number {
    if (!this.#dataset.hasTime || this.#config.recencyMaskHours === 0) return event - 1;
    const { times } = this.#columns;
    const seen = times[event]! - random.uniform() * this.#config.recencyMaskHours * 3600;
    let state = event - 1;
    while (state >= first && times[state]! >= seen) state--;
    return state;
  }

  #subject(event: number, first: number, end: number, random: Random): SubjectBag {
    const { subjectDropout, neighbourShare, queryShare } = this.#config;
    if (random.uniform() < subjectDropout) return NO_SUBJECT;
    const source =
      random.uniform() < neighbourShare ? this.#neighbour(event, first, end, random) : event;
    const slot = this.#columns.items[source]!;
    return random.uniform() < queryShare
      ? this.#pseudoContext.query(slot, random)
      : this.#pseudoContext.categories(slot, random);
  }

  /** Another conversion of the user close in time, on another item; the event itself when there is none. */
  #neighbour(event: number, first: number, end: number, random: Random): number {
    const { times, items } = this.#columns;
    const near: number[] = [];
    const from = Math.max(first, event - NEIGHBOUR_REACH);
    const to = Math.min(end, event + NEIGHBOUR_REACH + 1);
    for (let other = from; other < to; other++)
      if (
        items[other] !== items[event] &&
        Math.abs(times[other]! - times[event]!) <= this.#config.neighbourSeconds
      )
        near.push(other);
    return near.length === 0 ? event : near[random.integer(near.length)]!;
  }

  #demographics(user: number, random: Random): [number, number, number] {
    if (random.uniform() < this.#config.demographicDropout) return [0, 0, 0];
    const { ages, countries, genders } = this.#dataset.users;
    return this.#features.demographicRows({
      age: ages[user]!,
      country: countries[user]!,
      gender: genders[user]!,
    });
  }
}

/** Marks an example as having a state; which one is in stateRows. */
const EMPTY_STATE = new Float32Array(0);

/** Events with actions as rows of the schema's action table. */
export function eventColumns(dataset: Dataset, features: ContextFeatures): EventColumns {
  const rows = dataset.events.actionNames.map((name) => features.schema.actions.indexOf(name) + 1);
  return {
    items: dataset.events.items,
    actions: dataset.events.actions.map((action) => rows[action]!),
    times: dataset.events.times,
  };
}
