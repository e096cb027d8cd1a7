// Tests items over HTTP. An item that is put is in the next answer and a deleted one is not, on
// every event loop and through restarts, kills and swaps. Answers equal a plain comparison with
// every vector.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { bundleItemTower } from '../src/bundle/weights/item-tower.ts';
import { loadBundle, type Bundle } from '../src/bundle/load.ts';
import { resolveServerSettings } from '../src/config.ts';
import { newKey, writeKeyFile } from '../src/serve/admission/key-file.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { LmdbStore } from '../src/store/lmdb-store.ts';
import { runCli, servingPort, spawnCli } from './support/cli.ts';
import { FORM } from './support/form.ts';
import {
  publishTinyBundle,
  tinyItem,
  TINY_ADVERTISERS,
  TINY_CATEGORIES,
  TINY_COUNTRIES,
} from './support/tiny-bundle.ts';
import { until } from './support/until.ts';

const ITEMS = 90;
const KILLS = { quick: 2, long: 10 }[FORM];
/** How soon a change is in the answers of another server. */
const VISIBLE_MS = { quick: 60_000, long: 1000 }[FORM];
const folder = mkdtempSync(join(tmpdir(), 'tandem-items-'));
const bundles = join(folder, 'bundles');
let names: string[];

before(async () => {
  names = [];
  for (const seed of [2, 1])
    names.push(basename((await publishTinyBundle(bundles, { items: ITEMS, seed })).directory));
});
after(() => {
  rmSync(folder, { recursive: true });
});

interface PutItem {
  readonly item: string;
  readonly title?: string;
  readonly categories?: readonly { readonly category: string; readonly confidence: number }[];
  readonly advertiser?: string;
  readonly price?: number;
  readonly countries?: readonly string[];
}

interface Reply {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

let stores = 0;
function newStore(): string {
  return join(folder, `store-${stores++}`);
}

function serve(store: string, flags: object = {}): Promise<RunningServer> {
  const { settings } = resolveServerSettings({
    flags: { bundles, store, port: 0, freshItems: 'on', ...flags },
  });
  return startServer(settings);
}

/** Sends a request on a new connection. */
function call(
  port: number,
  method: string,
  path: string,
  body?: object,
  key?: string,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = {
      // Node sends no length with a DELETE by itself.
      'Content-Length': Buffer.byteLength(text),
      ...(key !== undefined && { Authorization: `Bearer ${key}` }),
    };
    const sent = httpRequest({ port, path, method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        resolve({
          status: response.statusCode!,
          body: JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>,
        });
      });
    });
    sent.on('error', reject);
    sent.end(text);
  });
}

const put = (port: number, items: readonly PutItem[]): Promise<Reply> =>
  call(port, 'PUT', '/v1/items', { items });
const remove = (port: number, items: readonly string[]): Promise<Reply> =>
  call(port, 'DELETE', '/v1/items', { items });

const SUBJECT = { interests: [{ category: 'games', confidence: 1 }] };

async function candidates(
  port: number,
  more: object = {},
): Promise<{ item: string; score: number }[]> {
  const { body } = await call(port, 'POST', '/v1/candidates', {
    user: 'nobody',
    surface: 'related',
    subject: SUBJECT,
    k: 1000,
    ...more,
  });
  return body['candidates'] as { item: string; score: number }[];
}

const idsOf = async (port: number, more: object = {}): Promise<string[]> =>
  (await candidates(port, more)).map(({ item }) => item);

const game = (item: string, more: Partial<PutItem> = {}): PutItem => ({
  item,
  categories: [{ category: 'games', confidence: 0.9 }],
  ...more,
});

