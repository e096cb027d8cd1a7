// Every event has its own item, and every item its own category, so the arrays of a step tell what
// was drawn.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SHOP_TRAINING } from '../../../../test/support/shop.ts';
import type { Dataset } from '../../../data/dataset.ts';
import { oneShard } from '../../../data/shards.ts';
import { microDataset } from '../../../../test/support/micro-dataset.ts';
import { buildSchema } from '../../../features/build-schema.ts';
import { ContextFeatures } from '../../../features/context.ts';
import { itemFrequencies } from '../../../features/item-frequency.ts';
import { stateAge } from '../../../features/sequence.ts';
import { TrainingSampler, type TrainingStep } from './sampler.ts';
import type { FutureWindow, Objective, TrainConfig } from '../../train-config.ts';
import { trainingStatistics } from '../training-statistics.ts';

const HOUR = 3600;
const MAX_HISTORY = 6;
const POSITIVES = 3;
const BASE: TrainConfig = {
  ...SHOP_TRAINING,
  model: { ...SHOP_TRAINING.model, maxHistory: MAX_HISTORY },
  usersPerStep: 5,
  positivesPerUser: POSITIVES,
  queryShare: 0,
};

function datasetOf(histories: readonly (readonly number[])[]): Dataset {
  const sorted = histories.map((times) => [...times].sort((a, b) => a - b));
  const events = sorted.flatMap((times, user) => times.map((time) => ({ user, time })));
  return microDataset(
    events.length,
    events.map((event, item) => ({ ...event, item })),
    [],
    Number.NaN,
    events.map((_, item) => [`c${String(item).padStart(4, '0')}`]),
  );
}

function samplerOf(dataset: Dataset, config: TrainConfig, ends: Int32Array): TrainingSampler {
  const schema = buildSchema({
    maxHistory: config.model.maxHistory,
    actionNames: dataset.events.actionNames,
    itemIds: dataset.items.ids,
    titles: dataset.items.titles,
    categoryNames: dataset.items.categoryNames,
    advertisers: [],
    prices: new Float64Array(0),
    genders: [],
    countries: [],
  });
  const until = Math.max(...dataset.events.times);
  return new TrainingSampler(dataset, new ContextFeatures(schema), config, ends, until);
}

/** Hours over two weeks, so that days without and hours with several events both occur. */
const history = fc.array(
  fc.integer({ min: 0, max: 336 }).map((hour) => hour * HOUR),
  {
    minLength: 1,
    maxLength: 24,
  },
);
const cases = fc.record({
  histories: fc.array(history, { minLength: 1, maxLength: 5 }),
  shares: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 5, maxLength: 5 }),
  recencyMaskHours: fc.constantFrom(0, 6, 24),
  neighbourShare: fc.constantFrom(0, 0.5, 1),
  objective: fc.constantFrom<Objective[]>(
    { kind: 'next' },
    { kind: 'all' },
    { kind: 'all', windowEvents: 3 },
    { kind: 'denseAll', windowDays: 2 },
    { kind: 'denseAll', windowEvents: 2, windowDays: 4 },
  ),
  positivesPerUser: fc.constantFrom<(number | 'all')[]>(POSITIVES, 'all'),
  seed: fc.nat(1000),
  step: fc.integer({ min: 1, max: 1000 }),
});

/** Where training ends for each user: a share of their events, at least one of somebody. */
function endsOf(dataset: Dataset, shares: readonly number[]): Int32Array {
  const { userOffsets } = dataset.events;
  return Int32Array.from({ length: dataset.users.count }, (_, user) => {
    const begin = userOffsets[user]!;
    const count = userOffsets[user + 1]! - begin;
    return begin + Math.max(user === 0 ? 1 : 0, Math.round(shares[user]! * count));
  });
}

interface Example {
  readonly event: number;
  /** Event behind the state; -1 for a cold start. */
  readonly state: number;
  readonly row: number;
  readonly age: number;
  /** Event that the subject was taken from; -1 without one. */
  readonly source: number;
}

function examplesOf(step: TrainingStep): Example[] {
  const { contexts, stateRows, histories, positives, users } = step;
  return Array.from(positives, (event, e) => ({
    event,
    state: contexts.hasState[e] === 1 ? histories.items[stateRows[e]!]! : -1,
    row: users[e]!,
    age: contexts.stateAge[e]!,
    source:
      contexts.subjectOffsets[e] === contexts.subjectOffsets[e + 1]
        ? -1
        : contexts.subjectRows[contexts.subjectOffsets[e]!]!,
  }));
}

