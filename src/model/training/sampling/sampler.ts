// The sampler: which users, which positives and which states make up a training step; example-contexts.ts has contexts.
// A step is a pure function of (seed, step), so a resumed run draws what an uninterrupted one would have drawn.

import type { ScorePairs } from '../../../backend/fused.ts';
import type { Dataset } from '../../../data/dataset.ts';
import { ActionRows } from '../../../features/action-rows.ts';
import type { ContextFeatures } from '../../../features/context.ts';
import { HeadBatchBuilder, type HeadBatch } from '../../../features/head-batch.ts';
import { itemFrequencies, type ItemFrequencies } from '../../../features/item-frequency.ts';
import {
  HistoryBatchBuilder,
  stateAge,
  type EventColumns,
  type HistoryBatch,
} from '../../../features/sequence.ts';
import { Random } from '../../../random.ts';
import { ExampleContexts, type ExampleContext } from '../contexts/example-contexts.ts';
import type { LossExamples } from '../losses/examples.ts';
import type { TrainConfig } from '../../train-config.ts';
import { drawWeight, trainingUsers } from '../training-statistics.ts';

const DAY_SECONDS = 86_400;

/** What the examples' users had before the state, as pairs of example and item row, none twice. */
export interface ExampleFrequencies extends ScorePairs {
  /** How often, as item-frequency.ts counts. */
  readonly counts: Float32Array;
  /** [E] the same of the examples' positives; 0 for what they had not. */
  readonly ofPositives: Float32Array;
}

export interface TrainingStep extends LossExamples {
  readonly histories: HistoryBatch;
  /** [E] event of `histories` whose hidden state is the example's; -1 for a cold start. */
  readonly stateRows: Int32Array;
  /** [E] contexts without states: stateRows says where they are. */
  readonly contexts: HeadBatch;
  /** With itemFrequency alone. */
  readonly frequencies?: ExampleFrequencies;
}

/** What a step takes of a user: the events that are encoded, and positions of them with the positives of each. */
interface Draw {
  /** The encoder reads the last T events before it. */
  readonly encodedEnd: number;
  readonly examples: readonly Example[];
}

interface Example {
  /** The positive. */
  readonly event: number;
  /** The event whose hidden state is the example's; before the user's first event for a cold start. */
  readonly state: number;
  readonly context: ExampleContext;
}

export class TrainingSampler {
  readonly #dataset: Dataset;
  readonly #config: TrainConfig;
  readonly #contexts: ExampleContexts;
  readonly #columns: EventColumns;
  /** Users with at least one training event; what they and those before them weigh; where training events end. */
  readonly #users: Int32Array;
  readonly #weightUntil: Float64Array;
  readonly #ends: Int32Array;
  /** Time of the newest training event, whichever shard it is in. */
  readonly #untilSeconds: number;