describe('an item that is put', () => {
  it('is a candidate at once, with all its fields, until it is deleted', async () => {
    const server = await serve(newStore());
    const { port } = server;
    try {
      const item = game('new', {
        title: 'Ein Würfelspiel',
        advertiser: 'nova',
        price: 12.5,
        countries: ['FR'],
      });
      assert.equal((await call(port, 'GET', '/v1/items/new')).status, 404);
      const answer = await put(port, [item]);
      assert.equal(answer.status, 200);
      assert.equal(answer.body['changed'], 1);
      assert.deepEqual(answer.body['unknown_categories'], []);
      assert.ok((await idsOf(port)).includes('new'));
      const { body } = await call(port, 'GET', '/v1/items/new');
      assert.equal(body['title'], 'Ein Würfelspiel');
      assert.equal(body['advertiser'], 'nova');
      assert.equal(body['price'], 12.5);
      assert.deepEqual(body['countries'], ['FR']);
      assert.deepEqual(body['categories'], [{ category: 'games', confidence: 0.9 }]);
      // Filters apply to it as to other items.
      const passes = { advertisers: { in: ['nova'] }, countries: ['FR'], max_price: 12.5 };
      assert.deepEqual(await idsOf(port, { filter: passes }), ['new']);
      assert.ok(!(await idsOf(port, { filter: { countries: ['DE'] } })).includes('new'));
      // As the subject it is not a candidate, and its categories are the context.
      const asSubject = await candidates(port, { subject: { item: 'new' } });
      const asCategories = await candidates(port, {
        subject: { interests: item.categories },
        filter: { exclude_items: ['new'] },
      });
      assert.deepEqual(asSubject, asCategories);
      const scored = await call(port, 'POST', '/v1/score', {
        user: 'nobody',
        surface: 'related',
        subject: SUBJECT,
        items: ['new', tinyItem(3).id],
      });
      const scores = new Map((await candidates(port)).map((hit) => [hit.item, hit.score]));
      for (const { item: id, score } of scored.body['scores'] as { item: string; score: number }[])
        assert.equal(score, scores.get(id));

      assert.equal((await remove(port, ['new'])).status, 200);
      assert.ok(!(await idsOf(port)).includes('new'));
      assert.equal((await call(port, 'GET', '/v1/items/new')).status, 404);
    } finally {
      await server.close();
    }
  });

  it('replaces the fields of an item of the bundle and keeps its learned weights', async () => {
    const server = await serve(newStore());
    const { port } = server;
    try {
      const own = tinyItem(8);
      const [first, second] = own.categories;
      const same: PutItem = {
        item: own.id,
        title: own.title,
        advertiser: own.advertiser,
        price: 8,
        categories: [
          { category: TINY_CATEGORIES[first]!, confidence: 1 },
          { category: TINY_CATEGORIES[second]!, confidence: 0.5 },
        ],
        countries: own.countries,
      };
      await put(port, [{ ...same, price: 999 }]);
      assert.deepEqual(await idsOf(port, { filter: { min_price: 998 } }), [own.id]);
      const ids = await idsOf(port);
      assert.equal(new Set(ids).size, ids.length, 'the item is in the answer once');
      await remove(port, [own.id]);
      assert.ok(!(await idsOf(port)).includes(own.id));
      // A deleted item is still valid as the subject.
      assert.equal((await candidates(port, { subject: { item: own.id } })).length, ITEMS - 1);
      await put(port, [same]);
      assert.ok((await idsOf(port)).includes(own.id));
    } finally {
      await server.close();
    }
  });

  it('is not in the popular answer, and neither is a deleted item', async () => {
    const server = await serve(newStore());
    const { port } = server;
    try {
      const ask = { subject: undefined, k: ITEMS };
      assert.equal((await idsOf(port, ask)).length, ITEMS);
      await put(port, [game('new')]);
      await remove(port, [tinyItem(0).id, tinyItem(1).id]);
      const ids = await idsOf(port, ask);
      assert.equal(ids.length, ITEMS - 2);
      assert.ok(!ids.includes(tinyItem(0).id));
      // An item that was replaced keeps its place.
      await put(port, [{ item: tinyItem(2).id, title: 'another', countries: ['DE'] }]);
      assert.deepEqual(new Set(await idsOf(port, ask)), new Set(ids));
      const french = { ...ask, demographics: { country: 'FR' } };
      assert.ok(!(await idsOf(port, french)).includes(tinyItem(2).id));
    } finally {
      await server.close();
    }
  });
});

const change = fc.oneof(
  fc.record({
    put: fc.record(
      {
        item: fc.oneof(
          fc.constantFrom('a', 'b', 'c', 'ü"'),
          fc.nat(ITEMS - 1).map((i) => tinyItem(i).id),
        ),
        categories: fc.array(
          fc.record({
            category: fc.constantFrom(...TINY_CATEGORIES, 'unheard of'),
            confidence: fc.double({ min: 0.01, max: 1, noNaN: true }),
          }),
          { maxLength: 4 },
        ),
        advertiser: fc.constantFrom(...TINY_ADVERTISERS, 'nova'),
        price: fc.double({ min: 0, max: 200, noNaN: true }),
        countries: fc.subarray([...TINY_COUNTRIES]),
      },
      { requiredKeys: ['item'] },
    ),
  }),
  fc.record({
    remove: fc.oneof(
      fc.constantFrom('a', 'b', 'nothing'),
      fc.nat(ITEMS - 1).map((i) => tinyItem(i).id),
    ),
  }),
);

