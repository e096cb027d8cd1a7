import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  earlierShop,
  makeShop,
  SHOP_START,
  SHOP_TEST_FROM,
  SHOP_TRAINING,
  shopDataset,
} from '../../../test/support/shop.ts';
import { useBackend } from '../../backend/select.ts';
import { encoderId, headId, itemTowerId } from '../../bundle/identity.ts';
import type { ModelConfig } from '../../bundle/manifest.ts';
import type { Dataset } from '../../data/dataset.ts';
import { oneShard } from '../../data/shards.ts';
import { timeCutSplit } from '../../data/splits.ts';
import { ContextFeatures } from '../../features/context.ts';
import { HeadBatchBuilder } from '../../features/head-batch.ts';
import { buildItemFeatures } from '../../features/item-features.ts';
import { schemaHash, type FeatureSchema } from '../../features/schema.ts';
import { HistoryBatchBuilder } from '../../features/sequence.ts';
import { Random } from '../../random.ts';
import { loadCheckpoint, loadTrainingState, modelOf, type Checkpoint } from './checkpoint.ts';
import { initialWeights } from '../network/initial-weights.ts';
import { rowMaps } from '../network/row-maps.ts';
import { train, type TrainOptions } from './train.ts';
import type { TrainConfig } from '../train-config.ts';
import { TextColumn } from '../../text-column.ts';
import { TwoTower, type WeightMap } from '../network/two-tower.ts';
import { startingWeights, type OpenStart } from './warm-start.ts';
import { tensorSpecs } from '../network/weights.ts';

const root = mkdtempSync(join(tmpdir(), 'tandem-warm-'));
after(() => {
  rmSync(root, { recursive: true });
});
const folder = (): string => mkdtempSync(join(root, 'run-'));

const DAY = 86_400;
const EARLIER = SHOP_START + 40 * DAY;
const shop = makeShop({ items: 64, users: 60, seed: 3 });
const dataset = { ...shopDataset(shop), digest: 'now' };
const earlier = { ...shopDataset(earlierShop(shop, 48, EARLIER)), digest: 'earlier' };
const SHORT: TrainConfig = { ...SHOP_TRAINING, steps: 4, validateEvery: 2, usersPerStep: 8 };
/** Adam's steps are about as large as the learning rate; steps of this size vanish in f32. */
const STILL: TrainConfig = { ...SHORT, steps: 1, learningRate: 1e-30, warmupSteps: 0 };

function run(
  of: Dataset,
  until: number,
  config: TrainConfig,
  options: Partial<TrainOptions> = {},
): Promise<Checkpoint> {
  return train({
    shards: oneShard(of),
    trainingEnds: (shard) => timeCutSplit(shard, until),
    config,
    directory: folder(),
    ...options,
  });
}

function modelWith(fusion: ModelConfig['fusion']): ModelConfig {
  return { ...SHORT.model, fusion };
}

/** Runs on the earlier shop, by fusion. */
const starts = new Map<ModelConfig['fusion'], Checkpoint>();
before(async () => {
  await useBackend();
  for (const fusion of ['none', 'concat', 'attention'] as const)
    starts.set(fusion, await run(earlier, EARLIER, { ...SHORT, model: modelWith(fusion) }));
});
const startOf = (fusion: ModelConfig['fusion'] = 'concat'): Checkpoint => starts.get(fusion)!;
const from = (start: Checkpoint, headOnly = false): Pick<TrainOptions, 'start'> => ({
  start: { directory: start.directory, headOnly },
});

/**
 * A vocabulary or catalogue that has changed: some names are gone, some are new, the order differs.
 */
function changed(names: readonly string[], random: Random): string[] {
  const kept = names.filter(() => random.uniform() < 0.8);
  const added = Array.from({ length: 1 + random.integer(3) }, (_, i) => `new ${i}`);
  return random.shuffle([...kept, ...added]);
}

interface World {
  readonly schema: FeatureSchema;
  readonly itemIds: readonly string[];
}

/**
 * Items whose features depend on their id only, so that an item has the same features in every
 * world that knows their names.
 */
