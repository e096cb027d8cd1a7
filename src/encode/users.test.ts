import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { BACKENDS } from '../backend/backends.ts';
import { probeBackend } from '../backend/select.ts';
import { makeShop, shopDataset } from '../../test/support/shop.ts';
import { TYPESCRIPT } from '../../test/support/typescript.ts';
import { loadBundle, type Bundle } from '../bundle/load.ts';
import type { Dataset } from '../data/dataset.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { packageRoot } from '../package-root.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { newStateBatch, type StateBatch } from '../store/state-batch.ts';
import { encodeUsers } from './users.ts';

// More users than one batch has, on the items of models/tiny.
const dataset = shopDataset(makeShop({ items: 120, users: 600, seed: 8 }));
const { events, users } = dataset;
const newest = Math.max(...events.times);
const DAY = 86_400;
let bundle: Bundle;
let encoder: EncoderId;

before(async () => {
  bundle = await loadBundle(join(packageRoot(), 'models', 'tiny'));
  encoder = bundle.manifest.encoderId as EncoderId;
});

function statesOf(store: MemoryStore, of: Dataset = dataset): StateBatch {
  const batch = newStateBatch(of.users.count, bundle.manifest.model.embeddingWidth);
  store.read(encoder, of.users.ids as readonly UserId[], batch);
  return batch;
}

/** Time of each user's newest event before `until`; NaN without one. */
function lastBefore(until: number): Float64Array {
  return Float64Array.from({ length: users.count }, (_, user) => {
    const own = events.times
      .subarray(events.userOffsets[user], events.userOffsets[user + 1])
      .filter((time) => time < until);
    return own.at(-1) ?? Number.NaN;
  });
}

