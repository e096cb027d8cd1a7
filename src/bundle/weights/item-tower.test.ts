// The native item tower at every instruction set, against the published vectors of the tiny bundle
// and against tfjs on random weights. A vector must not depend on the rest of its batch, to the
// last bit.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { useBackend } from '../../backend/select.ts';
import { buildSchema } from '../../features/build-schema.ts';
import { buildItemFeatures, type ItemColumns } from '../../features/item-features.ts';
import type { FeatureSchema } from '../../features/schema.ts';
import { TwoTower } from '../../model/network/two-tower.ts';
import { nativeAddon } from '../../native/addon.ts';
import { packageRoot } from '../../package-root.ts';
import { Random } from '../../random.ts';
import type { ItemCatalogue } from '../catalogue.ts';
import { bundleItemTower, ItemTower, itemTowerWeights } from './item-tower.ts';
import { loadBundle, type Bundle } from '../load.ts';
import type { ModelConfig } from '../manifest.ts';

const TOLERANCE = 1e-5;
const isas = nativeAddon().availableIsas;

let bundle: Bundle;

before(async () => {
  await useBackend();
  bundle = await loadBundle(join(packageRoot(), 'models', 'tiny'));
});

/** All items of a catalogue, with the features that the bundle's vectors were made from. */
function columnsOf(catalogue: ItemCatalogue): ItemColumns {
  const { count, categories, categoryConfidences, prices } = catalogue;
  return {
    count,
    categoryOffsets: categories.offsets,
    categoryRows: categories.values,
    categoryConfidences,
    advertisers: Array.from({ length: count }, (_, row) => catalogue.advertiser(row)),
    prices,
  };
}

interface Item {
  /** Row of the schema or -1, and confidence; the strongest first. */
  readonly categories: readonly (readonly [number, number])[];
  readonly advertiser: string;
  readonly price: number;
}

function columns(...items: readonly Item[]): ItemColumns {
  const offsets = [0];
  for (const { categories } of items) offsets.push(offsets.at(-1)! + categories.length);
  const terms = items.flatMap(({ categories }) => categories);
  return {
    count: items.length,
    categoryOffsets: Int32Array.from(offsets),
    categoryRows: Int32Array.from(terms, ([row]) => row),
    categoryConfidences: Float32Array.from(terms, ([, confidence]) => confidence),
    advertisers: items.map(({ advertiser }) => advertiser),
    prices: items.map(({ price }) => price),
  };
}

/** Items with names that the schema has, and with others. */
function itemsOf({ categories, advertisers }: FeatureSchema): fc.Arbitrary<Item> {
  return fc.record({
    categories: fc
      .array(
        fc.tuple(
          fc.integer({ min: -1, max: categories.length - 1 }),
          fc.double({ min: 0.01, max: 1, noNaN: true }),
        ),
        { maxLength: 12 },
      )
      .map((terms) => terms.sort(([, a], [, b]) => b - a)),
    advertiser: fc.constantFrom('', 'nobody knows it', ...advertisers),
    price: fc.oneof(fc.constant(NaN), fc.double({ min: 0, max: 1e4, noNaN: true })),
  });
}

function assertNear(received: Float32Array, expected: Float32Array, context: string): void {
  assert.equal(received.length, expected.length);
  for (const [i, value] of expected.entries())
    assert.ok(
      Math.abs(received[i]! - value) <= TOLERANCE,
      `${context} at ${i}: ${received[i]!}, expected ${value}`,
    );
}

function assertUnit(vectors: Float32Array, width: number): void {
  for (let begin = 0; begin < vectors.length; begin += width) {
    const norm = Math.hypot(...vectors.subarray(begin, begin + width));
    assert.ok(Math.abs(norm - 1) < TOLERANCE, `norm ${norm} at ${begin}`);
  }
}

test('the items of a bundle get the vectors that were published with it', () => {
  const { catalogue, vectors } = bundle;
  const rows = Int32Array.from({ length: catalogue.count }, (_, row) => row);
  for (const isa of isas)
    assertNear(bundleItemTower(bundle, isa).vectors(columnsOf(catalogue), rows), vectors, isa);
});

