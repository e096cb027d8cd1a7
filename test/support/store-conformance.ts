// The conformance suite of feature stores. The test of each store runs it.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { EncoderId, UserId } from '../../src/ids.ts';
import type { HistoryEvent } from '../../src/store/history.ts';
import type { UserState } from '../../src/features/user-state.ts';
import { boostsOf, newStateBatch, stateOf } from '../../src/store/state-batch.ts';
import type { FeatureStore } from '../../src/store/store.ts';

const ENCODER = 'a'.repeat(64) as EncoderId;
const OTHER_ENCODER = `${'a'.repeat(31)}b${'a'.repeat(32)}` as EncoderId;
const LAST_ENCODER = 'f'.repeat(64) as EncoderId;
const WIDTH = 4;

export function userId(name: string): UserId {
  return name as UserId;
}

export function userState(first: number, seconds = 1000): UserState {
  const state = Float32Array.from({ length: WIDTH }, (_, i) => first + i);
  return {
    state,
    dimensions: WIDTH,
    type: 'f32',
    lastEventSeconds: seconds,
    encodedAtSeconds: seconds + 1,
  };
}

/** @param openStore - opens a new, empty store for each call. */
export function storeConformance(
  name: string,
  openStore: () => FeatureStore | Promise<FeatureStore>,
): void {
  const test = (title: string, body: (store: FeatureStore) => Promise<void>): void => {
    it(title, async () => {
      const store = await openStore();
      try {
        await body(store);
      } finally {
        await store.close();
      }
    });
  };

  describe(`${name} as a feature store`, () => {
    test('keeps the state with the newest event in any order of writes', async (store) => {
      const user = userId('a');
      for (const [first, seconds, expected] of [
        [1, 1000, 1],
        [2, 2000, 2],
        [3, 1500, 2],
        [4, 2000, 4],
      ] as const) {
        await store.write(ENCODER, [{ user, state: userState(first, seconds) }]);
        const batch = newStateBatch(1, WIDTH);
        await store.read(ENCODER, [user], batch);
        assert.equal(batch.states[0], expected);
      }
      // States of another encoder are independent of these.
      await store.write(OTHER_ENCODER, [{ user, state: userState(9, 10) }]);
      const batch = newStateBatch(1, WIDTH);
      await store.read(OTHER_ENCODER, [user], batch);
      assert.equal(batch.states[0], 9);
    });

    test('replaces the state that the writer has read, whatever its times are', async (store) => {
      const user = userId('a');
      const first = async (): Promise<number> => {
        const batch = newStateBatch(1, WIDTH);
        await store.read(ENCODER, [user], batch);
        return batch.states[0]!;
      };
      await store.write(ENCODER, [{ user, state: userState(1, 2000) }]);
      const [read] = await store.readSummaries(ENCODER, [user]);
      await store.write(ENCODER, [{ user, state: userState(2, 1000), replaces: read!.checksum }]);
      assert.equal(await first(), 2);
      // Another writer comes in between.
      const [older] = await store.readSummaries(ENCODER, [user]);
      await store.write(ENCODER, [{ user, state: userState(3, 3000) }]);
      await store.write(ENCODER, [{ user, state: userState(4, 1000), replaces: older!.checksum }]);
      assert.equal(await first(), 3);
    });

    test('keeps the history digest with the state that it belongs to', async (store) => {
      const users = ['a', 'b', 'c', 'missing', 'a'].map(userId);
      const digests = async (): Promise<unknown[]> =>
        (await store.readSummaries(ENCODER, users)).map(
          (summary) => summary && [summary.lastEventSeconds, summary.historyDigest],
        );
      const largest = 2n ** 64n - 1n;
      await store.write(ENCODER, [
        { user: users[0]!, state: userState(1, 1000), historyDigest: 0n },
        { user: users[1]!, state: userState(2, 2000), historyDigest: largest },
        { user: users[2]!, state: userState(3, 3000) },
      ]);
      const a = [1000, 0n];
      const c = [3000, undefined];
      assert.deepEqual(await digests(), [a, [2000, largest], c, undefined, a]);
      await store.write(ENCODER, [
        // A refused write changes neither state nor digest.
        { user: users[0]!, state: userState(4, 500), historyDigest: 4n },
        { user: users[1]!, state: userState(5, 2000) },
      ]);
      assert.deepEqual(await digests(), [a, [2000, undefined], c, undefined, a]);
      assert.deepEqual(await store.readSummaries(OTHER_ENCODER, [users[0]!]), [undefined]);
      assert.deepEqual(await store.readSummaries(ENCODER, []), []);
      assert.equal(await store.count(ENCODER), 3, 'a history digest is not a state');
    });

    test('changes histories one at a time, each call whole or not at all', async (store) => {
      const users = ['a', 'b'].map(userId);
      const event = (item: string): HistoryEvent => ({ item, action: '', time: 1, id: '' });
      assert.deepEqual(await store.readHistories(users), [undefined, undefined]);
      const add = (item: string): Promise<void> =>
        store.changeHistories(users, (_user, history) => ({
          complete: true,
          events: [...(history?.events ?? []), event(item)],
        }));
      await Promise.all(['x', 'y', 'z'].map(add));
      for (const history of await store.readHistories(users))
        assert.deepEqual(
          history!.events.map(({ item }) => item),
          ['x', 'y', 'z'],
        );
      await assert.rejects(
        store.changeHistories(users, (user) => {
          if (user === 'b') throw new Error('no');
          return { complete: true, events: [] };
        }),
      );
      const [first] = await store.readHistories(users);
      assert.equal(first!.events.length, 3);
      // A history is not a state.
      const batch = newStateBatch(1, WIDTH);
      await store.read(ENCODER, [users[0]!], batch);
      assert.equal(batch.lengths[0], 0);
      assert.equal(await store.count(ENCODER), 0);
    });

    test('reads states in the order of the users, some twice or missing', async (store) => {
      await store.write(ENCODER, [
        { user: userId('a'), state: userState(1) },
        { user: userId('b'), state: userState(10, 2000) },
      ]);
      const batch = newStateBatch(4, WIDTH);
      batch.states.fill(-7);
      batch.lengths.fill(1);
      await store.read(ENCODER, ['b', 'missing', 'a', 'b'].map(userId), batch);
      assert.deepEqual([...batch.lengths], [1, 0, 1, 1]);
      assert.deepEqual(
        [...batch.states],
        [10, 11, 12, 13, -7, -7, -7, -7, 1, 2, 3, 4, 10, 11, 12, 13],
      );
      assert.deepEqual([...batch.lastEventSeconds], [2000, NaN, 1000, 2000]);
      assert.deepEqual([...batch.encodedAtSeconds], [2001, NaN, 1001, 2001]);
    });

    test('stores sequences of any type and length together', async (store) => {
      const types = ['f32', 'bf16', 'int8'] as const;
      // Small integers with a largest value of 127: every type stores them exactly.
      const sequence = (rows: number): Float32Array =>
        Float32Array.from({ length: rows * WIDTH }, (_, i) => (i % WIDTH === 0 ? 127 : -i % 100));
      await store.write(
        ENCODER,
        types.map((type, i) => ({
          user: userId(type),
          state: { ...userState(0), type, state: sequence(i + 1) },
        })),
      );
      const batch = newStateBatch(4, WIDTH, 3);
      await store.read(ENCODER, ['int8', 'missing', 'bf16', 'f32'].map(userId), batch);
      assert.deepEqual([...batch.lengths], [3, 0, 2, 1]);
      for (const [index, rows] of [3, 0, 2, 1].entries())
        assert.deepEqual(stateOf(batch, index), sequence(rows));
      await assert.rejects(
        async () => store.read(ENCODER, [userId('int8')], newStateBatch(1, WIDTH, 2)),
        { code: 'ERR_STORE_CORRUPT', message: /1 to 2 rows/ },
      );
    });

    test('stores history boosts with the states that have them', async (store) => {
      const items = Int32Array.of(2, 5, 70_000);
      const historyBoosts = { items, boosts: Float32Array.of(0.5, 1, 0.25) };
      await store.write(ENCODER, [
        { user: userId('a'), state: { ...userState(1), historyBoosts } },
        { user: userId('b'), state: userState(2) },
      ]);
      const batch = newStateBatch(3, WIDTH, 1, 4);
      batch.boostCounts.fill(4);
      await store.read(ENCODER, ['b', 'missing', 'a'].map(userId), batch);
      assert.deepEqual(boostsOf(batch, 2), historyBoosts);
      for (const i of [0, 1]) assert.equal(boostsOf(batch, i).items.length, 0);
    });

    test('separates the states of different encoders', async (store) => {
      await store.write(ENCODER, [{ user: userId('a'), state: userState(1) }]);
      await store.write(LAST_ENCODER, [{ user: userId('z'), state: userState(2) }]);
      const batch = newStateBatch(1, WIDTH);
      await store.read(OTHER_ENCODER, [userId('a')], batch);
      assert.deepEqual([...batch.lengths], [0]);
      assert.equal(await store.count(ENCODER), 1);
      assert.equal(await store.count(LAST_ENCODER), 1);
      assert.equal(await store.count(OTHER_ENCODER), 0);
    });

    test('returns the last write of a user, also of two in one call', async (store) => {
      await store.write(ENCODER, [{ user: userId('a'), state: userState(1) }]);
      await store.write(ENCODER, [
        { user: userId('a'), state: userState(2) },
        { user: userId('a'), state: userState(3) },
      ]);
      const batch = newStateBatch(1, WIDTH);
      await store.read(ENCODER, [userId('a')], batch);
      assert.equal(batch.states[0], 3);
      assert.equal(await store.count(ENCODER), 1);
    });

    test('accepts any string as user id', async (store) => {
      const long = 'x'.repeat(5000);
      const names = [
        '',
        ' ',
        '\0',
        'é',
        '\u{1f6b2}',
        '\ufffd',
        '\ud800',
        '\udbff',
        long,
        `${long}y`,
      ];
      await store.write(
        ENCODER,
        names.map((user, i) => ({ user: userId(user), state: userState(i) })),
      );
      const batch = newStateBatch(names.length, WIDTH);
      await store.read(ENCODER, names.map(userId), batch);
      for (const [i, user] of names.entries()) {
        assert.equal(batch.lengths[i], 1, user.slice(0, 9));
        assert.equal(batch.states[i * WIDTH], i, user.slice(0, 9));
      }
      assert.equal(await store.count(ENCODER), names.length);
    });

    test('rejects a call with a non-finite value and writes nothing of it', async (store) => {
      const bad = { ...userState(1), state: Float32Array.of(1, 2, NaN, 4) };
      const entries = [
        { user: userId('good'), state: userState(1) },
        { user: userId('bad'), state: bad },
      ];
      await assert.rejects(store.write(ENCODER, entries), {
        code: 'ERR_NON_FINITE',
        message: /bad/,
      });
      const late = { ...userState(1), lastEventSeconds: Infinity };
      await assert.rejects(store.write(ENCODER, [{ user: userId('bad'), state: late }]), {
        code: 'ERR_NON_FINITE',
      });
      assert.equal(await store.count(ENCODER), 0);
      await assert.rejects(store.writeWatermark(ENCODER, NaN), { code: 'ERR_NON_FINITE' });
    });

    test('throws ERR_STORE_CORRUPT when a state has another width', async (store) => {
      await store.write(ENCODER, [{ user: userId('a'), state: userState(1) }]);
      const batch = newStateBatch(1, WIDTH + 1);
      await assert.rejects(async () => store.read(ENCODER, [userId('a')], batch), {
        code: 'ERR_STORE_CORRUPT',
        message: /width 5.*width 4/,
      });
    });

    test('stores one watermark for each encoder', async (store) => {
      assert.equal(await store.readWatermark(ENCODER), undefined);
      await store.writeWatermark(ENCODER, 1_700_000_000.5);
      await store.writeWatermark(OTHER_ENCODER, 5);
      assert.equal(await store.readWatermark(ENCODER), 1_700_000_000.5);
      await store.writeWatermark(ENCODER, 1_800_000_000);
      assert.equal(await store.readWatermark(ENCODER), 1_800_000_000);
      assert.equal(await store.readWatermark(OTHER_ENCODER), 5);
      assert.equal(await store.count(ENCODER), 0, 'a watermark is not a state');
    });

    test('stores the newest change of each item and counts the writes', async (store) => {
      assert.deepEqual(await store.readItemChanges(), { version: 0, changes: [], damaged: [] });
      const shoe = {
        title: 'Rote Schuhe',
        advertiser: '',
        price: null,
        countries: ['DE'],
        categories: [{ category: 'shoes', confidence: 0.5 }],
      };
      const long = 'i'.repeat(256);
      assert.equal(
        await store.writeItemChanges([
          { item: 'a', atSeconds: 1, record: shoe },
          { item: long, atSeconds: 1.5 },
        ]),
        1,
      );
      assert.equal(
        await store.writeItemChanges([
          { item: 'a', atSeconds: 2, record: { ...shoe, price: 3 } },
          { item: 'ü', atSeconds: 3, record: shoe },
        ]),
        2,
      );
      assert.equal(await store.itemChangesVersion(), 2);
      const { version, changes } = await store.readItemChanges();
      assert.equal(version, 2);
      assert.deepEqual(
        [...changes].sort((a, b) => a.atSeconds - b.atSeconds),
        [
          { item: long, atSeconds: 1.5 },
          { item: 'a', atSeconds: 2, record: { ...shoe, price: 3 } },
          { item: 'ü', atSeconds: 3, record: shoe },
        ],
      );
      assert.equal(await store.count(ENCODER), 0, 'a change of an item is not a state');
      await store.forgetItemChanges([long, 'ü', 'nothing']);
      assert.deepEqual(await store.readItemChanges(), {
        version: 2,
        changes: [{ item: 'a', atSeconds: 2, record: { ...shoe, price: 3 } }],
        damaged: [],
      });
    });

    test('accepts many states in one write, and an empty write', async (store) => {
      await store.write(ENCODER, []);
      const count = 10_000;
      await store.write(
        ENCODER,
        Array.from({ length: count }, (_, i) => ({
          user: userId(`user-${i}`),
          state: userState(i),
        })),
      );
      assert.equal(await store.count(ENCODER), count);
      const batch = newStateBatch(2, WIDTH);
      await store.read(ENCODER, [userId('user-0'), userId(`user-${count - 1}`)], batch);
      assert.deepEqual([...batch.states.subarray(0, 5)], [0, 1, 2, 3, count - 1]);
    });

    test('can be closed twice, and throws ERR_STORE_UNAVAILABLE afterwards', async (store) => {
      await store.close();
      await store.close();
      const batch = newStateBatch(1, WIDTH);
      const expected = { code: 'ERR_STORE_UNAVAILABLE', retryable: true };
      await assert.rejects(async () => store.read(ENCODER, [userId('a')], batch), expected);
      await assert.rejects(async () => store.count(ENCODER), expected);
      await assert.rejects(
        async () => store.write(ENCODER, [{ user: userId('a'), state: userState(1) }]),
        expected,
      );
    });
  });
}