function modelIn({ schema, itemIds }: World, model: ModelConfig, weights: WeightMap): TwoTower {
  const of = <T>(names: readonly T[], id: string): T =>
    names[new Random(id.length, hash(id)).integer(names.length)]!;
  const features = buildItemFeatures(schema, {
    count: itemIds.length,
    categoryOffsets: Int32Array.from({ length: itemIds.length + 1 }, (_, i) => i),
    categoryRows: Int32Array.from(itemIds, (id) => schema.categories.indexOf(of(CATEGORIES, id))),
    categoryConfidences: new Float32Array(itemIds.length).fill(1),
    advertisers: itemIds.map((id) => of(ADVERTISERS, id)),
    prices: itemIds.map((id) => of(PRICES, id)),
  });
  return new TwoTower(model, schema, features, weights);
}

function hash(text: string): number {
  return Buffer.from(text).reduce((sum, byte) => (Math.imul(sum, 31) + byte) | 0, 7);
}

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${i}`);
const CATEGORIES = numbered('category', 6);
const ADVERTISERS = ['', ...numbered('advertiser', 4)];
const PRICES = [Number.NaN, 3, 15, 40];
const OLD: World = {
  schema: {
    version: 1,
    maxHistory: SHORT.model.maxHistory,
    actions: ['buy', 'look', 'put'],
    categories: CATEGORIES,
    // A category and an n-gram with the same spelling.
    queryNgrams: ['category1', '^ab', 'abc', 'bcd', 'c$'],
    maxSubjectCategories: 5,
    ageBounds: [0, 18, 40],
    countries: ['DE', 'FR', 'US'],
    genders: ['f', 'm'],
    advertisers: ADVERTISERS.slice(1),
    priceBounds: [1, 10, 30],
    catalogueDigest: '',
  },
  itemIds: numbered('item', 12),
};

function changedWorld(seed: number): World {
  const random = new Random(seed);
  const { schema, itemIds } = OLD;
  const other = (names: readonly string[]): string[] => changed(names, random);
  return {
    schema: {
      ...schema,
      actions: other(schema.actions),
      categories: other(schema.categories),
      queryNgrams: other(schema.queryNgrams),
      countries: other(schema.countries),
      genders: other(schema.genders),
      advertisers: other(schema.advertisers),
      // Like the quantiles of another catalogue: each bound moves a little, but no tested price
      // changes its band.
      priceBounds: schema.priceBounds.map((bound) => bound + random.uniform()),
    },
    itemIds: other(itemIds),
  };
}

function openStart(model: ModelConfig, weights: WeightMap): OpenStart {
  return {
    identity: { digest: 'ab'.repeat(32), headOnly: false },
    checkpoint: {
      settings: { config: { ...SHORT, model } },
      schema: OLD.schema,
      catalogue: { ids: TextColumn.of(OLD.itemIds) },
      weights,
    } as unknown as Checkpoint,
  };
}

/** Weights like those of a trained model: none has its first value. */
function trainedWeights(model: ModelConfig): WeightMap {
  const weights = initialWeights(tensorSpecs(model, OLD.schema, OLD.itemIds.length), 1);
  const random = new Random(2);
  for (const { data } of weights.values())
    for (let i = 0; i < data.length; i++) data[i]! += 0.3 * random.normal();
  return weights;
}

function near(a: Float32Array, b: Float32Array): void {
  assert.equal(a.length, b.length);
  for (let i = 0; i < a.length; i++)
    assert.ok(Math.abs(a[i]! - b[i]!) < 1e-5, `at ${i}: ${a[i]!} and ${b[i]!}`);
}

describe('weights carried to another schema', () => {
  for (const fusion of ['none', 'concat', 'attention'] as const)
    it(`answer the same about names that both have, fusion ${fusion}`, async () => {
      const model = modelWith(fusion);
      const weights = trainedWeights(model);
      const old = modelIn(OLD, model, weights);
      const width = model.embeddingWidth;
      let compared = 0;
      await fc.assert(
        fc.asyncProperty(fc.nat(), async (seed) => {
          const random = new Random(seed, 1);
          const world = changedWorld(seed);
          const { schema, itemIds } = world;
          const carried = modelIn(
            world,
            model,
            startingWeights(openStart(model, weights), model, schema, itemIds, 5),
          );
          // An item's features count as shared if the new schema names them.
          const shared = OLD.itemIds.filter((id) => {
            const row = itemIds.indexOf(id);
            if (row < 0) return false;
            const there = OLD.itemIds.indexOf(id);
            const { items } = carried;
            return (
              items.categoryOffsets[row + 1]! > items.categoryOffsets[row]! &&
              (items.advertiserRows[row] === 0) === (old.items.advertiserRows[there] === 0)
            );
          });
          const vectorOf = (of: TwoTower, vectors: Float32Array, id: string): Float32Array => {
            const row = (of === old ? OLD : world).itemIds.indexOf(id);
            return vectors.subarray(row * width, (row + 1) * width);
          };
          const [before, after] = [await old.itemVectors(), await carried.itemVectors()];
          for (const id of shared) near(vectorOf(carried, after, id), vectorOf(old, before, id));
          compared += shared.length;

          const action = random.integer(4);
          const known = (names: readonly string[], all: readonly string[]): string[] =>
            all.filter((name) => names.includes(name));
          const interests = known(schema.categories, CATEGORIES).map((category, i) => ({
            category,
            confidence: 0.2 + 0.1 * i,
          }));
          const country = known(schema.countries, OLD.schema.countries)[0];
          const gender = known(schema.genders, OLD.schema.genders)[0];
          const names = ['', ...OLD.schema.actions];
          const knownAction = schema.actions.includes(names[action]!) ? names[action]! : '';
          const answer = async (
            of: TwoTower,
            { schema: mine, itemIds: ids }: World,
          ): Promise<Float32Array> => {
            const history = new HistoryBatchBuilder(model.maxHistory);
            const columns = {
              items: shared.map((id) => ids.indexOf(id)),
              actions: shared.map(() => mine.actions.indexOf(knownAction) + 1),
              times: shared.map((_, i) => 3600 * i),
            };
            history.add(columns, 0, shared.length);
            const [state] = await of.encodeHistories(history.batch());
            const features = new ContextFeatures(mine);
            const builder = new HeadBatchBuilder(width, 3, fusion === 'attention');
            const mine3 = features.demographicRows({ age: 20, country, gender });
            const bag = features.interestBag(interests.slice(0, 4));
            builder.add(shared.length === 0 ? undefined : state, 0.3, bag, mine3);
            const ngrams = OLD.schema.queryNgrams.filter((n) => schema.queryNgrams.includes(n));
            const rows = ngrams.map((n) => mine.categories.length + mine.queryNgrams.indexOf(n));
            builder.add(undefined, 0, { rows, weights: rows.map(() => 1) }, [0, 0, 0]);
            builder.add(undefined, 0, { rows: [], weights: [] }, mine3);
            return await of.embedQueries(builder.batch());
          };
          near(await answer(carried, world), await answer(old, OLD));
          carried.dispose();
        }),
        { numRuns: 25 },
      );
      assert.ok(compared > 50, `${compared}`);
      old.dispose();
    });

  it('leave new rows as drawn: small, and from no row of the start', () => {
    const model = modelWith('concat');
    const weights = initialWeights(tensorSpecs(model, OLD.schema, OLD.itemIds.length), 5);
    const itemIds = [...numbered('new item', 4), ...OLD.itemIds];
    const carried = startingWeights(openStart(model, weights), model, OLD.schema, itemIds, 5);
    const width = model.embeddingWidth;
    const fresh = carried.get('items.id')!.data.subarray(0, 4 * width);
    const old = weights.get('items.id')!.data;
    assert.ok(fresh.every((value) => value !== 0 && Math.abs(value) < 0.2));
    assert.ok(fresh.every((value) => !old.includes(value)));
    assert.deepEqual(carried.get('items.id')!.data.subarray(4 * width), old);
    // Tables whose rows come from no vocabulary are copied as a whole.
    assert.deepEqual(carried.get('tower.hiddenWeight'), weights.get('tower.hiddenWeight'));
  });

  it('take a band of prices from the one that begins nearest to it', () => {
    const rowsOf = (bounds: readonly number[]): number[] => [
      ...rowMaps(OLD, { ...OLD, schema: { ...OLD.schema, priceBounds: bounds } }).get(
        'items.price',
      )!,
    ];
    assert.deepEqual(rowsOf([1, 10, 30]), [0, 1, 2, 3]);
    assert.deepEqual(rowsOf([0.5, 9, 31, 500]), [0, 1, 2, 3, 3]);
    const none = { ...OLD, schema: { ...OLD.schema, priceBounds: [] } };
    assert.deepEqual([...rowMaps(none, OLD).get('items.price')!], [0, -1, -1, -1]);
  });

  it('go from a fusion to a richer one, which keeps states and item vectors', () => {
    const weights = trainedWeights(modelWith('none'));
    const model = modelWith('concat');
    const { schema, itemIds } = OLD;
    const carried = startingWeights(
      openStart(modelWith('none'), weights),
      model,
      schema,
      itemIds,
      5,
    );
    const ids = (of: WeightMap, config: ModelConfig): string[] => [
      encoderId(of, config, 'schema'),
      itemTowerId(of, config, 'schema'),
    ];
    assert.deepEqual(ids(carried, model), ids(weights, modelWith('none')));
    // The head reads the state with the same weights as before; only their columns have moved.
    const attention = startingWeights(
      openStart(modelWith('none'), weights),
      modelWith('attention'),
      schema,
      itemIds,
      5,
    );
    const old = weights.get('head.skipWeight')!;
    const width = model.embeddingWidth;
    for (const [wider, at] of [
      [carried, 0],
      [attention, width],
    ] as const) {
      const { shape, data } = wider.get('head.skipWeight')!;
      for (let row = 0; row < width; row++)
        assert.deepEqual(
          data.subarray(row * shape[1]! + at, row * shape[1]! + at + width),
          old.data.subarray(row * width, (row + 1) * width),
        );
    }
  });
});

describe('a warm start', () => {
  it('answers as the run that it began with, before it learns', async () => {
    for (const fusion of ['none', 'concat', 'attention'] as const) {
      const { weights } = await run(
        earlier,
        EARLIER,
        { ...STILL, model: modelWith(fusion) },
        from(startOf(fusion)),
      );
      assert.deepEqual(weights, startOf(fusion).weights);
    }
  });

  it('carries what it knows to a larger catalogue, and learns there', async () => {
    const { weights, catalogue, settings } = await run(
      dataset,
      SHOP_TEST_FROM,
      STILL,
      from(startOf()),
    );
    const width = SHORT.model.embeddingWidth;
    const { data } = weights.get('items.id')!;
    const old = startOf();
    for (const [row, id] of old.catalogue.ids.all().entries())
      assert.deepEqual(
        data.subarray(catalogue.row(id) * width, (catalogue.row(id) + 1) * width),
        old.weights.get('items.id')!.data.subarray(row * width, (row + 1) * width),
      );
    assert.equal(catalogue.count, 64);
    assert.match(settings.start!.digest, /^[0-9a-f]{64}$/);
    const learned = await run(dataset, SHOP_TEST_FROM, SHORT, from(startOf()));
    assert.notDeepEqual(learned.weights, weights);
  });

  it('that is killed continues and ends in the same bytes, with the same start alone', async () => {
    const calm = await run(dataset, SHOP_TEST_FROM, SHORT, from(startOf()));
    const directory = folder();
    let calls = 0;
    const dying = {
      directory,
      validate: () => {
        if (++calls === 2) throw new Error('killed');
        return calls;
      },
    };
    await assert.rejects(
      run(dataset, SHOP_TEST_FROM, SHORT, { ...dying, ...from(startOf()) }),
      /killed/,
    );
    assert.equal(loadTrainingState(directory)!.step, 2);
    const other = await run(earlier, EARLIER, { ...SHORT, seed: 2 });
    for (const [options, says] of [
      [{}, /start: found .*digest.*wanted nothing/],
      [from(other), /start\.digest: found "[0-9a-f]{64}", wanted "[0-9a-f]{64}"/],
    ] as const)
      await assert.rejects(run(dataset, SHOP_TEST_FROM, SHORT, { directory, ...options }), {
        code: 'ERR_CHECKPOINT_INVALID',
        message: says,
      });
    const ended = await run(dataset, SHOP_TEST_FROM, SHORT, { directory, ...from(startOf()) });
    assert.deepEqual(ended.weights, calm.weights);
    assert.deepEqual(loadCheckpoint(directory).settings, calm.settings);
  });

  it('is refused where layers differ, and says which', async () => {
    for (const [model, says] of [
      [{ blocks: 2 }, /blocks: found 1, wanted 2/],
      [{ heads: 4 }, /heads: found 2, wanted 4/],
      [{ contextWidth: 12 }, /contextWidth: found 8, wanted 12/],
      [{ fusion: 'none' }, /fusion: found "concat", wanted "none"/],
    ] as const) {
      const directory = folder();
      const config = { ...SHORT, model: { ...SHORT.model, ...model } };
      await assert.rejects(
        run(dataset, SHOP_TEST_FROM, config, { ...from(startOf()), directory }),
        {
          code: 'ERR_CHECKPOINT_INVALID',
          message: says,
        },
      );
      // The folder is still free for the intended run.
      await run(dataset, SHOP_TEST_FROM, STILL, { directory });
    }
    // A run without context has none of these layers.
    const wider = { ...STILL, model: { ...modelWith('concat'), contextWidth: 12 } };
    await run(dataset, SHOP_TEST_FROM, wider, from(startOf('none')));
  });

  it('is refused where the start has seen what is held out', async () => {
    const seen = {
      code: 'ERR_CHECKPOINT_INVALID',
      message: /has seen events until 2026-02-.*search/,
    };
    await assert.rejects(run(dataset, EARLIER - 5 * DAY, STILL, from(startOf())), seen);
    // In another dataset the same events can be held out from another time on.
    const trainingEnds = (): Int32Array =>
      earlier.events.userOffsets.slice(1).map((end) => end - 1);
    await assert.rejects(run(earlier, EARLIER, STILL, { ...from(startOf()), trainingEnds }), seen);
  });
});

describe('a head alone', () => {
  const cases: Readonly<Record<string, Partial<TrainConfig>>> = {
    full: {},
    'sampled, learned temperature, attention': {
      loss: {
        kind: 'sampled',
        inBatch: true,
        negatives: 16,
        unigramShare: 0.5,
        hardNegatives: 8,
        logQ: 'negativesOnly',
      },
      learnTemperature: true,
      model: modelWith('attention'),
    },
    'bce, from history alone to context': {
      loss: { kind: 'bce', negatives: 16, unigramShare: 0, hardNegatives: 0, calibration: 0.75 },
    },
  };
  for (const [name, settings] of Object.entries(cases))
    it(`changes headId and no other id: ${name}`, async () => {
      const config = { ...SHORT, ...settings };
      const old = startOf(name.startsWith('bce') ? 'none' : config.model.fusion);
      const {
        weights,
        schema,
        settings: own,
      } = await run(earlier, EARLIER, config, from(old, true));
      const was = old.settings.config.model;
      assert.equal(schemaHash(schema), old.settings.schemaHash);
      assert.equal(
        encoderId(weights, config.model, own.schemaHash),
        encoderId(old.weights, was, own.schemaHash),
      );
      assert.equal(
        itemTowerId(weights, config.model, own.schemaHash),
        itemTowerId(old.weights, was, own.schemaHash),
      );
      assert.notEqual(
        headId(weights, config.model, own.schemaHash),
        headId(old.weights, was, own.schemaHash),
      );
      assert.equal(own.start!.headOnly, true);
    });

  it('gives its states and item vectors, bit for bit', async () => {
    const learned = await run(earlier, EARLIER, SHORT, from(startOf(), true));
    const [old, now] = [modelOf(startOf()), modelOf(learned)];
    assert.deepEqual(await now.itemVectors(), await old.itemVectors());
    old.dispose();
    now.dispose();
  });

  it('is refused with another vocabulary, other states, or another start', async () => {
    const refused = (message: RegExp): object => ({ code: 'ERR_CHECKPOINT_INVALID', message });
    await assert.rejects(
      run(dataset, SHOP_TEST_FROM, STILL, from(startOf(), true)),
      refused(/schema.*catalogueDigest: found .*wanted .*Train without --head-only/),
    );
    await assert.rejects(
      run(earlier, EARLIER, { ...STILL, model: modelWith('attention') }, from(startOf(), true)),
      refused(/stateRows: found 1, wanted 8/),
    );
    await assert.rejects(
      run(earlier, EARLIER, { ...STILL, gapFeature: false }, from(startOf(), true)),
      refused(/gapFeature: found true, wanted false/),
    );
    const directory = folder();
    await run(earlier, EARLIER, STILL, { ...from(startOf(), true), directory });
    await assert.rejects(
      run(earlier, EARLIER, STILL, { ...from(startOf()), directory }),
      refused(/start\.headOnly: found true, wanted false/),
    );
  });
});