/** The items that a server should answer from, in plain maps. */
class Expected {
  readonly #bundle: Bundle;
  readonly #tower: ReturnType<typeof bundleItemTower>;
  /** Vectors of all items that are not deleted. */
  readonly vectors = new Map<string, Float32Array>();
  readonly items = new Map<
    string,
    { advertiser: string; price: number; countries: readonly string[] }
  >();

  constructor(bundle: Bundle) {
    this.#bundle = bundle;
    this.#tower = bundleItemTower(bundle);
    const width = bundle.manifest.model.embeddingWidth;
    for (let row = 0; row < ITEMS; row++) {
      const { id, advertiser, price, countries } = tinyItem(row);
      this.vectors.set(id, bundle.vectors.subarray(row * width, (row + 1) * width));
      this.items.set(id, { advertiser, price, countries });
    }
  }

  put({ item, categories = [], advertiser = '', price = NaN, countries = [] }: PutItem): void {
    const names = this.#bundle.schema.categories;
    const known = categories
      .map(({ category, confidence }) => ({ row: names.indexOf(category), confidence }))
      .filter(({ row }) => row >= 0)
      .sort((a, b) => b.confidence - a.confidence);
    const [vector] = [
      this.#tower.vectors(
        {
          count: 1,
          categoryOffsets: Int32Array.of(0, known.length),
          categoryRows: Int32Array.from(known, ({ row }) => row),
          categoryConfidences: Float32Array.from(known, ({ confidence }) => confidence),
          advertisers: [advertiser],
          prices: [price],
        },
        Int32Array.of(this.#bundle.catalogue.row(item)),
      ),
    ];
    this.vectors.set(item, vector);
    this.items.set(item, { advertiser, price, countries });
  }

  remove(item: string): void {
    this.vectors.delete(item);
    this.items.delete(item);
  }
}

describe('after any puts and deletes', () => {
  for (const plan of ['exact', 'approximate'] as const)
    it(`answers have the best of the existing items, plan ${plan}`, async () => {
      const bundle = await loadBundle(bundles);
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(change, { maxLength: 6 }), { maxLength: 4 }),
          async (rounds) => {
            const server = await serve(newStore(), { plan });
            const expected = new Expected(bundle);
            try {
              for (const round of rounds)
                for (const one of round)
                  if ('put' in one) {
                    await put(server.port, [one.put]);
                    expected.put(one.put);
                  } else {
                    await remove(server.port, [one.remove]);
                    expected.remove(one.remove);
                  }
              await compare(server.port, expected);
            } finally {
              await server.close();
            }
          },
        ),
        { numRuns: { quick: 4, long: 30 }[FORM] },
      );
    });
});

async function compare(port: number, { vectors, items }: Expected): Promise<void> {
  const { body } = await call(port, 'POST', '/v1/embeddings', {
    user: 'nobody',
    surface: 'related',
    subject: SUBJECT,
  });
  const query = body['embedding'] as number[];
  const scores = new Map(
    [...vectors].map(([id, vector]) => [
      id,
      vector.reduce((sum, value, i) => sum + value * query[i]!, 0),
    ]),
  );
  const check = async (more: object, passes: (id: string) => boolean): Promise<void> => {
    const answered = await candidates(port, more);
    const best = [...scores].filter(([id]) => passes(id)).sort(([, a], [, b]) => b - a);
    assert.deepEqual(new Set(answered.map(({ item }) => item)), new Set(best.map(([id]) => id)));
    for (const [i, { item, score }] of answered.entries()) {
      assert.ok(Math.abs(score - scores.get(item)!) < 1e-5, item);
      if (i > 0) assert.ok(score <= answered[i - 1]!.score);
    }
    // A smaller k gives the first of the same candidates.
    const few = await candidates(port, { ...more, k: 5 });
    assert.deepEqual(few, answered.slice(0, 5));
  };
  await check({}, () => true);
  await check({ filter: { min_price: 20, max_price: 90 } }, (id) => {
    const { price } = items.get(id)!;
    return price >= 20 && price <= 90;
  });
  await check({ filter: { advertisers: { in: ['nova', 'acme'] }, countries: ['DE'] } }, (id) => {
    const { advertiser, countries } = items.get(id)!;
    const targets = countries.length === 0 || countries.includes('DE');
    return targets && (advertiser === 'nova' || advertiser === 'acme');
  });
  const capped = await candidates(port, { filter: { advertisers: { max_each: 2 } } });
  const seen = new Map<string, number>();
  for (const { item } of capped) {
    const { advertiser } = items.get(item)!;
    seen.set(advertiser, (seen.get(advertiser) ?? 0) + 1);
    if (advertiser !== '') assert.ok(seen.get(advertiser)! <= 2, advertiser);
  }
}