test('an item that training never saw gets a unit vector near its own', () => {
  const { catalogue, vectors, manifest } = bundle;
  const width = manifest.model.embeddingWidth;
  const unseen = new Int32Array(catalogue.count).fill(-1);
  const received = bundleItemTower(bundle).vectors(columnsOf(catalogue), unseen);
  assertUnit(received, width);
  let cosines = 0;
  for (const [i, value] of received.entries()) cosines += value * vectors[i]!;
  assert.ok(cosines / catalogue.count > 0.9, `mean cosine ${cosines / catalogue.count}`);
});

test('a vector does not depend on the rest of the batch, to the last bit', () => {
  const { catalogue, manifest } = bundle;
  const width = manifest.model.embeddingWidth;
  for (const isa of isas) {
    const tower = bundleItemTower(bundle, isa);
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(itemsOf(bundle.schema), fc.integer({ min: -1, max: catalogue.count - 1 })),
          {
            minLength: 1,
            maxLength: 120,
          },
        ),
        fc.nat(),
        (batch, draw) => {
          const all = tower.vectors(
            columns(...batch.map(([item]) => item)),
            Int32Array.from(batch, ([, row]) => row),
          );
          assertUnit(all, width);
          const at = draw % batch.length;
          const [item, row] = batch[at]!;
          const alone = tower.vectors(columns(item), Int32Array.of(row));
          assert.deepEqual(alone, all.slice(at * width, (at + 1) * width));
        },
      ),
      { numRuns: 50 },
    );
  }
});

test('names that the schema does not know add nothing', () => {
  const tower = bundleItemTower(bundle);
  const of = (item: Item): Float32Array => tower.vectors(columns(item), Int32Array.of(-1));
  const known: Item = {
    categories: [[3, 0.5]],
    advertiser: bundle.schema.advertisers[0]!,
    price: 10,
  };
  const vector = of(known);
  const stranger: Item = {
    ...known,
    categories: [
      [-1, 0.9],
      [3, 0.5],
      [-1, 0.1],
    ],
  };
  assert.deepEqual(of(stranger), vector);
  assert.deepEqual(
    of({ ...known, advertiser: 'nobody knows it' }),
    of({ ...known, advertiser: '' }),
  );
  assert.notDeepEqual(of({ ...known, advertiser: '' }), vector);
  assert.notDeepEqual(of({ ...known, price: NaN }), vector);
  assert.equal(of({ categories: [], advertiser: '', price: NaN }).length, vector.length);
  assert.equal(tower.vectors(columns(), new Int32Array(0)).length, 0);
});

const configs = fc
  .record({
    // A vector of two or three numbers is often nearly 0 before it is normalised, which multiplies
    // rounding errors by hundreds.
    embeddingWidth: fc.integer({ min: 4, max: 70 }),
    hiddenWidth: fc.integer({ min: 1, max: 90 }),
  })
  .map((sizes): ModelConfig => ({
    ...sizes,
    fusion: 'none',
    heads: 1,
    blocks: 1,
    feedForwardWidth: 1,
    maxHistory: 2,
    actionWidth: 1,
    subjectWidth: 1,
    demographicWidth: 1,
    contextWidth: 1,
    subjectItem: false,
    historyMean: false,
  }));

/** A schema with categories, advertisers and prices, or without. */
function schemaOf(withFeatures: boolean, count: number): FeatureSchema {
  const ids = Array.from({ length: count }, (_, i) => `item-${i}`);
  return buildSchema({
    maxHistory: 2,
    actionNames: ['click'],
    itemIds: ids,
    titles: [],
    categoryNames: withFeatures ? ['a', 'b', 'c', 'd', 'e'] : [],
    advertisers: ids.map((_, i) => (withFeatures ? `advertiser-${i % 3}` : '')),
    prices: Float64Array.from(ids, (_, i) => (withFeatures ? i * i + 1 : NaN)),
    genders: [],
    countries: [],
  });
}