/** The newest event of a history of the step; -1 when it is empty. */
function lastEvent({ histories: { offsets, items } }: TrainingStep, row: number): number {
  return offsets[row + 1]! > offsets[row]! ? items[offsets[row + 1]! - 1]! : -1;
}

describe('TrainingSampler', () => {
  it('never shows the model its future: nothing in a step is after the training cut', () => {
    fc.assert(
      fc.property(cases, ({ histories, shares, seed, step, ...settings }) => {
        const dataset = datasetOf(histories);
        const ends = endsOf(dataset, shares);
        const drawn = samplerOf(dataset, { ...BASE, ...settings, seed }, ends).sample(step);
        const { users, userOffsets, times } = dataset.events;
        const allowed = (event: number): boolean => event < ends[users[event]!]!;
        for (const item of drawn.histories.items)
          assert.ok(allowed(item), `history with event ${item}`);
        for (const { event, source, state } of examplesOf(drawn)) {
          const user = users[event]!;
          assert.ok(allowed(event) && event >= userOffsets[user]!, `positive ${event}`);
          if (source >= 0) {
            assert.ok(allowed(source), `subject of ${source}`);
            assert.equal(users[source], user);
            if (source !== event)
              assert.ok(
                Math.abs(times[source]! - times[event]!) <= BASE.neighbourSeconds,
                `${source}`,
              );
          }
          if (state >= 0) assert.equal(users[state], user);
        }
      }),
    );
  });

  it('gives each positive the state that a batch up to R hours before had, never its own', () => {
    fc.assert(
      fc.property(cases, ({ histories, shares, seed, step, recencyMaskHours }) => {
        const dataset = datasetOf(histories);
        const ends = endsOf(dataset, shares);
        const config = { ...BASE, recencyMaskHours, seed };
        const drawn = samplerOf(dataset, config, ends).sample(step);
        const { users, userOffsets, times } = dataset.events;
        const examples = examplesOf(drawn);
        for (const { event, state, row, age } of examples) {
          const first = userOffsets[users[event]!]!;
          assert.ok(state < event, `state ${state} of event ${event}`);
          assert.equal(age, state < 0 ? 0 : Math.fround(stateAge(times[state]!, times[event]!)));
          // If every state lies before the window, there is one example: the last event, with the
          // state of the event before it.
          const alone = examples.filter((other) => other.row === row).length === 1;
          const last = lastEvent(drawn, row);
          if (alone && state === last) continue;
          const after = state < 0 ? first : state + 1;
          if (recencyMaskHours === 0) assert.equal(after, event);
          else {
            if (state >= 0) assert.ok(times[state]! < times[event]!, `state ${state} of ${event}`);
            // The events that the state lacks happened within R hours before the positive.
            assert.ok(times[after]! >= times[event]! - recencyMaskHours * HOUR, `missed ${after}`);
          }
        }
      }),
    );
  });

  it('takes positives from the future window of a position, `all` from one position alone', () => {
    fc.assert(
      fc.property(cases, ({ histories, shares, seed, step, objective, positivesPerUser }) => {
        const dataset = datasetOf(histories);
        const config = { ...BASE, recencyMaskHours: 0, objective, positivesPerUser, seed };
        const drawn = samplerOf(dataset, config, endsOf(dataset, shares)).sample(step);
        const { users, userOffsets, times } = dataset.events;
        const {
          windowEvents = objective.kind === 'next' ? 1 : Infinity,
          windowDays = Infinity,
        }: FutureWindow = objective.kind === 'next' ? {} : objective;
        const examples = examplesOf(drawn);
        for (const { event, state, row } of examples) {
          const first = userOffsets[users[event]!]!;
          const before = state < 0 ? first - 1 : state;
          const ofUser = examples.filter((other) => other.row === row);
          if (objective.kind === 'all') assert.equal(state, lastEvent(drawn, row));
          // If a window is empty, the example is the event after the last position.
          if (ofUser.length === 1 && event === before + 1) continue;
          assert.ok(event > before && event <= before + windowEvents, `${event} after ${before}`);
          const elapsed = times[event]! - times[Math.max(first, before)]!;
          assert.ok(elapsed <= windowDays * 24 * HOUR, `${event}: ${elapsed} s after ${before}`);
        }
      }),
    );
  });

  it('takes every position of a history that fits, once, when it is asked for all', () => {
    const dataset = datasetOf([Array.from({ length: MAX_HISTORY + 1 }, (_, i) => i * HOUR)]);
    const config: TrainConfig = {
      ...BASE,
      usersPerStep: 1,
      positivesPerUser: 'all',
      recencyMaskHours: 0,
    };
    const drawn = samplerOf(dataset, config, dataset.events.userOffsets.slice(1)).sample(1);
    const pairs = examplesOf(drawn).map(({ event, state }) => [event, state] as const);
    assert.deepEqual(
      pairs.sort(([a], [b]) => a - b),
      Array.from({ length: MAX_HISTORY + 1 }, (_, event) => [event, event - 1]),
    );
  });

  it('without repeats, leaves out items that the user has had or has in view', () => {
    fc.assert(
      fc.property(
        cases,
        fc.integer({ min: 1, max: 6 }),
        ({ histories, shares, seed, step }, distinct) => {
          const events = datasetOf(histories);
          // Items recur, so that there is something to leave out.
          const items = events.events.items.map((item) => item % distinct);
          const dataset = { ...events, events: { ...events.events, items } };
          const config = { ...BASE, repeats: false, seed };
          const drawn = samplerOf(dataset, config, endsOf(dataset, shares)).sample(step);
          const { positives, histories: batch, stateRows, users, contexts, leftOut } = drawn;
          for (const [e, positive] of positives.entries()) {
            const first = batch.offsets[users[e]!]!;
            const seen = new Set(batch.items.subarray(first, stateRows[e]! + 1));
            const viewed = contexts.subjectItems?.[e] ?? -1;
            if (viewed >= 0) seen.add(viewed);
            const own = new Set(leftOut!.columns.filter((_, pair) => leftOut!.rows[pair] === e));
            // A user without a new item still has one example, whose positive stays in.
            const alone = users.filter((user) => user === users[e]).length === 1;
            assert.ok(!seen.has(positive) || alone, `positive ${positive}`);
            seen.delete(positive);
            for (const item of seen) assert.ok(own.has(item), `item ${item} of example ${e}`);
            assert.ok(!own.has(positive));
          }
        },
      ),
    );
  });

  it('gives every example the same weight when examples are what weighs', () => {
    const dataset = datasetOf([[HOUR], [HOUR, 30 * HOUR, 90 * HOUR]]);
    const config: TrainConfig = { ...BASE, userWeighting: 'example', usersPerStep: 8 };
    const { weights } = samplerOf(dataset, config, dataset.events.userOffsets.slice(1)).sample(3);
    assert.ok(weights.length > 8);
    for (const weight of weights) assert.equal(weight, Math.fround(1 / weights.length));
  });

  it('draws users in proportion to their events when events are what weighs', () => {
    const long = Array.from({ length: 40 }, (_, i) => i * 30 * HOUR);
    const dataset = datasetOf([long, long.slice(0, 2), []]);
    const config: TrainConfig = { ...BASE, userWeighting: 'event', usersPerStep: 200 };
    const sampler = samplerOf(dataset, config, dataset.events.userOffsets.slice(1));
    const weights = [0, 0];
    for (let step = 1; step <= 20; step++) {
      const drawn = sampler.sample(step);
      for (const [e, positive] of drawn.positives.entries())
        weights[positive < long.length ? 0 : 1]! += drawn.weights[e]! / 20;
    }
    // For the long history, as many as a window holds, and the one after it.
    const share = (MAX_HISTORY + 1) / (MAX_HISTORY + 1 + 2);
    assert.ok(Math.abs(weights[0]! - share) < 0.03, `${weights[0]!} of ${share}`);
  });

  it('gives users the same weight, and the examples of a user different positives', () => {
    fc.assert(
      fc.property(cases, ({ histories, shares, seed, step }) => {
        const dataset = datasetOf(histories);
        const drawn = samplerOf(dataset, { ...BASE, seed }, endsOf(dataset, shares)).sample(step);
        const totals = new Float64Array(BASE.usersPerStep);
        const positives = Array.from(totals, () => new Set<number>());
        for (const [e, row] of drawn.users.entries()) {
          totals[row]! += drawn.weights[e]!;
          assert.ok(!positives[row]!.has(drawn.positives[e]!), `twice ${drawn.positives[e]!}`);
          positives[row]!.add(drawn.positives[e]!);
        }
        for (const [row, total] of totals.entries()) {
          assert.ok(Math.abs(total - 1 / BASE.usersPerStep) < 1e-6);
          assert.ok(positives[row]!.size <= POSITIVES);
        }
      }),
    );
  });

  it('is a function of seed and step alone', () => {
    const dataset = datasetOf([
      Array.from({ length: 20 }, (_, i) => i * 5 * HOUR),
      Array.from({ length: 9 }, (_, i) => i * 31 * HOUR),
    ]);
    const ends = dataset.events.userOffsets.slice(1);
    const config = { ...BASE, queryShare: 0.3 };
    const one = samplerOf(dataset, config, ends);
    const steps = [1, 2, 3, 4].map((step) => one.sample(step));
    const another = samplerOf(dataset, config, ends);
    for (const step of [4, 2, 3, 1]) assert.deepEqual(another.sample(step), steps[step - 1]);
    assert.notDeepEqual(steps[0], steps[1]);
    assert.notDeepEqual(samplerOf(dataset, { ...config, seed: 2 }, ends).sample(1), steps[0]);
  });

  it('draws every training event sooner or later, also those before the last window', () => {
    const dataset = datasetOf([Array.from({ length: 30 }, (_, i) => i * 30 * HOUR)]);
    const sampler = samplerOf(dataset, BASE, Int32Array.of(25));
    const seen = new Set<number>();
    for (let step = 1; step <= 60; step++)
      for (const positive of sampler.sample(step).positives) seen.add(positive);
    assert.deepEqual(
      [...seen].sort((a, b) => a - b),
      Array.from({ length: 25 }, (_, i) => i),
    );
  });

  it('drops subjects and demographics as often as it says', () => {
    const dataset = datasetOf([Array.from({ length: 30 }, (_, i) => i * 30 * HOUR)]);
    const sampler = samplerOf(dataset, { ...BASE, subjectDropout: 0.25 }, Int32Array.of(30));
    let without = 0;
    let all = 0;
    for (let step = 1; step <= 200; step++)
      for (const { source } of examplesOf(sampler.sample(step))) {
        without += Number(source < 0);
        all++;
      }
    assert.ok(Math.abs(without / all - 0.25) < 6 * Math.sqrt((0.25 * 0.75) / all));
  });

  it('counts the events that the encoder could read up to the state, and nothing later', () => {
    fc.assert(
      fc.property(cases, ({ histories, shares, seed, step, ...settings }) => {
        // Three items, so that users come back to them.
        const unique = datasetOf(histories);
        const { events } = unique;
        const dataset = { ...unique, events: { ...events, items: events.items.map((i) => i % 3) } };
        const model = { ...BASE.model, itemFrequency: true };
        const config = { ...BASE, ...settings, model, seed };
        const ends = endsOf(dataset, shares);
        const drawn = samplerOf(dataset, config, ends).sample(step);
        const { rows, columns, counts, ofPositives } = drawn.frequencies!;
        // The same draw on the data whose items are events tells which event the state is.
        const states = examplesOf(samplerOf(unique, config, ends).sample(step));
        assert.equal(states.length, drawn.positives.length);
        for (const [e, { event, state }] of states.entries()) {
          const own = Array.from(rows.keys()).filter((pair) => rows[pair] === e);
          const first = events.userOffsets[events.users[event]!]!;
          const { items, counts: expected } = itemFrequencies(
            dataset.events,
            first,
            state < 0 ? first : state + 1,
            MAX_HISTORY,
          );
          assert.ok(state < event);
          assert.deepEqual(
            own.map((pair) => columns[pair]),
            [...items],
          );
          assert.deepEqual(
            own.map((pair) => counts[pair]),
            [...Float32Array.from(expected)],
          );
          const n = expected[items.indexOf(drawn.positives[e]!)] ?? 0;
          assert.equal(ofPositives[e], Math.fround(n));
        }
      }),
    );
  });

  it('knows how often an item is a positive, which differs from its conversions', async () => {
    const dataset = microDataset(3, [
      { user: 0, item: 0, time: 1 },
      ...[1, 1, 2, 2, 2].map((item, i) => ({ user: 1, item, time: i })),
    ]);
    const config: TrainConfig = { ...BASE, positivesPerUser: 2, recencyMaskHours: 0 };
    const ends = Int32Array.of(1, 6);
    const sampler = samplerOf(dataset, config, ends);
    const { positives } = (await trainingStatistics(oneShard(dataset), () => ends, config)).items;
    // One of three examples is of user 0; 2/5 and 3/5 of the rest are of the others.
    assert.deepEqual(
      [...positives].map((share) => Math.round(15 * share)),
      [5, 4, 6],
    );
    const seen = new Float64Array(3);
    const steps = 2000;
    let drawn = 0;
    for (let step = 1; step <= steps; step++)
      for (const row of sampler.sample(step).positives) {
        seen[row]!++;
        drawn++;
      }
    for (const [row, times] of seen.entries())
      assert.ok(Math.abs(times / drawn - positives[row]!) < 6 * Math.sqrt(0.25 / drawn));
  });
});
