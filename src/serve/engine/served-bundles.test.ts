// Bundles that change while requests run: what is answered from which, what is refused, and that no
// state ever meets another encoder's items.

import assert from 'node:assert/strict';
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { FORM } from '../../../test/support/form.ts';
import { publishTinyBundle, tinyItem } from '../../../test/support/tiny-bundle.ts';
import { until } from '../../../test/support/until.ts';
import { activateBundle, rollbackBundle } from '../../bundle/current.ts';
import { loadBundle } from '../../bundle/load.ts';
import type { EncoderId, UserId } from '../../ids.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import { CANDIDATES } from '../answer/endpoints.ts';
import { Engine } from './engine.ts';
import { ServerMetrics } from '../metrics/metrics.ts';
import { Pipeline } from '../pipeline.ts';
import { ServedBundles } from './served-bundles.ts';

interface Body {
  readonly bundle_id: string;
  readonly state: { readonly status: string };
  readonly degraded: { readonly mode: string; readonly reason: string } | null;
  readonly plan: string;
  readonly candidates: readonly { readonly item: string; readonly score: number }[];
}

const ITEMS = 60;
const OPTIONS = {
  maxMicroBatch: 16,
  maxQueue: 1000,
  staleAfterSeconds: 3600,
  requestTimeoutMs: 10_000,
  canaryEvery: 1000,
};
const SUBJECT = { subject: { item: tinyItem(3).id } };
const root = mkdtempSync(join(tmpdir(), 'tandem-served-'));
/** Three models over one catalogue, the last of them with more items. */
const published: { name: string; bundleId: string; encoderId: EncoderId; alone: Pipeline }[] = [];
const store = new MemoryStore();

/** States of encoder i alone: user `only-i`; of all: `everywhere`. */
async function fill(encoderId: EncoderId, i: number, width: number): Promise<void> {
  const state = Float32Array.from({ length: width }, (_, d) => Math.sin((i + 1) * (d + 1)));
  await store.write(
    encoderId,
    [`only-${i}`, 'everywhere'].map((user) => ({
      user: user as UserId,
      state: {
        state,
        dimensions: width,
        type: 'f32' as const,
        lastEventSeconds: 1,
        encodedAtSeconds: Date.now() / 1000,
      },
    })),
  );
}

before(async () => {
  for (const [i, items] of [ITEMS, ITEMS, ITEMS + 5].entries()) {
    const { bundleId, directory } = await publishTinyBundle(root, { items, seed: i + 1 });
    const engine = await Engine.open(await loadBundle(directory), 'auto');
    await fill(engine.encoderId, i, engine.width);
    published.push({
      name: basename(directory),
      bundleId,
      encoderId: engine.encoderId,
      alone: pipelineOf({ served: { active: engine, previous: undefined } }),
    });
  }
});
after(() => {
  rmSync(root, { recursive: true });
});

function pipelineOf(bundles: ConstructorParameters<typeof Pipeline>[0]): Pipeline {
  return new Pipeline(bundles, store, new ServerMetrics(), OPTIONS);
}

async function ask(pipeline: Pipeline, user: string, more: object = {}): Promise<Body> {
  const body = { user, surface: 'related', k: 7, ...more };
  return JSON.parse(
    (await pipeline.answer(CANDIDATES, () => body, 'r', { aborted: false })).body,
  ) as Body;
}

/** A directory of bundles of its own, with the first bundle current. */
function ownDirectory(): string {
  const directory = mkdtempSync(join(root, 'own-'));
  for (const { name } of published)
    cpSync(join(root, name), join(directory, name), { recursive: true });
  activateBundle(directory, published[0]!.name);
  return directory;
}

async function openAt(
  directory: string,
): Promise<{ bundles: ServedBundles; metrics: ServerMetrics }> {
  const metrics = new ServerMetrics();
  return { metrics, bundles: await ServedBundles.open(directory, 'auto', metrics) };
}

const refusals = async (metrics: ServerMetrics): Promise<number> => {
  const text = await metrics.registry.metrics();
  return Number(/tandem_bundle_swaps_total\{outcome="refused"\} (\d+)/.exec(text)?.[1] ?? 0);
};