test('tfjs and the native tower give the same vectors, on any weights and items', async () => {
  await fc.assert(
    fc.asyncProperty(
      configs,
      fc
        .boolean()
        .map((withFeatures) => schemaOf(withFeatures, 20))
        .chain((schema) =>
          fc.tuple(
            fc.constant(schema),
            fc.array(itemsOf(schema), { minLength: 1, maxLength: 120 }),
          ),
        ),
      fc.nat(),
      async (config, [schema, batch], seed) => {
        const random = new Random(seed);
        const items = columns(...batch);
        const features = buildItemFeatures(schema, items);
        const drawn = new TwoTower(config, schema, features, { seed: random.nextUint32() });
        const weights = await drawn.weights();
        drawn.dispose();
        for (const { data } of weights.values())
          for (let i = 0; i < data.length; i++) data[i]! += 0.3 * random.normal();
        const model = new TwoTower(config, schema, features, weights);
        const expected = await model.itemVectors();
        model.dispose();
        const ids = weights.get('items.id')!.data;
        const rows = Int32Array.from(batch, (_, row) => row);
        for (const isa of isas) {
          const tower = new ItemTower(
            itemTowerWeights(weights, config, schema),
            schema,
            ids,
            () => ids,
            isa,
          );
          assertNear(tower.vectors(items, rows), expected, isa);
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('the id table is read when a row of it is first needed, and then kept', () => {
  const { catalogue, manifest, schema } = bundle;
  const tensors = bundle.tensors();
  let files = 0;
  const tower = bundleItemTower({ manifest, schema, tensors: () => (files++, tensors) });
  const one = columns({ categories: [], advertiser: '', price: 1 });
  tower.vectors(one, Int32Array.of(-1));
  assert.equal(files, 1);
  for (const row of [0, catalogue.count - 1]) tower.vectors(one, Int32Array.of(row));
  assert.equal(files, 2);
});

test('an argument that does not fit is refused by name', () => {
  const tower = bundleItemTower(bundle);
  const item: Item = { categories: [[0, 1]], advertiser: '', price: 1 };
  const { count } = bundle.catalogue;
  assert.throws(() => tower.vectors(columns(item), new Int32Array(2)), {
    name: 'RangeError',
    message: /length 1 \(items\) for idRows, received length 2/,
  });
  for (const row of [-2, count])
    assert.throws(() => tower.vectors(columns(item, item), Int32Array.of(0, row)), {
      name: 'RangeError',
      message: new RegExp(`from 0 to ${count - 1}, or -1 .* received ${row} at 1`),
    });
  const beyond: Item = { ...item, categories: [[bundle.schema.categories.length, 1]] };
  assert.throws(() => tower.vectors(columns(item, beyond), Int32Array.of(-1, -1)), {
    name: 'RangeError',
    message: /categoryRows, received \d+ at 1/,
  });
  const nowhere: Item = { ...item, categories: [[0, NaN]] };
  assert.throws(() => tower.vectors(columns(item, nowhere), Int32Array.of(-1, -1)), {
    code: 'ERR_NON_FINITE',
    message: /NaN or Inf for item 1\./,
  });
});

test('the addon refuses weights and arrays that do not fit', () => {
  const Native = nativeAddon().ItemTower;
  const weights = itemTowerWeights(bundle.tensors(), bundle.manifest.model, bundle.schema);
  assert.throws(() => new Native({ ...weights, hiddenBias: new Float32Array(1) }), {
    name: 'RangeError',
    message: /\[H\] for hiddenBias, received length 1/,
  });
  assert.throws(() => new Native({ ...weights, outputBias: weights.outputBias.map(() => NaN) }), {
    code: 'ERR_NON_FINITE',
    message: /outputBias/,
  });
  assert.throws(() => new Native({ ...weights, priceTable: [] as never }), {
    name: 'TypeError',
    message: /Expected Float32Array for priceTable, received Array/,
  });
  assert.throws(() => new Native(weights, 'sse9' as never), { name: 'RangeError', message: /isa/ });
  const native = new Native(weights);
  assert.ok(isas.includes(native.isa));
  const features = buildItemFeatures(bundle.schema, columns());
  const none = new Float32Array(0);
  assert.throws(
    () => {
      native.embed({ ...features, count: 1 }, none, none);
    },
    {
      name: 'RangeError',
      message: /\[N, D\] for idRows, received length 0/,
    },
  );
  assert.throws(
    () => {
      native.embed({ ...features, count: 2 ** 31 }, none, none);
    },
    {
      name: 'RangeError',
    },
  );
  assert.throws(
    () => {
      native.embed(features, none, [] as never);
    },
    { name: 'TypeError' },
  );
  native.embed(features, none, none);
});
