// Tests events over HTTP: the server stores them before it answers and updates the state at once.
// The state equals that of a batch job over all events, and no batch job undoes it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { resolveServerSettings } from '../src/config.ts';
import type { Dataset } from '../src/data/dataset.ts';
import { encodeUsers } from '../src/encode/users.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { packageRoot } from '../src/package-root.ts';
import { newKey, writeKeyFile } from '../src/serve/admission/key-file.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { newStateBatch } from '../src/store/state-batch.ts';
import type { StateStore } from '../src/store/store.ts';
import { servingPort, spawnCli } from './support/cli.ts';
import { FORM } from './support/form.ts';
import { makeShop, shopDataset } from './support/shop.ts';

const bundles = join(packageRoot(), 'models', 'tiny');
const folder = mkdtempSync(join(tmpdir(), 'tandem-fresh-'));
const dataset = shopDataset(makeShop({ items: 120, users: 40, seed: 8 }));
const { events, users } = dataset;
/** The batch job does not have the newest three events of each user with six or more. */
const LATE = 3;
const KILLS = { quick: 2, long: 12 }[FORM];
const late = Array.from({ length: users.count }, (_, user) => user).filter(
  (user) => events.userOffsets[user + 1]! - events.userOffsets[user]! >= 2 * LATE,
);
let bundle: Bundle;
let encoder: EncoderId;

before(async () => {
  bundle = await loadBundle(bundles);
  encoder = bundle.manifest.encoderId as EncoderId;
});
after(() => {
  rmSync(folder, { recursive: true });
});

/** The dataset without the newest events of late users. */
function withoutLate(): Dataset {
  const kept: number[] = [];
  const userOffsets = new Int32Array(users.count + 1);
  for (let user = 0; user < users.count; user++) {
    const end = events.userOffsets[user + 1]! - (late.includes(user) ? LATE : 0);
    for (let i = events.userOffsets[user]!; i < end; i++) kept.push(i);
    userOffsets[user + 1] = kept.length;
  }
  const pick = <T extends Int32Array | Float64Array>(column: T): T =>
    column.filter((_, i) => kept.includes(i)) as T;
  return {
    ...dataset,
    events: {
      ...events,
      count: kept.length,
      userOffsets,
      items: pick(events.items),
      times: pick(events.times),
      actions: pick(events.actions),
    },
  };
}

interface Sent {
  readonly user: string;
  readonly item: string;
  readonly action: string;
  readonly time: number;
  readonly event_id?: string;
}

function lateEvents(user: number): Sent[] {
  const end = events.userOffsets[user + 1]!;
  return Array.from({ length: LATE }, (_, i) => ({
    user: users.ids[user]!,
    item: dataset.items.ids[events.items[end - LATE + i]!]!,
    action: events.actionNames[events.actions[end - LATE + i]!]!,
    time: events.times[end - LATE + i]!,
    event_id: `${user}-${i}`,
  }));
}

async function stateOf(store: StateStore, user: string): Promise<number[]> {
  const batch = newStateBatch(1, bundle.manifest.model.embeddingWidth);
  await store.read(encoder, [user as UserId], batch);
  return batch.lengths[0] === 0 ? [] : [...batch.states, batch.lastEventSeconds[0]!];
}

/** Fills a store with a batch job and returns its path. */
async function encodedStore(name: string, of: Dataset, histories: boolean): Promise<string> {
  const path = join(folder, name);
  const store = LmdbStore.open(path);
  await encodeUsers({ bundle, dataset: of, store, histories });
  await store.close();
  return path;
}

async function serve(store: string, flags: object = {}): Promise<RunningServer> {
  const { settings } = resolveServerSettings({
    flags: { bundles, store, port: 0, freshEvents: 'on', ...flags },
  });
  return startServer(settings);
}

