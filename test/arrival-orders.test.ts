// Tests the daily job on events that arrive in any order, over any number of days: after each job,
// every state is that of a job over all events at once, and nobody is encoded without need.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import type { Dataset } from '../src/data/dataset.ts';
import { encodeUsers, type EncodeUsersReport } from '../src/encode/users.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { packageRoot } from '../src/package-root.ts';
import { Engine } from '../src/serve/engine/engine.ts';
import { FreshEvents } from '../src/serve/ingest/fresh-events.ts';
import { ServerMetrics } from '../src/serve/metrics/metrics.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { boostsOf, newStateBatch, stateOf } from '../src/store/state-batch.ts';
import type { UserStateEntry } from '../src/store/store.ts';
import { microDataset } from './support/micro-dataset.ts';

const USERS = 4;
/** The bundle knows all but the last two. */
const ITEMS = 10;
const UNKNOWN = 2;
const ACTIONS = ['add_to_cart', 'purchase'];
const START = 1_700_000_000;
const IN_FUTURE = 4_102_444_800;

interface Arrival {
  readonly user: number;
  readonly item: number;
  readonly action: number;
  /** Seconds since START. */
  readonly offset: number;
  /** Whether it also comes over HTTP, a day before it comes with the data. */
  readonly posted: boolean;
}

const arrival: fc.Arbitrary<Arrival> = fc.record({
  user: fc.nat(USERS - 1),
  item: fc.nat(ITEMS - 1),
  action: fc.nat(1),
  offset: fc.nat(40).map((steps) => steps * 1800),
  posted: fc.boolean(),
});
const days = fc.array(fc.array(arrival, { maxLength: 14 }), { minLength: 2, maxLength: 5 });

let bundle: Bundle;
let encoder: EncoderId;
let engine: Engine;
before(async () => {
  bundle = await loadBundle(join(packageRoot(), 'models', 'tiny'));
  encoder = bundle.manifest.encoderId as EncoderId;
  engine = await Engine.open(bundle, 'auto');
});

const itemId = (item: number): string =>
  item < ITEMS - UNKNOWN ? `item-${String(item).padStart(3, '0')}` : `unknown-${item}`;
const userIds = Array.from({ length: USERS }, (_, user) => `u${user}` as UserId);

/** @param positions - whether the data have no times, only the order in which events arrived. */
function datasetOf(arrivals: readonly Arrival[], positions = false): Dataset {
  const timed = arrivals.map(({ offset, ...event }, i) => ({
    ...event,
    time: positions ? i : START + offset,
  }));
  // Stable, as in microDataset().
  const sorted = [...timed].sort((a, b) => a.user - b.user || a.time - b.time);
  const micro = microDataset(ITEMS, timed);
  return {
    ...micro,
    hasTime: !positions,
    items: { ...micro.items, ids: Array.from({ length: ITEMS }, (_, item) => itemId(item)) },
    events: {
      ...micro.events,
      actions: Int32Array.from(sorted, ({ action }) => action),
      actionNames: ACTIONS,
    },
  };
}

const isKnown = ({ item }: Arrival): boolean => item < ITEMS - UNKNOWN;

/** Remembers whose states were written. */
class WatchedStore extends MemoryStore {
  readonly written = new Set<UserId>();
  override async write(id: EncoderId, entries: readonly UserStateEntry[]): Promise<void> {
    for (const { user } of entries) this.written.add(user);
    return super.write(id, entries);
  }
}

function statesIn(store: MemoryStore): unknown[] {
  const { embeddingWidth, maxHistory } = bundle.manifest.model;
  const batch = newStateBatch(USERS, embeddingWidth, 1, maxHistory);
  store.read(encoder, userIds, batch);
  return userIds.map((_, i) => [
    [...stateOf(batch, i)],
    boostsOf(batch, i),
    batch.lastEventSeconds[i],
  ]);
}

/** A job over data of which the bundle may know no item, which is an error of its own. */
async function encode(
  store: MemoryStore,
  arrivals: readonly Arrival[],
  more: { readonly histories?: boolean; readonly positions?: boolean } = {},
): Promise<EncodeUsersReport | undefined> {
  if (!arrivals.some(isKnown)) return undefined;
  const { positions = false, histories = false } = more;
  return encodeUsers({ bundle, dataset: datasetOf(arrivals, positions), store, histories });
}

async function fromScratch(arrivals: readonly Arrival[], positions = false): Promise<unknown[]> {
  const store = new MemoryStore();
  await encode(store, arrivals, { positions });
  return statesIn(store);
}

