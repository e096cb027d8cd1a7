import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { readDataset } from '../data/read-dataset.ts';
import { Auction, openWorldDelivery } from './auction.ts';
import { Catalogue } from './catalogue.ts';
import { generateWorld } from './generate.ts';
import { checkWorldSize, parseWorldName, SLOTS, TEST_FROM, worldName } from './law.ts';
import { Population } from './population.ts';
import { DOMAIN, RandomStream, uniformAt } from './random.ts';
import { selfCheckWorld } from './self-check.ts';
import { LEAVES } from './taxonomy.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-world-'));
after(() => {
  rmSync(folder, { recursive: true, force: true });
});
const seeds = fc.integer({ min: 0, max: 0xffffffff });

describe('random streams', () => {
  it('restart at an address, whatever was drawn before', () => {
    fc.assert(
      fc.property(seeds, fc.nat(), fc.nat(300), (seed, index, draws) => {
        const stream = new RandomStream(seed, DOMAIN.user, 7);
        for (let i = 0; i < draws; i++) stream.normal();
        stream.restart(seed, DOMAIN.item, index);
        const fresh = new RandomStream(seed, DOMAIN.item, index);
        for (let i = 0; i < 8; i++) assert.equal(stream.normal(), fresh.normal());
      }),
      { numRuns: 50 },
    );
  });

  it('are uniform and unrelated between neighbouring addresses', () => {
    const count = 20_000;
    const draw = (index: number, kind: number): number =>
      kind === 0
        ? new RandomStream(3, DOMAIN.user, index).uniform()
        : uniformAt(3, DOMAIN.pacing, index, 1);
    for (const kind of [0, 1]) {
      let sum = 0;
      let product = 0;
      for (let i = 0; i < count; i++) {
        sum += draw(i, kind);
        product += (draw(i, kind) - 0.5) * (draw(i + 1, kind) - 0.5);
      }
      // Five standard errors: 1/sqrt(12 n) for the mean, 1/(12 sqrt(n)) for the lag product.
      assert.ok(Math.abs(sum / count - 0.5) < 5 / Math.sqrt(12 * count));
      assert.ok(Math.abs(product / count) < 5 / (12 * Math.sqrt(count)));
    }
  });
});

describe('catalogue', () => {
  it('has ids that permute the items, and leaves that cover them', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1_000, max: 5_000 }), (seed, count) => {
        const catalogue = new Catalogue(seed, count);
        const ids = new Set<string>();
        for (let item = 0; item < count; item++) {
          const id = catalogue.idOf(item);
          ids.add(id);
          assert.equal(catalogue.itemOf(id), item);
        }
        assert.equal(ids.size, count);
        assert.equal(catalogue.leafOffsets[LEAVES.length], count);
        for (let leaf = 0; leaf < LEAVES.length; leaf++) {
          assert.ok(catalogue.leafSize(leaf) >= 8);
          assert.equal(catalogue.leafOf(catalogue.leafOffsets[leaf]!), leaf);
          assert.equal(catalogue.leafOf(catalogue.leafOffsets[leaf + 1]! - 1), leaf);
        }
      }),
      { numRuns: 10 },
    );
    assert.equal(new Catalogue(1, 1_000).itemOf('item-99999999'), -1);
    assert.equal(new Catalogue(1, 1_000).itemOf('shoe'), -1);
  });

  it('describes an item the same way at every call, with descending confidences in (0, 1]', () => {
    fc.assert(
      fc.property(seeds, fc.nat(999), (seed, item) => {
        const catalogue = new Catalogue(seed, 1_000);
        const description = catalogue.describe(item);
        assert.deepEqual(catalogue.describe(item), description);
        assert.ok(description.categories.length > 0);
        for (const [row, confidence] of description.confidences.entries())
          assert.ok(
            confidence > 0 && confidence <= (row === 0 ? 1 : description.confidences[row - 1]!),
          );
        assert.ok(description.price > 0 && description.bid > 0);
      }),
      { numRuns: 30 },
    );
  });
});

