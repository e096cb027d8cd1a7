import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeShop, SHOP_TEST_FROM, writeShop } from '../../test/support/shop.ts';
import type { Dataset, RequestRecord } from './dataset.ts';
import { importDataset } from './import.ts';
import { readDataset } from './read-dataset.ts';
import { ALL_TIME } from './read-requests.ts';
import { openShards, type DatasetShards } from './shards.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-shards-'));
const directory = join(folder, 'dataset');
let whole: Dataset;

before(async () => {
  const raw = join(folder, 'raw');
  writeShop(raw, makeShop({ items: 64, users: 150, seed: 4 }));
  for (let i = 0; i < 40; i++) {
    const request = {
      id: `anonymous-${i}`,
      time: SHOP_TEST_FROM - i,
      positives: ['item-001'],
    };
    appendFileSync(join(raw, 'requests.ndjson'), `${JSON.stringify(request)}\n`);
  }
  await importDataset({ manifestPath: join(raw, 'source.json'), outputDirectory: directory });
  whole = await readDataset(directory);
});
after(() => {
  rmSync(folder, { recursive: true });
});

async function readAll(shards: DatasetShards): Promise<Dataset[]> {
  const read: Dataset[] = [];
  for (const shard of shards.userCounts.keys()) read.push(await shards.read(shard, ALL_TIME));
  shards.close();
  return read;
}

/** Events of all datasets one after another, with the ids of their users. */
function eventsOf(datasets: readonly Dataset[]): unknown[] {
  return datasets.flatMap(({ events, users }) =>
    Array.from(events.users, (user, i) => [
      users.ids[user],
      ...(['items', 'times', 'actions', 'values'] as const).map((column) => events[column][i]),
    ]),
  );
}

function requestsOf(datasets: readonly Dataset[]): unknown[] {
  return datasets
    .flatMap(({ requests, users }) =>
      requests.map(({ user, ...request }) => ({ user: users.ids[user], ...request })),
    )
    .sort((a, b) => a.time - b.time || (a.id < b.id ? -1 : 1));
}

describe('openShards', () => {
  it('reads every user, event and request once, in order', async () => {
    const longest = Math.max(
      ...whole.users.ids.map(
        (_, u) => whole.events.userOffsets[u + 1]! - whole.events.userOffsets[u]!,
      ),
    );
    for (const shardEvents of [100, 700]) {
      const shards = await openShards(directory, shardEvents);
      const { userCounts } = shards;
      const read = await readAll(shards);
      assert.ok(read.length > 1, `${read.length} shards`);
      for (const [shard, { users, events, items }] of read.entries()) {
        assert.equal(users.count, userCounts[shard]);
        assert.equal(events.userOffsets.length, users.count + 1);
        assert.equal(events.userOffsets.at(-1), events.count);
        assert.ok(events.count < shardEvents + longest, `${events.count} events`);
        assert.equal(items, shards.items);
      }
      assert.deepEqual(eventsOf(read), eventsOf([whole]));
      assert.deepEqual(requestsOf(read), requestsOf([whole]));
      for (const column of ['ids', 'genders', 'countries'] as const)
        assert.deepEqual(
          read.flatMap(({ users }) => users[column]),
          whole.users[column],
        );
      assert.deepEqual(
        read.flatMap(({ users }) => [...users.ages]),
        [...whole.users.ages],
      );
      assert.deepEqual(new Set(shards.genders), new Set(whole.users.genders));
      assert.deepEqual(new Set(shards.countries), new Set(whole.users.countries));
    }
  });

  it('divides requests without a user among the shards', async () => {
    const read = await readAll(await openShards(directory, 300));
    const anonymous = read.map(({ requests }) => requests.filter(({ user }) => user < 0).length);
    assert.equal(
      anonymous.reduce((sum, count) => sum + count, 0),
      40,
    );
    assert.ok(Math.max(...anonymous) < 40, String(anonymous));
  });

  it('reads the requests of a time range alone, or none', async () => {
    const shards = await openShards(directory, 500);
    const range = { from: SHOP_TEST_FROM - 86_400, until: SHOP_TEST_FROM };
    const inside = ({ time }: RequestRecord): boolean => time >= range.from && time < range.until;
    const read: Dataset[] = [];
    for (const shard of shards.userCounts.keys()) read.push(await shards.read(shard, range));
    assert.deepEqual(
      requestsOf(read),
      requestsOf([{ ...whole, requests: whole.requests.filter(inside) }]),
    );
    assert.deepEqual((await shards.read(0)).requests, []);
    shards.close();
  });

  it('reads a small dataset as one shard', async () => {
    const shards = await openShards(directory, whole.events.count);
    assert.deepEqual(shards.userCounts, [whole.users.count]);
    assert.equal(shards.shardEvents, undefined);
    assert.deepEqual(await shards.read(0), whole);
    shards.close();
  });

  it('refuses a folder that is not a dataset', async () => {
    await assert.rejects(openShards(folder), { code: 'ERR_DATASET_NOT_FOUND' });
  });
});