  /**
   * @param dataset - or a shard of it, with at least one training event.
   * @param trainingEnds - [users]: only the events [userOffsets[u], trainingEnds[u]) of user u are seen.
   * @param untilSeconds - time of the newest training event, of all shards.
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

  sample(step: number): TrainingStep {
    const { usersPerStep, userWeighting, repeats, model } = this.#config;
    const random = new Random(this.#config.seed, 1, step);
    const histories = new HistoryBatchBuilder(model.maxHistory);
    const contexts = new HeadBatchBuilder(0, usersPerStep);
    const stateRows: number[] = [];
    const positives: number[] = [];
    const users: number[] = [];
    const weights: number[] = [];
    const leftOut = new LeftOut();
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
    const at = random.integer(this.#weightUntil.at(-1)!);
    return this.#users[firstAbove(this.#weightUntil, at)]!;
  }

  /** Whether the user had the event's item in [first, end). */
  #had(event: number, first: number, end: number): boolean {
    const { items } = this.#dataset.events;
    return items.subarray(first, end).includes(items[event]!);
  }

  /** What is bought changes with the seasons: 2^(-age / halfLife), the age counted from the newest training event. */
  #recencyWeight(event: number): number {
    const { halfLifeDays } = this.#config;
    if (halfLifeDays === 0 || !this.#dataset.hasTime) return 1;
    const days = (this.#untilSeconds - this.#columns.times[event]!) / DAY_SECONDS;
    return 2 ** (-days / halfLifeDays);
  }

  /**
   * Examples of a user. A position is the number of an event that the future begins with: `all` takes one, and events of its
   * future window; the others take several, and an event of the future window of each.
   */
  #draw(user: number, first: number, end: number, random: Random): Draw {
    const { objective, positivesPerUser, repeats, model } = this.#config;
    const wanted = positivesPerUser === 'all' ? Infinity : positivesPerUser;
    const examples: Example[] = [];
    // Long histories are seen through random windows, short ones whole; the last event of one is a positive only.
    const spare = Math.max(0, end - first - (model.maxHistory + 1));
    const encodedEnd =
      objective.kind === 'all'
        ? first + random.integer(end - first)
        : end - 1 - random.integer(spare + 1);
    const windowBegin = Math.max(first, encodedEnd - model.maxHistory);
    const add = (event: number, position: number): void => {
      const context = this.#contexts.draw(event, user, first, end, random);
      const state = this.#stateBefore(event, position, first, context.timeSeconds, random);
      // A state from before the window is not among the encoder's outputs.
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
    // Every user of a step has an example: the next event, as if the batch had just run.
    if (examples.length === 0) {
      const context = this.#contexts.draw(encodedEnd, user, first, end, random);
      examples.push({ event: encodedEnd, state: encodedEnd - 1, context });
    }
    return { encodedEnd, examples };
  }

  /** Where the future window of a position ends; at the position itself when nothing happened in it. */
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

  /** The last event before the position that a batch U(0, R) hours before the request had seen; first - 1 without one. */
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
    // Without a mask and a request the events before are known, also those of the same second.
    if (recencyMaskHours === 0 && requestSeconds === times[event]) return state;
    while (state >= first && times[state]! >= seen) state--;
    return state;
  }
}

/** Place of the first of ascending values that is above `value`, which the last one is. */
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

/** Items that are left out of the loss of an example, as pairs of both. */
class LeftOut {
  readonly #rows: number[] = [];
  readonly #columns: number[] = [];

  /** Examples come in order. An example's positive stays in, and so does what is no item (-1). */
  add(example: number, item: number, positive: number): void {
    if (item < 0 || item === positive) return;
    this.#rows.push(example);
    this.#columns.push(item);
  }

  pairs(): ScorePairs {
    return { rows: Int32Array.from(this.#rows), columns: Int32Array.from(this.#columns) };
  }
}

/** Frequencies of all examples of a step, one after the other. */
class FrequencyPairs {
  readonly #rows: number[] = [];
  readonly #columns: number[] = [];
  readonly #counts: number[] = [];
  readonly #ofPositives: number[] = [];

  /** Examples come in order. */
  add({ items, counts }: ItemFrequencies, positive: number): void {
    const example = this.#ofPositives.length;
    let ofPositive = 0;
    for (const [i, item] of items.entries()) {
      this.#rows.push(example);
      this.#columns.push(item);
      this.#counts.push(counts[i]!);
      if (item === positive) ofPositive = counts[i]!;
    }
    this.#ofPositives.push(ofPositive);
  }

  pairs(): ExampleFrequencies {
    return {
      rows: Int32Array.from(this.#rows),
      columns: Int32Array.from(this.#columns),
      counts: Float32Array.from(this.#counts),
      ofPositives: Float32Array.from(this.#ofPositives),
    };
  }
}

/** Marks an example as having a state; which one is in stateRows. */
const NO_VALUES = new Float32Array(0);

/** The integers [begin, end) in random order; costs what is taken of it. */
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

/** Events with actions as rows of the schema's action table. */
export function eventColumns(dataset: Dataset, features: ContextFeatures): EventColumns {
  return {
    items: dataset.events.items,
    actions: new ActionRows(features.schema).column(dataset.events),
    times: dataset.events.times,
  };
}
