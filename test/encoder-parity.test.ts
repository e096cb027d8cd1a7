// Batch encoding computes the same states as training: the addon's history encoder is compared with
// tfjs at every instruction set, for the tiny bundle and for random weights of any width. A state
// is the same to the last bit in any batch.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { useBackend } from '../src/backend/select.ts';
import { encoderWeights } from '../src/bundle/weights/encoder-weights.ts';
import { bundleHistoryEncoder, HistoryEncoder } from '../src/bundle/weights/history-encoder.ts';
import { loadBundle } from '../src/bundle/load.ts';
import type { ModelConfig } from '../src/bundle/manifest.ts';
import { buildSchema } from '../src/features/build-schema.ts';
import { buildItemFeatures, type ItemFeatures } from '../src/features/item-features.ts';
import { GAP_BUCKETS, type FeatureSchema } from '../src/features/schema.ts';
import type { HistoryBatch } from '../src/features/sequence.ts';
import { loadBundleModel } from '../src/model/bundle-model.ts';
import { TwoTower, type WeightMap } from '../src/model/network/two-tower.ts';
import { nativeAddon } from '../src/native/addon.ts';
import { packageRoot } from '../src/package-root.ts';
import { Random } from '../src/random.ts';
import { TYPESCRIPT } from './support/typescript.ts';

/** Relative to the largest value of a state, because single values may be near 0. */
const RELATIVE_TOLERANCE = 1e-4;
/** A relative change of a weight: 8 units in the last place of f32. */
const PERTURBATION = 2 ** -20;
const PERTURBATIONS = 3;
/** Two sums in different orders may differ as much as weights that differ by 16 * 8 = 128 units. */
const CONDITION_FACTOR = 16;
const BF16_COSINE = 0.999;
const ITEMS = 17;
const isas = nativeAddon().availableIsas;
const tinyBundle = join(packageRoot(), 'models', 'tiny');

interface World {
  readonly schema: FeatureSchema;
  readonly items: ItemFeatures;
}

/** Makes seventeen items; without features, they differ only by their ids. */
function world(maxHistory: number, withFeatures: boolean): World {
  const ids = Array.from({ length: ITEMS }, (_, i) => `item-${i}`);
  const categories = withFeatures ? ['a', 'b', 'c', 'd', 'e'] : [];
  const advertisers = ids.map((_, i) => (withFeatures ? `advertiser-${i % 3}` : ''));
  const prices = Float64Array.from(ids, (_, i) => (withFeatures && i % 4 > 0 ? i * i : NaN));
  const schema = buildSchema({
    maxHistory,
    actionNames: ['click', 'purchase'],
    itemIds: ids,
    titles: [],
    categoryNames: categories,
    advertisers,
    prices,
    genders: [],
    countries: [],
  });
  const bags = ids.map((_, i) => (withFeatures ? [i % 5, (i + 2) % 5].slice(0, i % 3) : []));
  const items = buildItemFeatures(schema, {
    count: ITEMS,
    categoryOffsets: Int32Array.from([
      0,
      ...bags.map((_, i) => bags.slice(0, i + 1).flat().length),
    ]),
    categoryRows: Int32Array.from(bags.flat()),
    categoryConfidences: Float32Array.from(bags.flat(), (_, i) => 1 / (1 + (i % 3))),
    advertisers,
    prices,
  });
  return { schema, items };
}

const configs = fc
  .record({
    heads: fc.constantFrom(1, 2, 4),
    headWidth: fc.integer({ min: 2, max: 20 }),
    blocks: fc.integer({ min: 1, max: 3 }),
    feedForwardWidth: fc.integer({ min: 1, max: 80 }),
    maxHistory: fc.integer({ min: 1, max: 60 }),
    actionWidth: fc.integer({ min: 1, max: 9 }),
    fusion: fc.constantFrom('none' as const, 'attention' as const),
    historyMean: fc.boolean(),
  })
  .map(({ heads, headWidth, ...sizes }): ModelConfig => ({
    ...sizes,
    heads,
    embeddingWidth: heads * headWidth,
    subjectWidth: 1,
    demographicWidth: 1,
    contextWidth: 1,
    hiddenWidth: 1,
    subjectItem: false,
  }));

/** Makes a model with random weights, also in biases, norms and tables. */
async function randomModel(
  config: ModelConfig,
  { schema, items }: World,
  random: Random,
): Promise<TwoTower> {
  const drawn = new TwoTower(config, schema, items, { seed: random.nextUint32() });
  const weights = await drawn.weights();
  drawn.dispose();
  for (const [name, { data }] of weights)
    if (!name.endsWith('weight'))
      for (let i = 0; i < data.length; i++) data[i]! += 0.3 * random.normal();
  return new TwoTower(config, schema, items, weights);
}

