// Nothing is acknowledged before it is proven usable. A refused change of items or events leaves no
// trace in the store, an accepted one is there after a restart, and a record that somebody else
// wrote and this server cannot use harms no other record.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { open } from 'lmdb';
import { loadBundle } from '../src/bundle/load.ts';
import { publishBundle } from '../src/bundle/publish.ts';
import { resolveServerSettings } from '../src/config.ts';
import type { EncoderId, UserId } from '../src/ids.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { encoderPrefix } from '../src/store/codec.ts';
import { historyKey, itemChangeKey, stateKey } from '../src/store/keys.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { TINY_CATEGORIES, tinyBundleInput, tinyItem } from './support/tiny-bundle.ts';

const ITEMS = 20;
/** The weights of this category are so large that no item of it has a finite vector. */
const HUGE = 'music';
const folder = mkdtempSync(join(tmpdir(), 'tandem-usable-'));
const bundles = join(folder, 'bundles');
let encoder: EncoderId;
let stores = 0;

before(async () => {
  const input = await tinyBundleInput({ items: ITEMS });
  const { data, shape } = input.tensors.get('items.category')!;
  const width = shape[1]!;
  const row = input.schema.categories.indexOf(HUGE);
  data.fill(3e38, row * width, (row + 1) * width);
  const { directory } = await publishBundle(input, bundles);
  encoder = (await loadBundle(directory)).manifest.encoderId as EncoderId;
});
after(() => {
  rmSync(folder, { recursive: true });
});

const newStore = (): string => join(folder, `store-${stores++}`);

async function serving<T>(store: string, use: (server: RunningServer) => Promise<T>): Promise<T> {
  const { settings } = resolveServerSettings({
    flags: { bundles, store, port: 0, freshItems: 'on', freshEvents: 'on' },
  });
  const server = await startServer(settings);
  try {
    return await use(server);
  } finally {
    await server.close();
  }
}

interface Reply {
  readonly status: number;
  readonly body: Record<string, unknown>;
  /** The member that an error names. */
  readonly field: string | null | undefined;
}

async function call(
  { port }: RunningServer,
  method: string,
  path: string,
  body?: unknown,
): Promise<Reply> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as Reply['body'] & {
    readonly error?: { readonly field: string | null };
  };
  return { status: response.status, body: answer, field: answer.error?.field };
}

async function skipped({ port }: RunningServer): Promise<Record<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const found = text.matchAll(
    /^tandem_(skipped_item_changes|damaged_histories_total)(.*) (\d+)$/gm,
  );
  return Object.fromEntries(
    Array.from(found, ([, name, labels, value]) => [
      /reason="(.*?)"/.exec(labels!)?.[1] ?? name!,
      Number(value),
    ]),
  );
}

const contentOf = (store: string): string =>
  createHash('sha256')
    .update(readFileSync(join(store, 'data.mdb')))
    .digest('hex');

/** Text as clients send it: mostly plain, sometimes cut inside a character. */
const text = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('a', 'b', 'ü😀', tinyItem(1).id, ...TINY_CATEGORIES) },
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom('', '\ud83d', 'Sneaker \ud83d', '\udc00x', '\0', 'x'.repeat(300)),
);
const number = fc.oneof(
  fc.constantFrom(0, -0, 1, 0.5, 1e-46, 1e-45, 5e-324, 1e308, -1e308, 1e39, 2 ** 53),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), text, number);
/** Mostly a value that fits, sometimes anything. */
const mostly = <T>(fits: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 12, arbitrary: fits }, anything);
const item = fc.record(
  {
    item: mostly(text),
    title: mostly(text),
    advertiser: mostly(text),
    price: mostly(number),
    categories: mostly(fc.array(fc.record({ category: text, confidence: number }))),
    countries: mostly(fc.array(text)),
  },
  { requiredKeys: ['item'] },
);
const event = fc.record(
  {
    user: mostly(text),
    item: mostly(text),
    action: mostly(text),
    time: mostly(fc.oneof(number, fc.constantFrom(0, 1_717_200_000))),
    event_id: mostly(text),
  },
  { requiredKeys: ['user', 'item'] },
);
const list = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
  mostly(fc.array(one, { minLength: 1, maxLength: 3 }));
const change = fc.oneof(
  fc.record({ method: fc.constant('PUT'), path: fc.constant('/v1/items'), items: list(item) }),
  fc.record({ method: fc.constant('DELETE'), path: fc.constant('/v1/items'), items: list(text) }),
  fc.record({ method: fc.constant('POST'), path: fc.constant('/v1/events'), events: list(event) }),
);

