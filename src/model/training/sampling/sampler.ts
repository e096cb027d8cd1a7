// The sampler draws the users, positives and states of a training step. example-contexts.ts draws
// the contexts. A step is a pure function of (seed, step), so a resumed run draws the same steps as
// an uninterrupted one.

import type { Dataset } from '../../../data/dataset.ts';
import { ActionRows } from '../../../features/action-rows.ts';
import type { ContextFeatures } from '../../../features/context.ts';
import { HeadBatchBuilder, type HeadBatch } from '../../../features/head-batch.ts';
import { itemFrequencies } from '../../../features/item-frequency.ts';
import {
  HistoryBatchBuilder,
  stateAge,
  type EventColumns,
  type HistoryBatch,
} from '../../../features/sequence.ts';
import { Random } from '../../../random.ts';
import { DAY_SECONDS } from '../../../time.ts';
import { ExampleContexts, type ExampleContext } from '../contexts/example-contexts.ts';
import type { LossExamples } from '../losses/examples.ts';
import type { TrainConfig } from '../../train-config.ts';
import { FrequencyPairs, LeftOutPairs, type ExampleFrequencies } from './example-pairs.ts';
import { drawWeight, trainingUsers } from '../training-statistics.ts';

/** What one step trains on: the histories of its users, and E examples. */
export interface TrainingStep extends LossExamples {
  readonly histories: HistoryBatch;
  /**
   * [E] for each example, the event in `histories` whose hidden state is the example's state; -1
   * for a cold start.
   */
  readonly stateRows: Int32Array;
  /** The contexts of the E examples. They hold no states; stateRows locates the states. */
  readonly contexts: HeadBatch;
  /** Item frequencies of the examples; only with itemFrequency. */
  readonly frequencies?: ExampleFrequencies;
}

/** What a step draws of one user: the events to encode, and the examples. */
interface Draw {
  /** The encoder reads the last maxHistory events before this one. */
  readonly encodedEnd: number;
  readonly examples: readonly Example[];
}

interface Example {
  /** Index of the positive in the event table. */
  readonly event: number;
  /**
   * Index in the event table of the event whose hidden state is the example's state; smaller than
   * the index of the user's first event for a cold start.
   */
  readonly state: number;
  readonly context: ExampleContext;
}

/** Draws training steps from a dataset or from one shard of it. */
export class TrainingSampler {
  readonly #dataset: Dataset;
  readonly #config: TrainConfig;
  readonly #contexts: ExampleContexts;
  readonly #columns: EventColumns;
  /** Users with at least one training event. */
  readonly #users: Int32Array;
  /** Cumulative draw weights, in the order of #users. */
  readonly #weightUntil: Float64Array;
  /** [users] where the training events of each user end. */
  readonly #ends: Int32Array;
  /** Time of the newest training event of all shards. */
  readonly #untilSeconds: number;