test('the previous bundle answers a user whose state was made by its encoder', async () => {
  const { bundles } = await openAt(ownDirectory());
  const pipeline = pipelineOf(bundles);
  await bundles.activate(published[1]!.name);
  const [old, fresh, everywhere, nobody] = await Promise.all(
    ['only-0', 'only-1', 'everywhere', 'nobody'].map((user) => ask(pipeline, user, SUBJECT)),
  );
  assert.equal(old!.bundle_id, published[0]!.bundleId);
  assert.deepEqual(old!.degraded, {
    mode: 'previous-bundle',
    reason: 'state_of_previous_encoder',
  });
  assert.deepEqual(old!.candidates, (await ask(published[0]!.alone, 'only-0', SUBJECT)).candidates);
  for (const body of [fresh!, everywhere!, nobody!]) {
    assert.equal(body.bundle_id, published[1]!.bundleId);
    assert.equal(body.degraded, null);
  }
  assert.equal(nobody!.state.status, 'missing');
});

test('a subject that the bundle before does not know is answered without that state', async () => {
  const { bundles } = await openAt(ownDirectory());
  await bundles.activate(published[2]!.name);
  const body = await ask(pipelineOf(bundles), 'only-0', { subject: { item: tinyItem(ITEMS).id } });
  assert.equal(body.bundle_id, published[2]!.bundleId);
  assert.equal(body.state.status, 'version_mismatch');
  assert.deepEqual(body.degraded, { mode: 'context-only', reason: 'version_mismatch' });
});

test('across activations and rollbacks, an answer comes from one bundle', async () => {
  const step = fc.oneof(
    fc.constantFrom(0, 1, 2).map((i) => ({ activate: i })),
    fc.constant('rollback' as const),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 5 }), async (steps) => {
      const { bundles } = await openAt(ownDirectory());
      const pipeline = pipelineOf(bundles);
      const users = ['only-0', 'only-1', 'only-2', 'everywhere', 'nobody'];
      const asked: Promise<void>[] = [];
      const check = async (user: string): Promise<void> => {
        const body = await ask(pipeline, user, SUBJECT);
        const from = published.find(({ bundleId }) => bundleId === body.bundle_id)!;
        const expected = await ask(from.alone, user, SUBJECT);
        assert.deepEqual(body.candidates, expected.candidates);
        assert.equal(body.state.status, expected.state.status);
      };
      for (const todo of steps) {
        asked.push(...users.map(check));
        // Refused where nothing was current before: the served bundle stays.
        if (todo === 'rollback') await bundles.rollback().catch(() => undefined);
        else await bundles.activate(published[todo.activate]!.name);
        asked.push(...users.map(check));
      }
      await Promise.all(asked);
    }),
    { numRuns: { quick: 5, long: 50 }[FORM] },
  );
});

test('a damaged bundle is refused; the old one stays active and current', async () => {
  const directory = ownDirectory();
  const { bundles, metrics } = await openAt(directory);
  await bundles.activate(published[1]!.name);
  appendFileSync(join(directory, published[2]!.name, 'vectors.safetensors'), 'x');
  await assert.rejects(bundles.activate(published[2]!.name), { code: 'ERR_BUNDLE_INVALID' });
  await assert.rejects(bundles.activate('nobody'), { code: 'ERR_BUNDLE_NOT_FOUND' });
  await assert.rejects(bundles.activate('../escape'), { code: 'ERR_BUNDLE_NOT_FOUND' });
  const { active, previous } = bundles.served;
  assert.equal(active.bundle.manifest.bundleId, published[1]!.bundleId);
  assert.equal(previous?.bundle.manifest.bundleId, published[0]!.bundleId);
  assert.equal(
    (await ServedBundles.open(directory, 'auto', metrics)).served.active.encoderId,
    active.encoderId,
  );
  assert.match(
    await metrics.registry.metrics(),
    /tandem_bundle_swaps_total\{outcome="refused"\} 1/,
  );
});