describe('population', () => {
  it('for any seed leaks no subject, offers every positive, and keeps times in order', () => {
    fc.assert(
      fc.property(seeds, fc.nat(1_000_000), (seed, user) => {
        const catalogue = new Catalogue(seed, 1_500);
        const { profile, sessions } = new Population(catalogue).simulate(user);
        assert.ok(sessions.length > 0);
        assert.ok(profile.interests.length >= 2 && profile.interests.length <= 4);
        assert.equal(new Set(profile.interests).size, profile.interests.length);
        let latest = 0;
        const known = new Set(profile.interests);
        for (const session of sessions) {
          assert.ok(session.time > latest);
          assert.equal(session.differs, !known.has(session.leaf));
          known.add(session.leaf);
          assert.ok(session.positives.length >= 1 && session.positives.length <= 4);
          assert.equal(new Set(session.positives).size, session.positives.length);
          assert.ok(!session.positives.includes(session.subject));
          assert.equal(session.subject < 0, session.query !== '');
          for (const item of session.positives) {
            assert.equal(catalogue.leafOf(item), session.leaf);
            assert.ok(catalogue.offeredIn(item, profile.country));
          }
          for (const time of session.conversionTimes) {
            assert.ok(time > session.time);
            latest = time;
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('gives a user the same life, whichever users were simulated before', () => {
    const catalogue = new Catalogue(5, 1_500);
    const busy = new Population(catalogue);
    for (let user = 0; user < 50; user++) busy.simulate(user);
    assert.deepEqual(busy.simulate(77), new Population(catalogue).simulate(77));
    assert.notDeepEqual(busy.simulate(78), busy.simulate(77));
  });

  it('draws from leaves too large to enumerate', () => {
    const catalogue = new Catalogue(5, 200_000);
    const population = new Population(catalogue);
    const { profile } = population.simulate(0);
    const stream = new RandomStream(5, DOMAIN.sample, 1);
    const leaf = catalogue.leafRanks.indexOf(0);
    for (let i = 0; i < 50; i++) {
      const drawn = population.sampler.drawItems(stream, profile, leaf, 5, new Set());
      assert.equal(new Set(drawn).size, 5);
      for (const item of drawn) assert.equal(catalogue.leafOf(item), leaf);
    }
  });
});

describe('auction', () => {
  it('gives slots to the best candidates of all generators, and charges at most their bids', () => {
    fc.assert(
      fc.property(seeds, fc.nat(10_000), (seed, user) => {
        const population = new Population(new Catalogue(seed, 1_000));
        const auction = new Auction(population);
        const { profile, sessions } = population.simulate(user);
        for (const session of sessions.slice(0, 5)) {
          const rivalsOnly = auction.run(user, profile, session, []);
          const same = auction.run(user, profile, session, rivalsOnly.won);
          assert.deepEqual(same.won, rivalsOnly.won);
          assert.ok(same.survived.every((bit) => bit === 1));
          assert.ok(same.won.length <= SLOTS && !same.won.includes(session.subject));
          const limit = same.won.reduce(
            (sum, item, row) => sum + population.catalogue.bids[item]! * same.relevances[row]!,
            0,
          );
          assert.ok(same.spend >= 0 && same.spend <= limit * (1 + 1e-9));
        }
      }),
      { numRuns: 20 },
    );
  });
});

describe('generateWorld', () => {
  const generate = (users: number, seed: number, name: string): ReturnType<typeof generateWorld> =>
    generateWorld({
      users,
      items: 1_000,
      seed,
      outputDirectory: join(folder, name),
      keepRaw: true,
    });

  it('gives the same digest for the same sizes and seed, another for another seed', async () => {
    const first = await generate(40, 9, 'first');
    const second = await generate(40, 9, 'second');
    const other = await generate(40, 10, 'other');
    assert.equal(second.digest, first.digest);
    assert.notEqual(other.digest, first.digest);
    assert.equal(first.simulation, true);
    assert.equal(first.counts.items, 1_000);
    assert.equal(first.counts.users, 40);
  });

  it('writes the bytes that earlier versions wrote', async () => {
    // Published results name a world by its sizes and seed, so its data never changes.
    await generate(40, 1, 'pinned');
    const digests = Object.fromEntries(
      ['events.csv', 'users.csv', 'requests.ndjson', 'items.ndjson'].map((file) => [
        file,
        createHash('sha256')
          .update(readFileSync(join(folder, 'pinned-raw', file)))
          .digest('hex'),
      ]),
    );
    assert.deepEqual(digests, {
      'events.csv': '19e171617e367b530dc41c5c3c15eda58781959cff95fc244c9788c14fb5eb7e',
      'users.csv': '38014dec584e903029e989b3e9f53c18b4db04eca217fc00c01211873d0ef3ca',
      'requests.ndjson': '89242d5702e9c0a6e60ad1d6ba5b30a11a3d343e740e8bf3feb2390f60be1931',
      'items.ndjson': 'abc96878914d61996feed33380ba46fdca8e8ae8d35b738ac077fa34b553a5dd',
    });
  });

  it('streams: the events of a user do not depend on the number of users', async () => {
    await generate(15, 9, 'few');
    await generate(40, 9, 'many');
    for (const file of ['events.csv', 'users.csv', 'requests.ndjson', 'items.ndjson']) {
      const few = readFileSync(join(folder, 'few-raw', file), 'utf8');
      const many = readFileSync(join(folder, 'many-raw', file), 'utf8');
      assert.ok(many.startsWith(few), file);
    }
  });

  it('survives the import, and its auction opens from the dataset', async () => {
    await generate(60, 11, 'imported');
    const dataset = await readDataset(join(folder, 'imported'));
    assert.equal(dataset.testFrom, TEST_FROM);
    assert.deepEqual(dataset.events.actionNames, ['add_to_cart', 'purchase']);
    const delivery = openWorldDelivery(dataset)!;
    const tested = dataset.requests.filter(({ time }) => time >= TEST_FROM);
    assert.ok(tested.length > 0);
    for (const request of tested) {
      assert.ok(['intent-differs', 'intent-same'].includes(request.slice));
      if (request.subject.kind === 'item')
        assert.ok(!request.positives.includes(request.subject.item));
      else assert.equal(request.subject.kind, 'query');
      const outcome = delivery.deliver(request, request.delivered);
      assert.deepEqual(
        [...outcome.delivered].sort((a, b) => a - b),
        [...request.delivered].sort((a, b) => a - b),
      );
      assert.ok(outcome.relevances.every((relevance) => relevance > 0 && relevance <= 0.5));
    }
    assert.equal(openWorldDelivery({ ...dataset, name: 'shop' }), undefined);
  });
});

describe('names and sizes', () => {
  it('a world is opened by its name', () => {
    const size = { users: 10, items: 1_000, seed: 4 };
    assert.deepEqual(parseWorldName(worldName(size)), size);
    assert.equal(parseWorldName('online-retail'), undefined);
  });

  it('refuses sizes out of range', () => {
    for (const items of [999, 1_000.5, Number.NaN, 1e9])
      assert.throws(() => {
        checkWorldSize({ users: 10, items, seed: 1 });
      }, /for items of the synthetic world/);
  });
});

describe('self-check', () => {
  it('passes on small worlds of several seeds', () => {
    for (const seed of [1, 2]) {
      const report = selfCheckWorld({ users: 1_000, items: 2_500, seed });
      assert.deepEqual(
        report.tests.filter(({ passed }) => !passed),
        [],
      );
      assert.ok(report.passed);
      assert.match(report.notice, /Simulation/);
    }
  });
});