/** A store whose second write fails. */
class FailingStore extends MemoryStore {
  #writes = 0;
  override async write(...args: Parameters<MemoryStore['write']>): Promise<void> {
    if (++this.#writes === 2) throw new Error('disk full');
    return super.write(...args);
  }
}

const probes = new Map(
  await Promise.all(BACKENDS.map(async (name) => [name, await probeBackend(name)] as const)),
);

describe('encodeUsers', () => {
  it('encodes every user with the newest event, and skips all in a second run', async () => {
    const store = new MemoryStore();
    const first = await encodeUsers({ bundle, dataset, store });
    assert.deepEqual(
      [first.active, first.encoded, first.skipped, first.unknownItemEvents],
      [users.count, users.count, 0, 0],
    );
    assert.equal(first.watermarkSeconds, newest + 1);
    assert.equal(await store.readWatermark(encoder), newest + 1);
    const states = statesOf(store);
    assert.deepEqual(states.lastEventSeconds, lastBefore(Infinity));
    const again = await encodeUsers({ bundle, dataset, store });
    assert.deepEqual([again.active, again.encoded], [0, 0]);
    assert.deepEqual(statesOf(store).encodedAtSeconds, states.encodedAtSeconds);
  });

  it('ends in the same states when it runs day by day', async () => {
    const until = newest - 3 * DAY;
    const daily = new MemoryStore();
    const early = await encodeUsers({
      bundle,
      dataset,
      store: daily,
      untilSeconds: until - 4 * DAY,
    });
    const late = await encodeUsers({ bundle, dataset, store: daily, untilSeconds: until });
    // The second job encodes only users with new events.
    assert.ok(late.encoded > 0 && late.encoded < early.encoded);
    const once = new MemoryStore();
    await encodeUsers({ bundle, dataset, store: once, untilSeconds: until });
    const [a, b] = [statesOf(daily), statesOf(once)];
    assert.deepEqual(a.lastEventSeconds, lastBefore(until));
    assert.deepEqual(a.lengths, b.lengths);
    assert.equal(a.states.length, b.states.length);
    for (let i = 0; i < a.states.length; i++)
      assert.ok(Math.abs(a.states[i]! - b.states[i]!) < 1e-5);
  });

  it('continues after the store failed, and writes the watermark only at the end', async () => {
    const store = new FailingStore();
    await assert.rejects(encodeUsers({ bundle, dataset, store }), /disk full/);
    assert.equal(await store.readWatermark(encoder), undefined);
    const left = await encodeUsers({ bundle, dataset, store });
    assert.deepEqual([left.active, left.skipped, left.encoded], [600, 512, 88]);
    const once = new MemoryStore();
    await encodeUsers({ bundle, dataset, store: once });
    assert.deepEqual(statesOf(store).states, statesOf(once).states);
  });

  it('encodes users since an explicit time again, whatever is stored', async () => {
    const store = new MemoryStore();
    await encodeUsers({ bundle, dataset, store });
    const since = newest - DAY;
    const expected = lastBefore(Infinity).filter((time) => time >= since).length;
    const { active, encoded } = await encodeUsers({ bundle, dataset, store, sinceSeconds: since });
    assert.ok(expected > 0 && expected < users.count);
    assert.deepEqual([active, encoded], [expected, expected]);
  });

  it('leaves out events of items that the bundle does not know, and counts them', async () => {
    const ids = dataset.items.ids.map((id, i) => (i % 2 === 0 ? `new-${id}` : id));
    const half: Dataset = { ...dataset, items: { ...dataset.items, ids } };
    const store = new MemoryStore();
    const report = await encodeUsers({ bundle, dataset: half, store });
    assert.equal(report.unknownItemEvents, events.items.filter((item) => item % 2 === 0).length);
    const known = Array.from({ length: users.count }, (_, user) =>
      Number(
        events.items
          .subarray(events.userOffsets[user], events.userOffsets[user + 1])
          .some((item) => item % 2 === 1),
      ),
    );
    assert.deepEqual([...statesOf(store, half).lengths], known);
    // With stored histories, the newest events of known items count as well, whatever the number of
    // events of unknown items between them.
    const kept = new MemoryStore();
    await encodeUsers({ bundle, dataset: half, store: kept, histories: true });
    assert.deepEqual(statesOf(kept, half).states, statesOf(store, half).states);
    const foreign = { ...dataset.items, ids: ids.map((id) => `other-${id}`) };
    await assert.rejects(encodeUsers({ bundle, dataset: { ...dataset, items: foreign }, store }), {
      code: 'ERR_DATASET_INVALID',
    });
  });

  for (const backend of BACKENDS)
    it(
      `gives the states of the native engine on tfjs with ${backend}, also after an interruption`,
      { skip: probes.get(backend)!.reason ?? false },
      async () => {
        const [native, tfjs] = [new MemoryStore(), new FailingStore()];
        await encodeUsers({ bundle, dataset, store: native });
        const job = { bundle, dataset, store: tfjs, engine: 'tfjs', backend } as const;
        await assert.rejects(encodeUsers(job), /disk full/);
        assert.equal(await tfjs.readWatermark(encoder), undefined);
        const left = await encodeUsers(job);
        assert.deepEqual([left.active, left.skipped, left.encoded], [600, 512, 88]);
        const [a, b] = [statesOf(native), statesOf(tfjs)];
        assert.deepEqual(a.lengths, b.lengths);
        assert.ok(a.states.some((value) => value !== 0));
        for (let i = 0; i < a.states.length; i++)
          assert.ok(
            Math.abs(a.states[i]! - b.states[i]!) < 1e-4,
            `${a.states[i]!} ${b.states[i]!}`,
          );
        // The engines round differently: identical bits would mean that one engine ran twice.
        assert.notDeepEqual(a.states, b.states);
      },
    );

  it('refuses bf16 on tfjs and a backend on the native engine', async () => {
    const job = { bundle, dataset, store: new MemoryStore() };
    for (const wrong of [
      { engine: 'tfjs', precision: 'bf16' },
      { engine: 'native', backend: 'webgpu' },
    ] as const)
      await assert.rejects(encodeUsers({ ...job, ...wrong }), { code: 'ERR_INVALID_ARGUMENT' });
  });

  it('loads nothing of tfjs', () => {
    const script = `
      import Module, { register } from 'node:module';
      const forbidden = /@tensorflow/;
      register('data:text/javascript,' + encodeURIComponent(\`
        export async function resolve(specifier, context, next) {
          if (\${forbidden}.test(specifier)) throw new Error('forbidden module ' + specifier);
          return next(specifier, context);
        }\`));
      const { makeShop, shopDataset } = await import('./test/support/shop.ts');
      const { loadBundle } = await import('./src/bundle/load.ts');
      const { encodeUsers } = await import('./src/encode/users.ts');
      const { MemoryStore } = await import('./src/store/memory-store.ts');
      const bundle = await loadBundle('models/tiny');
      const dataset = shopDataset(makeShop({ items: 120, users: 5, seed: 8 }));
      const run = (engine) => encodeUsers({ bundle, dataset, store: new MemoryStore(), engine });
      const { encoded } = await run('native');
      const refused = await run('tfjs').then(() => 'none', (error) => error.message);
      const loaded = Object.keys(Module._cache).filter((path) => forbidden.test(path));
      process.stdout.write(JSON.stringify({ encoded, refused, loaded }));
    `;
    const run = spawnSync(process.execPath, [...TYPESCRIPT, '--input-type=module', '-e', script], {
      cwd: packageRoot(),
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.equal(run.status, 0, run.stderr);
    const { encoded, refused, loaded } = JSON.parse(run.stdout) as Record<string, unknown>;
    assert.deepEqual([encoded, loaded], [5, []]);
    assert.match(String(refused), /forbidden module @tensorflow/);
  });
});