  /**
   * @param dataset - the dataset or one shard of it, with at least one training event.
   * @param trainingEnds - [users]: the sampler reads only the events [userOffsets[u],
   *   trainingEnds[u]) of user u.
   * @param untilSeconds - time of the newest training event of all shards.
   */
  constructor(
    dataset: Dataset,
    features: ContextFeatures,
    config: TrainConfig,
    trainingEnds: Int32Array,
    untilSeconds: number,
  ) {
    this.#dataset = dataset;
    this.#config = config;
    this.#contexts = new ExampleContexts(dataset, features, config, trainingEnds);
    this.#columns = eventColumns(dataset, features);
    this.#ends = trainingEnds;
    this.#users = trainingUsers(dataset, trainingEnds);
    let weight = 0;
    this.#weightUntil = Float64Array.from(this.#users, (user) => {
      const events = trainingEnds[user]! - dataset.events.userOffsets[user]!;
      return (weight += drawWeight(events, config));
    });
    this.#untilSeconds = untilSeconds;
  }

  /**
   * Draws a step.
   *
   * @param step - counts from 1.
   */
  sample(step: number): TrainingStep {
    const { usersPerStep, userWeighting, repeats, model } = this.#config;
    const random = new Random(this.#config.seed, 1, step);
    const histories = new HistoryBatchBuilder(model.maxHistory);
    const contexts = new HeadBatchBuilder(0, usersPerStep);
    const stateRows: number[] = [];
    const positives: number[] = [];
    const users: number[] = [];
    const weights: number[] = [];
    const leftOut = new LeftOutPairs();
    const frequencies = new FrequencyPairs();
    for (let row = 0; row < usersPerStep; row++) {
      const user = this.#drawUser(random);
      const first = this.#dataset.events.userOffsets[user]!;
      const { encodedEnd, examples } = this.#draw(user, first, this.#ends[user]!, random);
      histories.add(this.#columns, first, encodedEnd);
      const sharing = userWeighting === 'example' ? 1 : examples.length;
      for (const { event, state, context } of examples) {
        const cold = state < first;
        stateRows.push(cold ? -1 : histories.eventCount - (encodedEnd - state));
        contexts.add(
          cold ? undefined : NO_VALUES,
          cold ? 0 : stateAge(this.#columns.times[state]!, context.timeSeconds),
          context.subject,
          context.demographics,
          context.subjectItem,
        );
        const positive = this.#columns.items[event]!;
        if (!repeats) {
          const example = positives.length;
          for (let i = first; i <= state; i++)
            leftOut.add(example, this.#columns.items[i]!, positive);
          leftOut.add(example, context.subjectItem, positive);
        }
        if (model.itemFrequency) {
          const { maxHistory } = model;
          frequencies.add(itemFrequencies(this.#columns, first, state + 1, maxHistory), positive);
        }
        positives.push(positive);
        users.push(row);
        weights.push(this.#recencyWeight(event) / sharing);
      }
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return {
      histories: histories.batch(),
      stateRows: Int32Array.from(stateRows),
      contexts: contexts.batch(),
      positives: Int32Array.from(positives),
      users: Int32Array.from(users),
      weights: Float32Array.from(weights, (weight) => weight / total),
      ...(!repeats && { leftOut: leftOut.pairs() }),
      ...(model.itemFrequency && { frequencies: frequencies.pairs() }),
    };
  }

  #drawUser(random: Random): number {
    const target = random.integer(this.#weightUntil.at(-1)!);
    return this.#users[firstAbove(this.#weightUntil, target)]!;
  }

  /** Whether the item of `event` also occurs in the events [first, end) of the same user. */
  #had(event: number, first: number, end: number): boolean {
    const { items } = this.#dataset.events;
    return items.subarray(first, end).includes(items[event]!);
  }

  /**
   * The weight of a positive by its age: 2^(-age / halfLife). Older positives weigh less because
   * the demand of users changes with the seasons. The age counts from the newest training event.
   */
  #recencyWeight(event: number): number {
    const { halfLifeDays } = this.#config;
    if (halfLifeDays === 0 || !this.#dataset.hasTime) return 1;
    const days = (this.#untilSeconds - this.#columns.times[event]!) / DAY_SECONDS;
    return 2 ** (-days / halfLifeDays);
  }

  /**
   * Draws the examples of a user. A position is the index of the event at which the future begins.
   * Objective `all` takes one position, and several events of its future window. The other
   * objectives take several positions, and one event of the future window of each.
   */
  #draw(user: number, first: number, end: number, random: Random): Draw {
    const { objective, positivesPerUser, repeats, model } = this.#config;
    const wanted = positivesPerUser === 'all' ? Infinity : positivesPerUser;
    const examples: Example[] = [];
    // Of a long history, a step encodes a random window; a short history is encoded as a whole. The
    // last training event is only a positive: no example has it in its state.
    const spare = Math.max(0, end - first - (model.maxHistory + 1));
    const encodedEnd =
      objective.kind === 'all'
        ? first + random.integer(end - first)
        : end - 1 - random.integer(spare + 1);
    const windowBegin = Math.max(first, encodedEnd - model.maxHistory);
    const add = (event: number, position: number): void => {
      const context = this.#contexts.draw(event, user, first, end, random);
      const state = this.#stateBefore(event, position, first, context.timeSeconds, random);
      // The encoder gives no states for events before the window.
      if (state >= first && state < windowBegin) return;
      if (repeats || !this.#had(event, first, state + 1)) examples.push({ event, state, context });
    };
    if (objective.kind === 'all')
      for (const event of shuffled(encodedEnd, this.#windowEnd(encodedEnd, first, end), random)) {
        add(event, encodedEnd);
        if (examples.length === wanted) break;
      }
    else
      for (const position of shuffled(windowBegin, encodedEnd + 1, random)) {
        const window = this.#windowEnd(position, first, end) - position;
        if (window > 0) add(position + random.integer(window), position);
        if (examples.length === wanted) break;
      }
    // Every user of a step has at least one example. Without another one, it is the event after the
    // encoded events, with the state that a batch just before it would give.
    if (examples.length === 0) {
      const context = this.#contexts.draw(encodedEnd, user, first, end, random);
      examples.push({ event: encodedEnd, state: encodedEnd - 1, context });
    }
    return { encodedEnd, examples };
  }

  /** The end of the future window of a position; the position itself when the window is empty. */
  #windowEnd(position: number, first: number, end: number): number {
    const { objective } = this.#config;
    if (objective.kind === 'next') return position + 1;
    const { windowEvents = Infinity, windowDays = Infinity } = objective;
    const { times } = this.#columns;
    const until = times[Math.max(first, position - 1)]! + windowDays * DAY_SECONDS;
    const last = Math.min(end, position + windowEvents);
    let low = position;
    let high = last;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle]! <= until) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * The event whose hidden state is the example's state: the last event before the position that a
   * batch knew U(0, R) hours before the request. R is recencyMaskHours.
   *
   * @returns index in the event table; first - 1 when the batch knew no event.
   */
  #stateBefore(
    event: number,
    position: number,
    first: number,
    requestSeconds: number,
    random: Random,
  ): number {
    const { recencyMaskHours } = this.#config;
    const { times } = this.#columns;
    let state = position - 1;
    if (!this.#dataset.hasTime) return state;
    const seen = requestSeconds - random.uniform() * recencyMaskHours * 3600;
    // Without a mask and without a logged request, all earlier events are known, also events in the
    // same second as the positive.
    if (recencyMaskHours === 0 && requestSeconds === times[event]) return state;
    while (state >= first && times[state]! >= seen) state--;
    return state;
  }
}

/**
 * Index of the first value above `value`, by binary search.
 *
 * @param values - ascending; the last one is above `value`.
 */
function firstAbove(values: Float64Array, value: number): number {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Marks an example as having a state; TrainingStep.stateRows locates the state. */
const NO_VALUES = new Float32Array(0);

/** The integers [begin, end) in random order. It shuffles only as far as the caller reads. */
function* shuffled(begin: number, end: number, random: Random): Generator<number> {
  const order = new Int32Array(end - begin);
  for (let i = 0; i < order.length; i++) order[i] = begin + i;
  for (let i = 0; i < order.length; i++) {
    const j = i + random.integer(order.length - i);
    const chosen = order[j]!;
    order[j] = order[i]!;
    order[i] = chosen;
    yield chosen;
  }
}

/** The columns of the event table, with actions as rows of the schema's action table. */
export function eventColumns(dataset: Dataset, features: ContextFeatures): EventColumns {
  return {
    items: dataset.events.items,
    actions: new ActionRows(features.schema).column(dataset.events),
    times: dataset.events.times,
  };
}
