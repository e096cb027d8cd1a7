// What the pipeline decides by itself: micro-batches, refusals, and that one bad request or record
// fails alone.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { publishTinyBundle, tinyItem } from '../../test/support/tiny-bundle.ts';
import { loadBundle } from '../bundle/load.ts';
import { TandemError, type ErrorCode } from '../errors.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { MemoryStore } from '../store/memory-store.ts';
import type { StateBatch } from '../store/state-batch.ts';
import { ApiKeys } from './admission/api-keys.ts';
import { CANDIDATES } from './answer/endpoints.ts';
import { Engine } from './engine/engine.ts';
import { ServerMetrics } from './metrics/metrics.ts';
import { Pipeline } from './pipeline.ts';

interface Body {
  readonly state: { readonly status: string; readonly age_seconds: number | null };
  readonly degraded: { readonly reason: string } | null;
  readonly explain: { readonly batch_size: number };
  readonly candidates: readonly { readonly item: string }[];
}

class DamagedStore extends MemoryStore {
  readonly batches: number[] = [];

  override read(encoderId: EncoderId, users: readonly UserId[], out: StateBatch): void {
    this.batches.push(users.length);
    if (users.includes('damaged' as UserId))
      throw new TandemError('ERR_STORE_CORRUPT', 'Expected a checksum that fits.');
    super.read(encoderId, users, out);
  }
}

const folder = mkdtempSync(join(tmpdir(), 'tandem-pipeline-'));
const present = { aborted: false };
let engine: Engine;
let store: DamagedStore;

before(async () => {
  await publishTinyBundle(folder, { items: 100 });
  engine = await Engine.open(await loadBundle(folder), 'auto');
  store = new DamagedStore();
  const entries = ['a', 'b'].map((user, i) => ({
    user: user as UserId,
    state: {
      state: new Float32Array(engine.width).fill(i + 1),
      dimensions: engine.width,
      type: 'f32' as const,
      lastEventSeconds: 1,
      encodedAtSeconds: 1000,
    },
  }));
  await store.write(engine.encoderId, entries);
});
after(() => {
  rmSync(folder, { recursive: true });
});

const everybody = new ApiKeys(undefined).anonymous;

function newPipeline(maxQueue = 100): Pipeline {
  const options = {
    maxMicroBatch: 8,
    maxQueue,
    staleAfterSeconds: 3600,
    requestTimeoutMs: 10_000,
    canaryEvery: 1000,
  };
  const bundles = { served: { active: engine, previous: undefined } };
  return new Pipeline(bundles, store, new ServerMetrics(), options);
}

async function ask(pipeline: Pipeline, user: string, more: object = {}): Promise<Body> {
  const body = { user, surface: 'related', k: 5, explain: true, ...more };
  const answer = await pipeline.answer(CANDIDATES, () => body, 'r', present);
  return JSON.parse(answer.body) as Body;
}

function code(expected: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof TandemError && error.code === expected;
}

test('requests of one turn share micro-batches of at most the limit', async () => {
  const pipeline = newPipeline();
  store.batches.length = 0;
  const users = Array.from({ length: 19 }, (_, i) => `u${i}`);
  const answers = await Promise.all(users.map((user) => ask(pipeline, user)));
  assert.deepEqual(store.batches, [8, 8, 3]);
  assert.equal(answers[0]!.explain.batch_size, 8);
  assert.equal(answers[18]!.explain.batch_size, 3);
  await new Promise(setImmediate);
  assert.equal(pipeline.admission.open, 0);
});

test('requests that arrive during a search form the next micro-batch', async () => {
  const pipeline = newPipeline();
  const { index } = engine;
  const searches: { readonly count: number; readonly go: () => void }[] = [];
  const gated: Pick<typeof index, 'search'> = {
    search: async (queries, count, ...rest) => {
      await new Promise<void>((go) => searches.push({ count, go }));
      return index.search(queries, count, ...rest);
    },
  };
  Object.defineProperty(engine, 'index', { value: gated });
  try {
    const first = ask(pipeline, 'a');
    while (searches.length === 0) await new Promise(setImmediate);
    const later: Promise<Body>[] = [];
    // A turn of the event loop each: the loop goes on while the search does.
    for (let i = 0; i < 10; i++) {
      later.push(ask(pipeline, 'b'));
      await new Promise(setImmediate);
    }
    assert.deepEqual(
      searches.map(({ count }) => count),
      [1],
    );
    for (let search = 0; search < 3; search++) {
      while (searches.length <= search) await new Promise(setImmediate);
      searches[search]!.go();
    }
    assert.equal((await first).explain.batch_size, 1);
    await Promise.all(later);
    assert.deepEqual(
      searches.map(({ count }) => count),
      [1, 8, 2],
    );
  } finally {
    Object.defineProperty(engine, 'index', { value: index });
  }
});