async function post(
  port: number,
  path: string,
  body: object,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { Connection: 'close', ...headers },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const send = (
  { port }: { readonly port: number },
  sent: readonly Partial<Sent>[],
): ReturnType<typeof post> => post(port, '/v1/events', { events: sent });

const counts = ({ body }: Awaited<ReturnType<typeof post>>): unknown[] =>
  ['accepted', 'duplicates', 'encoded_users', 'waiting_users'].map((name) => body[name]);

async function candidatesOf({ port }: RunningServer, user: string): Promise<unknown> {
  const { status, body } = await post(port, '/v1/candidates', { user, surface: 'related', k: 20 });
  assert.equal(status, 200);
  return body['candidates'];
}

for (const [transport, eventLoops] of [
  ['uws', 3],
  ['node', 1],
] as const)
  describe(`fresh events on ${transport} with ${eventLoops} event loops`, () => {
    it('change the next answer and give exactly the states of a job over all events', async () => {
      const path = await encodedStore(`states-${transport}`, withoutLate(), true);
      const server = await serve(path, { transport, eventLoops });
      const before = await candidatesOf(server, users.ids[late[0]!]!);
      // First two events of each user, then all of them, so that some are duplicates.
      const sent = late.map(lateEvents);
      const first = await send(
        server,
        sent.flatMap((own) => own.slice(0, 2)),
      );
      assert.deepEqual(counts(first), [2 * late.length, 0, late.length, 0]);
      const second = await send(server, sent.flat());
      assert.deepEqual(counts(second), [late.length, 2 * late.length, late.length, 0]);
      assert.notDeepEqual(await candidatesOf(server, users.ids[late[0]!]!), before);
      const states = await Promise.all(
        late.map(async (user) => {
          const store = LmdbStore.open(path, { readOnly: true });
          return stateOf(store, users.ids[user]!);
        }),
      );
      await server.close();

      const store = LmdbStore.open(await encodedStore(`all-${transport}`, dataset, false));
      for (const [i, user] of late.entries())
        assert.deepEqual(states[i], await stateOf(store, users.ids[user]!), `user ${user}`);
      await store.close();
    });
  });

describe('fresh events', () => {
  it('create an unknown user; without a stored history they wait for the next job', async () => {
    const path = await encodedStore('waiting', withoutLate(), false);
    const server = await serve(path);
    const [sent] = late.map(lateEvents);
    const user = sent![0]!.user;
    const store = LmdbStore.open(path);
    const known = await stateOf(store, user);
    assert.deepEqual(counts(await send(server, sent!)), [LATE, 0, 0, 1]);
    assert.deepEqual(await stateOf(store, user), known);
    const item = dataset.items.ids[7]!;
    assert.deepEqual(counts(await send(server, [{ user: 'new', item }])), [1, 0, 1, 0]);
    assert.equal((await stateOf(store, 'new')).length, known.length);
    await server.close();

    // The job's data does not have these events, and the job does not lose them.
    await encodeUsers({ bundle, dataset: withoutLate(), store, sinceSeconds: 0 });
    const all = LmdbStore.open(await encodedStore('waiting-all', dataset, false));
    assert.deepEqual(await stateOf(store, user), await stateOf(all, user));
    await store.close();
    await all.close();
  });

  it('survive a job with fewer events, and are merged with equal events of its data', async () => {
    const path = await encodedStore('later', withoutLate(), true);
    const server = await serve(path);
    const sent = late.flatMap(lateEvents);
    await send(server, sent);
    await server.close();
    const store = LmdbStore.open(path);
    const user = users.ids[late[1]!]!;
    const fresh = await stateOf(store, user);
    for (const data of [withoutLate(), dataset])
      await encodeUsers({ bundle, dataset: data, store, sinceSeconds: 0, histories: true });
    assert.deepEqual(await stateOf(store, user), fresh);
    const [history] = await store.readHistories([user as UserId]);
    const ids = history!.events.map(({ item, action, time }) => `${item} ${action} ${time}`);
    assert.equal(new Set(ids).size, ids.length);
    await store.close();
  });

  it('are stored for unknown items, but not with a future time or the wrong role', async () => {
    const keys = join(folder, 'keys.json');
    const [writer, reader] = (['ingest', 'candidates'] as const).map((role) =>
      newKey({ name: role, role }),
    );
    writeKeyFile(keys, [writer!.record, reader!.record]);
    const path = await encodedStore('refused', withoutLate(), true);
    const server = await serve(path, { keys });
    const as = (
      key: string,
      event: object,
    ): Promise<{ status: number; body: Record<string, unknown> }> =>
      post(server.port, '/v1/events', { events: [event] }, { Authorization: `Bearer ${key}` });
    const event = { user: 'u', item: 'of tomorrow' };
    assert.equal((await as(reader!.key, event)).status, 403);
    const unknown = await as(writer!.key, event);
    assert.deepEqual(counts(unknown), [1, 0, 0, 1]);
    const future = await as(writer!.key, { ...event, time: Date.now() });
    assert.equal(future.status, 400);
    assert.equal((future.body['error'] as { field: string }).field, 'events.0.time');
    assert.equal((await as(writer!.key, { ...event, itm: 1 })).status, 400);
    await server.close();
    // The rate limit of a key counts events.
    const slow = newKey({ name: 'slow', role: 'ingest', requestsPerSecond: 1e-3, burst: 3 });
    writeKeyFile(keys, [slow.record]);
    const limited = await serve(path, { keys });
    const many = (count: number): ReturnType<typeof post> =>
      post(
        limited.port,
        '/v1/events',
        { events: Array.from({ length: count }, (_, i) => ({ user: `u${i}`, item: 'x' })) },
        { Authorization: `Bearer ${slow.key}` },
      );
    assert.deepEqual([(await many(3)).status, (await many(1)).status], [200, 429]);
    await limited.close();
    const off = await serve(path, { freshEvents: 'off' });
    assert.equal((await send(off, [event])).status, 404);
    await off.close();
  });

  it('survive a kill of the server once they were answered', async () => {
    const path = await encodedStore('killed', withoutLate(), true);
    const answered: Sent[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      const child = spawnCli(
        [
          ...['serve', '--bundles', bundles, '--store', path],
          ...['--port', '0', '--fresh-events', 'on'],
        ],
        { env: { TANDEM_LOG_LEVEL: 'info' } },
      );
      const port = await servingPort(child);
      // Some of these requests are open when the answers of others make the test kill the server.
      const sending = late.map(async (user) => {
        const [event] = lateEvents(user).slice(kill % LATE);
        const { status } = await send({ port }, [{ ...event!, event_id: `${user}-${kill}` }]);
        if (status === 200) answered.push(event!);
        if (answered.length >= 3 * (kill + 1)) child.kill('SIGKILL');
      });
      await Promise.allSettled(sending);
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    assert.ok(answered.length >= 3 * KILLS);
    const store = LmdbStore.open(path);
    for (const { user, item, time } of answered) {
      const [history] = await store.readHistories([user as UserId]);
      assert.ok(
        history!.events.some((event) => event.item === item && event.time === time),
        `${user} ${item}`,
      );
    }
    await store.close();
  });
});