test('a rollback takes the engine in memory, by whatever path the bundles were named', async () => {
  const { bundles } = await openAt(relative(process.cwd(), ownDirectory()));
  const first = bundles.served.active;
  assert.equal(await bundles.activate(published[0]!.name), first);
  assert.equal(bundles.served.previous, undefined);
  const second = await bundles.activate(published[1]!.name);
  assert.equal(await bundles.rollback(), first);
  assert.deepEqual(bundles.served, { active: first, previous: second });
});

test('a refused bundle is tried again once current has named another one', async () => {
  const directory = ownDirectory();
  const { bundles, metrics } = await openAt(directory);
  const [first, second, third] = [published[0]!, published[1]!, published[2]!];
  const served = (): string => bundles.served.active.bundle.manifest.bundleId;
  const goldens = join(directory, second.name, 'goldens.json');
  const bytes = readFileSync(goldens);
  bundles.follow(10);
  appendFileSync(goldens, 'x');
  activateBundle(directory, second.name);
  await until('a refusal', async () => (await refusals(metrics)) === 1);
  assert.equal(served(), first.bundleId);
  writeFileSync(goldens, bytes);
  activateBundle(directory, third.name);
  await until('the third bundle', () => served() === third.bundleId);
  activateBundle(directory, second.name);
  await until('the second bundle', () => served() === second.bundleId);
  await bundles.close();
});

test('a server follows current, wherever it was changed, and passes a bad bundle by', async () => {
  const directory = ownDirectory();
  const { bundles, metrics } = await openAt(directory);
  const served = (): string => bundles.served.active.bundle.manifest.bundleId;
  bundles.follow(10);
  activateBundle(directory, published[1]!.name);
  await until('the second bundle', () => served() === published[1]!.bundleId);
  appendFileSync(join(directory, published[2]!.name, 'goldens.json'), 'x');
  activateBundle(directory, published[2]!.name);
  await until('a refusal', async () => (await refusals(metrics)) === 1);
  assert.equal(served(), published[1]!.bundleId);
  rollbackBundle(directory);
  rollbackBundle(directory);
  await until('the first bundle', () => served() === published[0]!.bundleId);
  await bundles.close();
});

test('after a restart the bundle before is there again for the users it knows', async () => {
  const directory = ownDirectory();
  activateBundle(directory, published[1]!.name);
  const { bundles } = await openAt(directory);
  assert.equal((await ask(pipelineOf(bundles), 'only-0', SUBJECT)).state.status, 'missing');
  await bundles.restorePrevious();
  const body = await ask(pipelineOf(bundles), 'only-0', SUBJECT);
  assert.equal(body.bundle_id, published[0]!.bundleId);
});

test('without state and context, the answer is popular items of the country', async () => {
  const { alone } = published[0]!;
  const { catalogue } = await loadBundle(join(root, published[0]!.name));
  const targets = (item: string, country: string): boolean => {
    const countries = catalogue.targetCountries(catalogue.row(item));
    return countries.length === 0 || countries.includes(country);
  };
  const filter = { max_price: 40, exclude_items: [tinyItem(2).id] };
  const body = await ask(alone, 'nobody', { demographics: { country: 'DE' }, filter, k: 100 });
  assert.equal(body.plan, 'popular');
  assert.deepEqual(body.degraded, { mode: 'popular', reason: 'no_history_no_context' });
  const expected = catalogue.ids
    .all()
    .filter((id, row) => catalogue.price(row) <= 40 && targets(id, 'DE') && id !== tinyItem(2).id)
    .sort(
      (a, b) => catalogue.popularity[catalogue.row(b)]! - catalogue.popularity[catalogue.row(a)]!,
    );
  assert.deepEqual(
    body.candidates.map(({ item }) => item),
    expected,
  );
  const capped = { ...filter, advertisers: { max_each: 1 } };
  const advertisers = (await ask(alone, 'nobody', { filter: capped, k: 100 })).candidates.map(
    ({ item }) => catalogue.advertiser(catalogue.row(item)),
  );
  assert.equal(new Set(advertisers).size, advertisers.length);
  for (const more of [SUBJECT, { demographics: { age: 30 } }])
    assert.notEqual((await ask(alone, 'nobody', more)).plan, 'popular');
  assert.notEqual((await ask(alone, 'only-0')).plan, 'popular');
});