interface Rows {
  readonly items: number;
  readonly actions: number;
}

/** Makes random histories: empty ones, full ones, and lengths in between. */
function randomHistories(count: number, length: number, rows: Rows, random: Random): HistoryBatch {
  const offsets = new Int32Array(count + 1);
  for (let b = 0; b < count; b++)
    offsets[b + 1] = offsets[b]! + [0, length, random.integer(length + 1)][random.integer(3)]!;
  const draw = (bound: number): Int32Array =>
    Int32Array.from({ length: offsets[count]! }, () => random.integer(bound));
  return { offsets, items: draw(rows.items), actions: draw(rows.actions), gaps: draw(GAP_BUCKETS) };
}

/** Returns users `from` to `to` of a batch. */
function cut(
  { offsets, items, actions, gaps }: HistoryBatch,
  from: number,
  to: number,
): HistoryBatch {
  const [begin, end] = [offsets[from]!, offsets[to]!];
  return {
    offsets: offsets.subarray(from, to + 1).map((offset) => offset - begin),
    items: items.subarray(begin, end),
    actions: actions.subarray(begin, end),
    gaps: gaps.subarray(begin, end),
  };
}

/**
 * Measures how ill-conditioned a case is. A layer norm over a few nearly equal values amplifies
 * rounding errors, so a fixed tolerance would fail there.
 *
 * @returns for each user how far its state moves, at most, when every weight changes by a relative
 *   PERTURBATION.
 */
async function changesOfStates(
  config: ModelConfig,
  { schema, items }: World,
  weights: WeightMap,
  batch: HistoryBatch,
  expected: readonly Float32Array[],
  random: Random,
): Promise<number[]> {
  const changes = expected.map(() => 0);
  for (let n = 0; n < PERTURBATIONS; n++) {
    const perturbed = new Map(
      [...weights].map(([name, { shape, data }]) => [
        name,
        {
          shape,
          data: data.map((value) => value * (1 + (random.integer(2) * 2 - 1) * PERTURBATION)),
        },
      ]),
    );
    const model = new TwoTower(config, schema, items, perturbed);
    const states = await model.encodeHistories(batch);
    model.dispose();
    for (const [user, state] of states.entries())
      for (const [i, value] of state.entries())
        changes[user] = Math.max(changes[user]!, Math.abs(value - expected[user]![i]!));
  }
  return changes;
}

function assertNear(
  expected: readonly Float32Array[],
  received: readonly Float32Array[],
  rowsOf: (events: number) => number,
  width: number,
  offsets: Int32Array,
  context: string,
  changes?: readonly number[],
): void {
  assert.equal(received.length, expected.length);
  for (const [user, end] of offsets.subarray(1).entries()) {
    const events = end - offsets[user]!;
    const [a, b] = [expected[user]!, received[user]!];
    for (const state of [a, b]) assert.equal(state.length, rowsOf(events) * width);
    const largest = a.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const tolerance = Math.max(
      RELATIVE_TOLERANCE * largest,
      CONDITION_FACTOR * (changes?.[user] ?? 0),
    );
    for (const [i, value] of a.entries())
      assert.ok(
        Math.abs(value - b[i]!) <= tolerance,
        `${context}: user ${user} of ${events} events at ${i}: ${b[i]!}, tfjs ${value}`,
      );
  }
}

const newest = (events: number): number => Math.min(1, events);
const all = (events: number): number => events;

function assertSameDirection(
  expected: readonly Float32Array[],
  received: readonly Float32Array[],
  context: string,
): void {
  for (const [user, state] of expected.entries()) {
    let [product, a, b] = [0, 0, 0];
    for (const [i, value] of state.entries()) {
      const other = received[user]![i]!;
      product += value * other;
      a += value ** 2;
      b += other ** 2;
    }
    const cosine = a === 0 && b === 0 ? 1 : product / Math.sqrt(a * b);
    assert.ok(cosine > BF16_COSINE, `${context}: user ${user}: cosine ${cosine}`);
  }
}