describe('changes of items', () => {
  it('survive a restart, also when the server is killed right after its answer', async () => {
    const store = newStore();
    for (let kill = 0; kill < KILLS; kill++) {
      const child = spawnCli(
        ['serve', '--bundles', bundles, '--store', store, '--port', '0', '--fresh-items', 'on'],
        { env: { TANDEM_LOG_LEVEL: 'info' } },
      );
      const port = await servingPort(child);
      assert.equal((await put(port, [game(`new-${kill}`)])).status, 200);
      assert.equal((await remove(port, [tinyItem(kill).id])).status, 200);
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    const server = await serve(store);
    const ids = await idsOf(server.port);
    const metrics = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
    await server.close();
    assert.match(metrics, new RegExp(`^tandem_fresh_items ${KILLS}$`, 'm'));
    assert.match(metrics, new RegExp(`^tandem_item_tombstones ${KILLS}$`, 'm'));
    for (let kill = 0; kill < KILLS; kill++) {
      assert.ok(ids.includes(`new-${kill}`));
      assert.ok(!ids.includes(tinyItem(kill).id));
    }
    assert.equal(ids.length, ITEMS);
  });

  it('are visible soon in another server on the same store', async () => {
    const store = newStore();
    const [one, other] = [await serve(store), await serve(store)];
    try {
      await put(one.port, [game('new')]);
      await put(other.port, [game('newer')]);
      await remove(other.port, [tinyItem(5).id]);
      // A server that writes also shows earlier writes of others at once. Several rounds, because
      // the regular poll may come in between by chance.
      for (let round = 0; round < 5; round++) {
        await put(one.port, [game(`before-${round}`)]);
        await put(other.port, [game(`after-${round}`)]);
        assert.ok((await idsOf(other.port)).includes(`before-${round}`));
      }
      for (const { port } of [one, other])
        await until(
          'the changes of both servers',
          async () => {
            const ids = await idsOf(port);
            return ids.includes('new') && ids.includes('newer') && !ids.includes(tinyItem(5).id);
          },
          VISIBLE_MS,
        );
    } finally {
      await Promise.all([one.close(), other.close()]);
    }
  });

  it('apply on every event loop as soon as they are answered', async () => {
    const server = await serve(newStore(), { eventLoops: 3 });
    try {
      for (let round = 0; round < 5; round++) {
        await put(server.port, [game(`new-${round}`)]);
        await remove(server.port, [tinyItem(round).id]);
        const all = await Promise.all(Array.from({ length: 20 }, () => idsOf(server.port)));
        for (const ids of all) {
          assert.ok(ids.includes(`new-${round}`));
          assert.ok(!ids.includes(tinyItem(round).id));
        }
      }
    } finally {
      await server.close();
    }
  });

  it('apply to the next bundle, except to items for which it has newer data', async () => {
    const store = newStore();
    const old = LmdbStore.open(store);
    const record = { title: 'Old', categories: [], advertiser: '', price: 1, countries: [] };
    // These changes are older than the end of the bundles' data.
    await old.writeItemChanges([
      { item: tinyItem(4).id, atSeconds: 1000, record },
      { item: 'old-news', atSeconds: 1000, record },
      { item: tinyItem(6).id, atSeconds: 1000 },
    ]);
    await old.close();
    const server = await serve(store, { adminPort: 0 });
    const { port } = server;
    try {
      await put(port, [game('new')]);
      await remove(port, [tinyItem(7).id]);
      const check = async (): Promise<number> => {
        const hits = await candidates(port);
        const ids = hits.map(({ item }) => item);
        assert.ok(ids.includes('new') && ids.includes('old-news'));
        assert.ok(!ids.includes(tinyItem(7).id) && !ids.includes(tinyItem(6).id));
        const { body } = await call(port, 'GET', `/v1/items/${tinyItem(4).id}`);
        assert.equal(body['title'], tinyItem(4).title);
        return hits.find(({ item }) => item === 'new')!.score;
      };
      const before = await check();
      const other = await call(server.adminPort!, 'POST', '/bundles/activate', {
        bundle: names[0],
      });
      assert.equal(other.status, 200, JSON.stringify(other.body));
      const next = await check();
      assert.notEqual(next, before);
      await remove(port, ['new']);
      assert.ok(!(await idsOf(port)).includes('new'));
    } finally {
      await server.close();
    }
    // Changes that every bundle already contains are forgotten, the others are not.
    const after = LmdbStore.open(store);
    const { changes } = await after.readItemChanges();
    assert.deepEqual(
      new Set(changes.map(({ item }) => item)),
      new Set(['old-news', 'new', tinyItem(6).id, tinyItem(7).id]),
    );
    await after.close();
    // The command prints rows that the next import can read.
    const { stdout } = await runCli(['items', '--store', store]);
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { item: string; categories: string[] });
    assert.deepEqual(
      rows.map(({ item }) => item),
      ['old-news'],
    );
  });

  it('need the role ingest, valid bodies and a server with freshItems on', async () => {
    const keys = join(folder, 'keys.json');
    const [web, feed] = [
      newKey({ name: 'web', role: 'candidates' }),
      newKey({ name: 'feed', role: 'ingest', requestsPerSecond: 1e-3, burst: 4 }),
    ];
    writeKeyFile(keys, [web.record, feed.record]);
    const empty = newStore();
    const server = await serve(empty, { keys });
    const { port } = server;
    const as = (key: string, method: string, body: object): Promise<Reply> =>
      call(port, method, '/v1/items', body, key);
    assert.equal((await as(web.key, 'PUT', { items: [game('a')] })).status, 403);
    assert.equal((await as(feed.key, 'PUT', { items: [] })).status, 400);
    assert.equal((await as(feed.key, 'PUT', { items: [{ id: 'a' }] })).status, 400);
    assert.equal((await as(feed.key, 'DELETE', { items: [game('a')] })).status, 400);
    const wrong = await as(feed.key, 'PUT', {
      items: [game('a', { categories: [{ category: 'games', confidence: 2 }] })],
    });
    assert.match(JSON.stringify(wrong.body), /items\.0\.categories\.0\.confidence/);
    const odd = await as(feed.key, 'PUT', {
      items: [
        game('a', { categories: [{ category: 'gmaes', confidence: 1 }] }),
        game('a'),
        game('b'),
      ],
    });
    assert.deepEqual([odd.body['changed'], odd.body['unknown_categories']], [2, ['gmaes']]);
    // Three of the four tokens are spent.
    assert.equal((await as(feed.key, 'DELETE', { items: ['a', 'b'] })).status, 429);
    const other = await call(port, 'POST', '/v1/items', {}, feed.key);
    assert.equal(other.status, 405);
    await server.close();
    const off = await serve(empty, { freshItems: 'off' });
    assert.equal((await put(off.port, [game('a')])).status, 404);
    await off.close();
  });

  it('are rejected as a whole beyond the number that a search can scan', async () => {
    const server = await serve(newStore());
    const { port } = server;
    try {
      const many = (from: number, count: number): PutItem[] =>
        Array.from({ length: count }, (_, i) => game(`x${from + i}`));
      for (let from = 0; from < 10_000; from += 1000)
        assert.equal((await put(port, many(from, 1000))).status, 200);
      const refused = await put(port, many(9999, 2));
      assert.equal(refused.status, 409, JSON.stringify(refused.body));
      assert.equal((refused.body['error'] as { code: string }).code, 'ERR_ITEMS_FULL');
      assert.equal((await call(port, 'GET', '/v1/items/x10000')).status, 404);
      // An existing item may still change, and after a delete a new one fits.
      assert.equal((await put(port, many(9999, 1))).status, 200);
      await remove(port, ['x0']);
      assert.equal((await put(port, many(10_000, 1))).status, 200);
    } finally {
      await server.close();
    }
  });
});