describe('a change over HTTP', () => {
  it('is refused without a trace, or is served after a restart', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 12 }), async (changes) => {
        const store = newStore();
        const put = new Map<string, string | undefined>();
        const users = new Set<string>();
        await serving(store, async (server) => {
          assert.equal(
            (await call(server, 'DELETE', '/v1/items', { items: ['gone'] })).status,
            200,
          );
          for (const { method, path, ...body } of changes) {
            const before = contentOf(store);
            const { status, body: answer, field } = await call(server, method, path, body);
            if (status === 400) {
              assert.equal(contentOf(store), before, 'a refused change wrote to the store');
              assert.match(field ?? 'body', /^(items|events|body)/);
              continue;
            }
            assert.equal(status, 200, JSON.stringify(answer));
            if ('events' in body)
              for (const { user } of body.events as { user: string }[]) users.add(user);
            else
              for (const one of body.items as (string | { item: string; title?: string })[])
                if (typeof one === 'string') put.set(one, undefined);
                else put.set(one.item, one.title ?? '');
          }
        });
        await serving(store, async (server) => {
          for (const [id, title] of put) {
            const { status, body } = await call(
              server,
              'GET',
              `/v1/items/${encodeURIComponent(id)}`,
            );
            if (id !== '.' && id !== '..')
              assert.deepEqual(
                [status, body['title']],
                title === undefined ? [404, undefined] : [200, title],
              );
          }
          for (const user of ['nobody', ...users]) {
            const request = { user, surface: 'related', k: 100 };
            assert.equal((await call(server, 'POST', '/v1/candidates', request)).status, 200);
          }
          assert.deepEqual(await skipped(server), {
            unusable: 0,
            damaged: 0,
            damaged_histories_total: 0,
          });
        });
        const left = LmdbStore.open(store);
        const histories = await left.readHistories([...users] as UserId[]);
        assert.ok(histories.every((history) => history !== undefined && !history.damaged));
        await left.close();
      }),
      { numRuns: 8 },
    );
  });

  it('is refused alone when the bundle cannot embed it', async () => {
    const store = newStore();
    const huge = { item: 'loud', categories: [{ category: HUGE, confidence: 1 }] };
    await serving(store, async (server) => {
      const [good, bad] = await Promise.all([
        call(server, 'PUT', '/v1/items', { items: [{ item: 'good' }] }),
        call(server, 'PUT', '/v1/items', { items: [{ item: 'fine' }, huge] }),
      ]);
      assert.deepEqual([good.status, bad.status, bad.field], [200, 400, 'items.1']);
    });
    const left = LmdbStore.open(store);
    const { changes } = await left.readItemChanges();
    assert.deepEqual(
      changes.map((one) => one.item),
      ['good'],
    );
    await left.close();
  });
});

describe('a store with records that this server cannot use', () => {
  it('serves the other changes of items', async () => {
    const store = newStore();
    const record = { title: 't', categories: [], advertiser: '', price: null, countries: [] };
    const written = LmdbStore.open(store);
    await written.writeItemChanges([
      { item: 'sound', atSeconds: 2e9, record },
      { item: tinyItem(1).id, atSeconds: 2e9 },
      { item: 'cut', atSeconds: 2e9, record: { ...record, title: '\ud83d' } },
      // An item of the bundle stays as it was published.
      { item: tinyItem(2).id, atSeconds: 2e9, record: { ...record, title: '\ud83d' } },
      {
        item: 'tiny',
        atSeconds: 2e9,
        record: { ...record, categories: [{ category: 'books', confidence: 1e-46 }] },
      },
      { item: 'broken', atSeconds: 2e9, record },
    ]);
    await written.close();
    await overwrite(store, itemChangeKey('broken'));
    await serving(store, async (server) => {
      const check = async (...more: string[]): Promise<void> => {
        const statuses = Object.fromEntries(
          await Promise.all(
            ['sound', tinyItem(1).id, 'cut', tinyItem(2).id, 'tiny', 'broken', ...more].map(
              async (id) => [id, (await call(server, 'GET', `/v1/items/${id}`)).status] as const,
            ),
          ),
        );
        assert.deepEqual(statuses, {
          sound: 200,
          [tinyItem(1).id]: 404,
          cut: 404,
          [tinyItem(2).id]: 200,
          tiny: 404,
          broken: 404,
          ...Object.fromEntries(more.map((id) => [id, 200])),
        });
      };
      await check();
      const { unusable, damaged } = await skipped(server);
      assert.deepEqual([unusable, damaged], [3, 1]);
      const put = await call(server, 'PUT', '/v1/items', { items: [{ item: 'next' }] });
      assert.equal(put.status, 200, JSON.stringify(put.body));
      await check('next');
      // A sound change takes the place of the damaged one.
      await call(server, 'DELETE', '/v1/items', { items: ['broken', 'cut', 'tiny'] });
      assert.equal((await skipped(server))['unusable'], 1);
    });
    await serving(store, async (server) => {
      assert.equal((await skipped(server))['damaged'], 0);
    });
  });

  it('accepts events, and lets only the users of damaged records wait', async () => {
    const store = newStore();
    const event = (user: string, time: number): object => ({ user, item: tinyItem(3).id, time });
    const users = ['ada', 'ben', 'cleo'];
    await serving(store, async (server) => {
      const first = { events: users.map((user) => event(user, 1000)) };
      assert.equal((await call(server, 'POST', '/v1/events', first)).body['encoded_users'], 3);
    });
    await overwrite(store, historyKey('ada' as UserId));
    await overwrite(store, stateKey(encoderPrefix(encoder), 'ben' as UserId));
    await serving(store, async (server) => {
      const next = { events: users.map((user) => event(user, 2000)) };
      const { status, body } = await call(server, 'POST', '/v1/events', next);
      assert.deepEqual([status, body['accepted']], [200, 3]);
      // Ben's history is complete, so it gives him another state.
      assert.deepEqual([body['encoded_users'], body['waiting_users']], [2, 1]);
      assert.equal((await skipped(server))['damaged_histories_total'], 1);
      for (const user of users) {
        const request = { user, surface: 'related', k: 5 };
        assert.equal((await call(server, 'POST', '/v1/candidates', request)).status, 200);
      }
    });
  });
});

/** Writes bytes that no version of this program has written. */
async function overwrite(store: string, key: Buffer): Promise<void> {
  const raw = open<Uint8Array, Uint8Array>(store, { encoding: 'binary', keyEncoding: 'binary' });
  assert.ok(raw.get(key) !== undefined);
  await raw.put(key, Buffer.from('not a record'));
  await raw.close();
}