test('answers that take long to write let others have their turn between them', async () => {
  const pipeline = newPipeline();
  let turns = 0;
  const seen: number[] = [];
  const slow: typeof CANDIDATES = {
    ...CANDIDATES,
    encode: (of, parts) => {
      seen.push(turns);
      for (const endMs = performance.now() + 3; performance.now() < endMs;);
      return CANDIDATES.encode(of, parts);
    },
  };
  const count = (): void => {
    turns++;
    if (seen.length < 8) setImmediate(count);
  };
  setImmediate(count);
  const body = { user: 'a', surface: 'related', k: 5 };
  await Promise.all(
    Array.from({ length: 8 }, () => pipeline.answer(slow, () => body, 'r', present)),
  );
  assert.equal(new Set(seen).size, 8, String(seen));
});

test('a damaged record degrades its own user only', async () => {
  const pipeline = newPipeline();
  const [a, damaged, b] = await Promise.all(
    ['a', 'damaged', 'b'].map((user) => ask(pipeline, user)),
  );
  assert.equal(damaged!.degraded?.reason, 'store_corrupt');
  assert.equal(a!.degraded, null);
  assert.equal(a!.state.status, 'stale');
  assert.notEqual(b!.state.status, 'missing');
  assert.deepEqual(a!.candidates, (await ask(pipeline, 'a')).candidates);
});

test('a request that fails does not fail its micro-batch', async () => {
  const pipeline = newPipeline();
  const results = await Promise.allSettled([
    ask(pipeline, 'a'),
    ask(pipeline, 'a', { subject: { item: 'nothing' } }),
    ask(pipeline, 'a', { k: -1 }),
    ask(pipeline, 'b'),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected', 'fulfilled'],
  );
});

test('a micro-batch that native code refuses runs again one by one', async () => {
  const pipeline = newPipeline();
  const { head } = engine;
  // A plain object in the head's place: methods of native objects cannot be replaced.
  const refusing = {
    isa: head.isa,
    embed(batch: Parameters<typeof head.embed>[0], out: Float32Array): void {
      if (batch.hasState.includes(0)) throw new Error('refused');
      head.embed(batch, out);
    },
  };
  Object.defineProperty(engine, 'head', { value: refusing });
  const results = await Promise.allSettled([ask(pipeline, 'a'), ask(pipeline, 'unknown')]);
  Object.defineProperty(engine, 'head', { value: head });
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  );
});

test('a cap on advertisers keeps the best of each, and looks as far as it takes', async () => {
  const pipeline = newPipeline();
  const advertiserOf = (item: string): string => tinyItem(Number(item.slice(5))).advertiser;
  const all = (await ask(pipeline, 'a', { k: 100 })).candidates.map(({ item }) => item);
  const advertisers = new Set(all.map(advertiserOf)).size;
  for (const [maxEach, k] of [
    [1, 3],
    [2, 100],
    [10, 25],
    [1000, 100],
  ] as const) {
    const filter = { advertisers: { max_each: maxEach } };
    const { candidates } = await ask(pipeline, 'a', { k, filter });
    const expected = all.filter((item, i) => {
      const better = all.slice(0, i).filter((other) => advertiserOf(other) === advertiserOf(item));
      return better.length < maxEach;
    });
    assert.deepEqual(
      candidates.map(({ item }) => item),
      expected.slice(0, k),
    );
    assert.equal(candidates.length, Math.min(k, advertisers * maxEach, all.length));
  }
});

test('the watermark of the last job makes a quiet user fresh', async () => {
  const pipeline = newPipeline();
  pipeline.setWatermark(engine.encoderId, Date.now() / 1000 - 60);
  const { state } = await ask(pipeline, 'a');
  assert.equal(state.status, 'fresh');
  assert.ok(Math.abs(state.age_seconds! - 60) <= 2);
});

test('a full queue and a stopping server refuse before any work', async () => {
  const pipeline = newPipeline(2);
  pipeline.admission.admit(2, everybody);
  assert.throws(() => {
    pipeline.admission.admit(3, everybody);
  }, code('ERR_OVERLOADED'));
  const pending = ask(pipeline, 'a', { subject: { item: tinyItem(1).id } });
  assert.throws(() => {
    pipeline.admission.admit(2, everybody);
  }, code('ERR_OVERLOADED'));
  assert.equal(pipeline.admission.refuseAll(1), undefined);
  const second = ask(pipeline, 'a', { subject: { item: tinyItem(2).id } });
  assert.ok(code('ERR_OVERLOADED')(pipeline.admission.refuseAll(1)));
  pipeline.admission.drain();
  assert.equal(pipeline.admission.refuseAll(1), undefined);
  assert.throws(() => {
    pipeline.admission.admit(1, everybody);
  }, code('ERR_DRAINING'));
  assert.equal((await second).candidates.length, 5);
  assert.equal((await pending).candidates.length, 5);
});