test('tfjs and the native encoder compute the same states with any weights', async () => {
  await useBackend();
  await fc.assert(
    fc.asyncProperty(
      configs,
      fc.boolean(),
      fc.integer({ min: 0, max: 12 }),
      fc.nat(),
      async (config, withFeatures, count, seed) => {
        const random = new Random(seed);
        const drawnWorld = world(config.maxHistory, withFeatures);
        const { schema, items } = drawnWorld;
        const model = await randomModel(config, drawnWorld, random);
        // Histories that are shorter than the model's window use its last positions.
        const length = 1 + random.integer(config.maxHistory);
        const rows = { items: ITEMS, actions: schema.actions.length + 1 };
        const batch = randomHistories(count, length, rows, random);
        const expected = await model.encodeHistories(batch);
        const drawn = await model.weights();
        model.dispose();
        const changes = await changesOfStates(config, drawnWorld, drawn, batch, expected, random);
        const weights = encoderWeights(drawn, config, schema, items);
        for (const isa of isas) {
          const sequences = config.fusion === 'attention';
          const encoder = new HistoryEncoder(weights, sequences ? 'all' : 'newest', { isa });
          assertNear(
            expected,
            encoder.encode(batch),
            sequences ? all : newest,
            config.embeddingWidth,
            batch.offsets,
            isa,
            changes,
          );
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('both encoders compute the same states of the tiny bundle, in bf16 nearly', async () => {
  const bundle = await loadBundle(tinyBundle);
  const { embeddingWidth, maxHistory } = bundle.manifest.model;
  const rows = { items: bundle.catalogue.count, actions: bundle.schema.actions.length + 1 };
  const batch = randomHistories(100, maxHistory, rows, new Random(3));
  const model = await loadBundleModel(bundle);
  const expected = await model.encodeHistories(batch);
  model.dispose();
  for (const isa of isas) {
    const f32 = bundleHistoryEncoder(bundle, { isa });
    assertNear(expected, f32.encode(batch), newest, embeddingWidth, batch.offsets, isa);
    const bf16 = bundleHistoryEncoder(bundle, { isa, precision: 'bf16' });
    assertSameDirection(expected, bf16.encode(batch), isa);
  }
});

test('a state does not depend on the rest of the batch', async () => {
  const bundle = await loadBundle(tinyBundle);
  const { maxHistory } = bundle.manifest.model;
  const rows = { items: bundle.catalogue.count, actions: bundle.schema.actions.length + 1 };
  const count = 90;
  const batch = randomHistories(count, maxHistory, rows, new Random(4));
  for (const isa of isas)
    for (const precision of ['f32', 'bf16'] as const) {
      const encoder = bundleHistoryEncoder(bundle, { isa, precision });
      const expected = encoder.encode(batch);
      fc.assert(
        fc.property(
          fc
            .nat(count)
            .chain((from) => fc.tuple(fc.constant(from), fc.integer({ min: from, max: count }))),
          ([from, to]) => {
            assert.deepEqual(encoder.encode(cut(batch, from, to)), expected.slice(from, to));
          },
        ),
        { numRuns: 20 },
      );
    }
});

test('a state does not depend on the number of threads', () => {
  const script = `
    const { createHash } = await import('node:crypto');
    const { bundleHistoryEncoder } = await import('./src/bundle/weights/history-encoder.ts');
    const { loadBundle } = await import('./src/bundle/load.ts');
    const { HistoryBatchBuilder } = await import('./src/features/sequence.ts');
    const bundle = await loadBundle(${JSON.stringify(tinyBundle)});
    const { maxHistory } = bundle.manifest.model;
    const histories = new HistoryBatchBuilder(maxHistory);
    for (let b = 0; b < 300; b++) {
      const items = Array.from(
        { length: (b * 7) % (maxHistory + 1) },
        (_, i) => (b * 31 + i * 17) % bundle.catalogue.count,
      );
      const [actions, times] = [items.map(() => 0), items.map((_, i) => i)];
      histories.add({ items, actions, times }, 0, items.length);
    }
    const batch = histories.batch();
    const states = bundleHistoryEncoder(bundle).encode(batch);
    process.stdout.write(createHash('sha256').update(Buffer.from(states[0].buffer)).digest('hex'));
  `;
  const digests = ['1', '2', '5'].map((threads) => {
    const run = spawnSync(process.execPath, [...TYPESCRIPT, '--input-type=module', '-e', script], {
      cwd: packageRoot(),
      encoding: 'utf8',
      timeout: 60_000,
      env: { ...process.env, TANDEM_THREADS: threads },
    });
    assert.equal(run.status, 0, run.stderr);
    return run.stdout;
  });
  assert.match(digests[0]!, /^[0-9a-f]{64}$/);
  assert.deepEqual(new Set(digests).size, 1);
});