describe('the daily job', () => {
  for (const positions of [false, true])
    for (const histories of [false, true])
      it(`encodes those with unseen events: positions ${positions}, histories ${histories}`, () =>
        fc.assert(
          fc.asyncProperty(days, async (all) => {
            const store = new WatchedStore();
            let soFar: Arrival[] = [];
            for (const day of all) {
              store.written.clear();
              soFar = [...soFar, ...day];
              await encode(store, soFar, { histories, positions });
              assert.deepEqual(statesIn(store), await fromScratch(soFar, positions));
              // With positions, an event of another user moves all later ones of this test's data.
              if (!positions)
                for (const user of store.written)
                  assert.ok(day.some((event) => userIds[event.user] === user && isKnown(event)));
              const again = await encode(store, soFar, { histories, positions });
              assert.equal(again?.encoded ?? 0, 0);
            }
          }),
          { numRuns: 25 },
        ));

  it('merges the events of one day with the stored histories', () =>
    fc.assert(
      fc.asyncProperty(days, async (all) => {
        const store = new WatchedStore();
        // Events of one second have the order of arrival: distinct times make it irrelevant.
        let moment = 0;
        const distinct = all.map((day) =>
          day.filter(isKnown).map((event) => ({ ...event, offset: event.offset + moment++ })),
        );
        for (const [i, day] of distinct.entries()) {
          await encode(store, day, { histories: true });
          assert.deepEqual(statesIn(store), await fromScratch(distinct.slice(0, i + 1).flat()));
          assert.equal((await encode(store, day, { histories: true }))?.encoded ?? 0, 0);
        }
      }),
      { numRuns: 25 },
    ));

  it('gives the same states when events come over HTTP first, with or without action', () =>
    fc.assert(
      fc.asyncProperty(days, fc.boolean(), async (all, withAction) => {
        const store = new WatchedStore();
        const served = { active: engine, previous: undefined };
        const events = new FreshEvents({ served }, store, new ServerMetrics());
        for (let i = 0; i <= all.length; i++) {
          const posted = (all[i] ?? []).filter((event) => event.posted);
          if (posted.length > 0)
            await events.ingest(
              posted.map(({ user, item, action, offset }) => ({
                user: userIds[user]!,
                item: itemId(item),
                ...(withAction && { action: ACTIONS[action]! }),
                time: START + offset + 0.25,
              })),
            );
          await encode(store, all.slice(0, i).flat(), { histories: true });
        }
        // Without action, two conversions of one item in one second are one event over HTTP.
        const expected = await fromScratch(all.flat());
        assert.deepEqual(statesIn(store), expected);
        assert.equal((await encode(store, all.flat(), { histories: true }))?.encoded ?? 0, 0);
      }),
      { numRuns: 25 },
    ));

  it('is not stopped by a clock that was wrong, in the data or in the store', async () => {
    const at = (user: number, item: number, offset: number): Arrival => ({
      user,
      item,
      offset,
      action: 0,
      posted: false,
    });
    const good = [at(0, 1, 0), at(0, 2, 60), at(1, 3, 120)];
    const wrong = at(0, 4, IN_FUTURE - START);
    const store = new MemoryStore();
    // A job of an older version: a state and a history that have seen the future.
    await encode(store, [...good, wrong]);
    const healthy = statesIn(store);
    assert.deepEqual(healthy, await fromScratch(good));
    const batch = newStateBatch(1, bundle.manifest.model.embeddingWidth);
    store.read(encoder, [userIds[0]!], batch);
    await store.write(encoder, [
      {
        user: userIds[0]!,
        state: {
          state: batch.states.map((value) => -value),
          dimensions: batch.dimensions,
          type: 'f32',
          lastEventSeconds: IN_FUTURE,
          encodedAtSeconds: START,
        },
      },
    ]);
    await store.changeHistories([userIds[0]!], () => ({
      complete: true,
      events: [{ item: itemId(4), action: ACTIONS[0]!, time: IN_FUTURE, id: '' }],
    }));
    await store.writeWatermark(encoder, IN_FUTURE);
    const report = await encode(store, [...good, wrong]);
    assert.equal(report!.encoded, 1);
    assert.deepEqual(statesIn(store), healthy);
    assert.equal(await store.readWatermark(encoder), START + 121);
    assert.equal((await encode(store, good))!.encoded, 0);
  });

  it('encodes again what has no digest, was damaged or comes from another version', async () => {
    const event = { user: 1, item: 3, action: 0, offset: 0, posted: false };
    const store = new MemoryStore();
    await encode(store, [event]);
    const expected = statesIn(store);
    const batch = newStateBatch(1, bundle.manifest.model.embeddingWidth);
    store.read(encoder, [userIds[1]!], batch);
    const old = {
      state: Float32Array.from(batch.states),
      dimensions: batch.dimensions,
      type: 'f32',
      lastEventSeconds: START,
      encodedAtSeconds: START,
    } as const;
    // The digest of the earlier state stays behind, and does not count for this one.
    await store.write(encoder, [{ user: userIds[1]!, state: old }]);
    const [summary] = await store.readSummaries(encoder, [userIds[1]!]);
    assert.equal(summary!.historyDigest, undefined);
    assert.equal((await encode(store, [event]))!.encoded, 1);
    assert.deepEqual(statesIn(store), expected);
  });

  it('keeps states that have seen newer events than the data', async () => {
    const events = [0, 60, 120].map((offset, item) => ({
      user: 0,
      item,
      offset,
      action: 0,
      posted: false,
    }));
    const store = new MemoryStore();
    await encode(store, events);
    const states = statesIn(store);
    assert.equal((await encode(store, events.slice(0, 2)))!.encoded, 0);
    const dataset = datasetOf(events);
    const until = { bundle, dataset, store, untilSeconds: START + 100 };
    assert.equal((await encodeUsers(until)).encoded, 0);
    assert.deepEqual(statesIn(store), states);
  });
});
