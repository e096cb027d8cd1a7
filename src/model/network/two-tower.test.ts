import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { makeShop, SHOP_TRAINING, shopDataset } from '../../../test/support/shop.ts';
import { useBackend } from '../../backend/select.ts';
import { tf } from '../../backend/tf.ts';
import { buildCatalogue } from '../../bundle/catalogue.ts';
import { catalogueItemFeatures } from '../../bundle/weights/item-features.ts';
import type { ModelConfig } from '../../bundle/manifest.ts';
import { TandemError } from '../../errors.ts';
import { buildSchema } from '../../features/build-schema.ts';
import { ContextFeatures, NO_SUBJECT, type SubjectBag } from '../../features/context.ts';
import { HeadBatchBuilder, type HeadBatch } from '../../features/head-batch.ts';
import { itemBoosts } from '../../features/item-frequency.ts';
import { HistoryBatchBuilder, type HistoryBatch } from '../../features/sequence.ts';
import { Random } from '../../random.ts';
import { distinctItems } from './ragged-histories.ts';
import { TwoTower } from './two-tower.ts';

const LENGTH = 32;
const ITEMS = 40;
const config: ModelConfig = { ...SHOP_TRAINING.model, maxHistory: LENGTH, blocks: 2 };
const width = config.embeddingWidth;
const dataset = shopDataset(makeShop({ items: ITEMS, users: 4, seed: 1 }));
const schema = buildSchema({
  maxHistory: LENGTH,
  actionNames: dataset.events.actionNames,
  itemIds: dataset.items.ids,
  titles: dataset.items.titles,
  categoryNames: dataset.items.categoryNames,
  advertisers: dataset.items.advertisers,
  prices: dataset.items.prices,
  genders: dataset.users.genders,
  countries: dataset.users.countries,
});
const features = new ContextFeatures(schema);
const items = catalogueItemFeatures(
  schema,
  buildCatalogue(dataset.items, schema.categories, new Float32Array(ITEMS)),
);

let model: TwoTower;
let historyOnly: TwoTower;
let attentive: TwoTower;
before(async () => {
  await useBackend();
  model = new TwoTower(config, schema, items, { seed: 1 });
  historyOnly = new TwoTower({ ...config, fusion: 'none' }, schema, items, { seed: 1 });
  attentive = new TwoTower({ ...config, fusion: 'attention' }, schema, items, { seed: 1 });
});
after(() => {
  model.dispose();
  historyOnly.dispose();
  attentive.dispose();
});

interface Event {
  readonly item: number;
  readonly action: number;
  readonly time: number;
}
const event = fc.record({
  item: fc.nat(ITEMS - 1),
  action: fc.nat(2),
  time: fc.integer({ min: 0, max: 1e7 }),
});
const history = (minLength: number, maxLength = 40): fc.Arbitrary<Event[]> =>
  fc.array(event, { minLength, maxLength }).map((events) => events.sort((a, b) => a.time - b.time));

function batchOf(histories: readonly (readonly Event[])[], length = LENGTH): HistoryBatch {
  const batch = new HistoryBatchBuilder(length);
  for (const events of histories)
    batch.add(
      {
        items: events.map(({ item }) => item),
        actions: events.map(({ action }) => action),
        times: events.map(({ time }) => time),
      },
      0,
      events.length,
    );
  return batch.batch();
}

/** The state of one history. */
async function stateOf(tower: TwoTower, events: readonly Event[]): Promise<Float32Array> {
  return (await tower.encodeHistories(batchOf([events])))[0]!;
}

/** Hidden states of every event, [L, D]. */
function hidden(events: readonly Event[]): Float32Array {
  return tf.tidy(() =>
    model
      .encode(model.itemInputs(), batchOf([events]))
      .dataSync<'float32'>()
      .slice(),
  );
}

function near(a: Float32Array, b: Float32Array, tolerance = 1e-5): void {
  assert.equal(a.length, b.length);
  for (let i = 0; i < a.length; i++)
    assert.ok(Math.abs(a[i]! - b[i]!) <= tolerance, `at ${i}: ${a[i]!} and ${b[i]!}`);
}

const UNKNOWN: readonly [number, number, number] = [0, 0, 0];

function headBatch(
  rows: readonly {
    state?: Float32Array;
    age?: number;
    subject?: SubjectBag;
    demographics?: readonly [number, number, number];
  }[],
  sequences = false,
): HeadBatch {
  const builder = new HeadBatchBuilder(width, rows.length, sequences);
  for (const { state, age = 0, subject = NO_SUBJECT, demographics = UNKNOWN } of rows)
    builder.add(state, age, subject, demographics);
  return builder.batch();
}

describe('history encoder', () => {
  it('is causal: a later event changes no earlier hidden state, bit for bit', () => {
    fc.assert(
      fc.property(history(2, LENGTH), fc.nat(), event, (events, at, other) => {
        const changed = at % events.length;
        // The same time, so that only the features of this event change.
        const others = events.with(changed, { ...other, time: events[changed]!.time });
        const before = hidden(events);
        const after = hidden(others);
        const place = changed * width;
        assert.deepEqual(after.subarray(0, place), before.subarray(0, place));
        const { item, action } = events[changed]!;
        if (item !== other.item || action !== other.action)
          assert.notDeepEqual(
            after.subarray(place, place + width),
            before.subarray(place, place + width),
          );
      }),
      { numRuns: 20 },
    );
  });

  it('looks at every event of the window, and at none before it', async () => {
    const events = Array.from({ length: 40 }, (_, i) => ({
      item: i % ITEMS,
      action: 1,
      time: i * 1000,
    }));
    const state = (list: readonly Event[]): Promise<Float32Array> => stateOf(model, list);
    const whole = await state(events);
    for (let at = 0; at < events.length; at++) {
      const changed = await state(events.with(at, { ...events[at]!, item: (at + 1) % ITEMS }));
      if (at < events.length - LENGTH) assert.deepEqual(changed, whole);
      else assert.notDeepEqual(changed, whole);
    }
  });

  it('gives a user the same state wherever and with whomever they are in a batch', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(history(0), { minLength: 2, maxLength: 6 }), async (histories) => {
        const together = await model.encodeHistories(batchOf(histories));
        const backwards = await model.encodeHistories(batchOf(histories.toReversed()));
        for (const [row, events] of histories.entries()) {
          near(together[row]!, await stateOf(model, events));
          near(together[row]!, backwards[histories.length - 1 - row]!);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('gives the same state from a shorter window when the history fits it', async () => {
    await fc.assert(
      fc.asyncProperty(history(1, 6), async (events) => {
        near((await model.encodeHistories(batchOf([events], 6)))[0]!, await stateOf(model, events));
      }),
      { numRuns: 20 },
    );
  });

  it('gives the same states in several blocks as in one', async () => {
    const random = new Random(6);
    const histories = Array.from({ length: 515 }, (_, user) =>
      Array.from({ length: user % 4 }, (_, i) => ({
        item: random.integer(ITEMS),
        action: 1,
        time: i * 100,
      })),
    );
    const batch = batchOf(histories, 4);
    const states = await model.encodeHistories(batch);
    for (const row of [0, 1, 510, 511, 512, 514])
      near(states[row]!, (await model.encodeHistories(batchOf([histories[row]!], 4)))[0]!);
  });

  it('gives empty histories no state, and no NaN anywhere', async () => {
    const histories = [[], [{ item: 1, action: 1, time: 5 }], []];
    for (const tower of [model, attentive]) {
      const states = await tower.encodeHistories(batchOf(histories));
      assert.deepEqual(
        states.map((state) => state.length),
        [0, width, 0],
      );
      assert.ok(states[1]!.every((value) => Number.isFinite(value) && value !== 0));
    }
    assert.equal(hidden([]).length, 0);
    assert.equal((await model.encodeHistories(batchOf([]))).length, 0);
  });
});

describe('states of fusion attention', () => {
  it('are those of all events of the window, each as if it were the newest', async () => {
    await fc.assert(
      fc.asyncProperty(history(1), async (events) => {
        const [state] = await attentive.encodeHistories(batchOf([events]));
        const kept = Math.min(LENGTH, events.length);
        assert.equal(state!.length, kept * width);
        near(state!.subarray(-width), await stateOf(model, events));
        // Positions count from the newest event, so an earlier state has the position that its
        // event has in this history.
        near(state!, hidden(events));
      }),
      { numRuns: 20 },
    );
  });
});

describe('fusion attention in training', () => {
  it('answers an example as serving answers it from the states up to its own', async () => {
    const examples = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(5)), {
      minLength: 1,
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(history(0), { minLength: 1, maxLength: 4 }),
        examples,
        async (histories, drawn) => {
          const batch = batchOf(histories);
          const states = await attentive.encodeHistories(batch);
          const rows = drawn.map(([user, place, category]) => {
            const at = user % histories.length;
            const first = batch.offsets[at]!;
            const events = batch.offsets[at + 1]! - first;
            // Now and then a cold start, also of a user with a history.
            const seen = events === 0 ? 0 : place % (events + 1);
            const subject = features.categoryBag([category], [1]);
            return { at, newest: seen === 0 ? -1 : first + seen - 1, seen, subject };
          });
          const served = headBatch(
            rows.map(({ at, seen, subject }) =>
              seen === 0 ? { subject } : { subject, state: states[at]!.subarray(0, seen * width) },
            ),
            true,
          );
          const trained = tf.tidy(() =>
            attentive
              .fuse(
                {
                  hidden: attentive.encode(attentive.itemInputs(), batch),
                  offsets: batch.offsets,
                  histories: Int32Array.from(rows, ({ at }) => at),
                  newest: Int32Array.from(rows, ({ newest }) => newest),
                },
                served,
              )
              .dataSync<'float32'>()
              .slice(),
          );
          near(trained, await attentive.embedQueries(served), 1e-4);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('reads every event of a sequence', async () => {
    const events = Array.from({ length: 5 }, (_, i) => ({ item: i, action: 1, time: 100 * i }));
    const [state] = await attentive.encodeHistories(batchOf([events]));
    const ask = async (rows: Float32Array): Promise<Float32Array> =>
      await attentive.embedQueries(headBatch([{ state: rows }], true));
    for (let place = 0; place < events.length; place++) {
      const changed = state!.slice();
      for (let i = place * width; i < (place + 1) * width; i++) changed[i]! *= -1;
      assert.notDeepEqual(ask(changed), ask(state!));
    }
  });
});

describe('itemFrequency', () => {
  it('is two numbers more and no other: everything else is drawn as without', async () => {
    const [plain, counting] = [config, { ...config, itemFrequency: true }].map(
      (settings) => new TwoTower(settings, schema, items, { seed: 4 }),
    );
    const [without, weights] = [await plain!.weights(), await counting!.weights()];
    assert.equal(await plain!.frequencyWeights(), undefined);
    const own = [...weights.keys()].filter((name) => !without.has(name));
    assert.deepEqual(own, ['encoder.frequencyWeight', 'encoder.frequencyGain']);
    for (const [name, tensor] of without) assert.deepEqual(weights.get(name), tensor);
    for (const tower of [plain!, counting!]) tower.dispose();
  });

  it('adds in training what serving adds', async () => {
    const tower = new TwoTower({ ...config, itemFrequency: true }, schema, items, { seed: 4 });
    const counts = Float64Array.of(0.01, 1, 7, 250);
    const { boosts } = itemBoosts(
      { items: Int32Array.of(0, 1, 2, 3), counts },
      (await tower.frequencyWeights())!,
    );
    const trained = tf.tidy(() => tower.frequencyBoost(Float32Array.from(counts)).dataSync());
    near(Float32Array.from(trained), boosts);
    tower.dispose();
  });
});

describe('historyMean', () => {
  it('adds a map of the mean of what a user has had to every state', async () => {
    const meanConfig: ModelConfig = { ...config, historyMean: true, fusion: 'attention' };
    const drawn = new TwoTower(meanConfig, schema, items, { seed: 4 });
    const weights = await drawn.weights();
    drawn.dispose();
    // The Transformer adds nothing, and the map permutes the axes.
    weights.get('encoder.norm.scale')!.data.fill(0);
    const map = weights.get('encoder.meanWeight')!.data.fill(0);
    for (let i = 0; i < width; i++) map[i * width + (width - 1 - i)] = 1;
    const tower = new TwoTower(meanConfig, schema, items, weights);
    const inputs = tf.tidy(() => tower.itemInputs().dataSync<'float32'>().slice());
    await fc.assert(
      fc.asyncProperty(history(1, LENGTH), async (events) => {
        const states = await stateOf(tower, events);
        const sum = new Float64Array(width);
        for (const [t, { item }] of events.entries()) {
          for (let i = 0; i < width; i++) sum[i]! += inputs[item * width + i]!;
          const mean = Float32Array.from(sum, (value) => value / (t + 1)).reverse();
          near(states.subarray(t * width, (t + 1) * width), mean);
        }
      }),
    );
    // In training a share of the events is left out as a whole, and the others count for more.
    const rate = 0.75;
    const events = Array.from({ length: LENGTH }, (_, i) => ({ item: i, action: 1, time: i }));
    const sums = tf.tidy(() => {
      const noise = { random: new Random(5), encoderRate: rate, contextRate: 0, headRate: 0 };
      return tower
        .encode(tower.itemInputs(), batchOf([events]), noise)
        .mul(tf.range(1, LENGTH + 1).expandDims(1))
        .dataSync<'float32'>()
        .slice();
    });
    let missing = 0;
    for (let t = 0; t < LENGTH; t++) {
      const row = (at: number): Float32Array => sums.slice(at * width, (at + 1) * width).reverse();
      const added = t === 0 ? row(0) : row(t).map((value, i) => value - row(t - 1)[i]!);
      const item = inputs.subarray(t * width, (t + 1) * width);
      const dropped = added.every((value) => Math.abs(value) < 1e-5);
      if (dropped) missing++;
      else
        near(
          added,
          item.map((value) => value / (1 - rate)),
          1e-4,
        );
    }
    assert.ok(missing > 0 && missing < LENGTH, `${missing} of ${LENGTH}`);
    tower.dispose();
  });
});

describe('head', () => {
  const state = Float32Array.from({ length: width }, (_, i) => Math.sin(i));
  const subject = features.categoryBag([2, 3], [1, 0.5]);

  it('drops what its hidden layer reads, in training, and nothing of the linear path', async () => {
    const weights = await model.weights();
    const batch = headBatch([{ state, subject, age: 0.5 }]);
    const noise = { random: new Random(3), encoderRate: 0, contextRate: 0, headRate: 0.5 };
    const queries = (tower: TwoTower, training?: typeof noise): Float32Array =>
      tf.tidy(() =>
        tower
          .fuse(
            {
              hidden: tf.tensor2d(state, [1, width]),
              offsets: Int32Array.of(0, 1),
              histories: Int32Array.of(0),
              newest: Int32Array.of(0),
            },
            batch,
            training,
          )
          .dataSync<'float32'>()
          .slice(),
      );
    assert.notDeepEqual(queries(model, noise), queries(model));
    weights.get('head.hiddenWeight')!.data.fill(0);
    const linear = new TwoTower(config, schema, items, weights);
    assert.deepEqual(queries(linear, noise), queries(linear));
    linear.dispose();
  });

  it('gives unit rows that depend on state, age, subject and demographics', async () => {
    const rows: Parameters<typeof headBatch>[0] = [
      { state },
      { state: state.map((value) => -value) },
      { state, age: 0.5 },
      { state, subject },
      { state, subject: features.queryBag('coffee') },
      { state, demographics: [1, 0, 0] },
      { state, demographics: [0, 1, 0] },
      { state, demographics: [0, 0, 1] },
      {},
    ];
    const queries = await model.embedQueries(headBatch(rows));
    const seen = new Set<string>();
    for (let row = 0; row < rows.length; row++) {
      const query = queries.subarray(row * width, (row + 1) * width);
      assert.ok(Math.abs(Math.hypot(...query) - 1) < 1e-5);
      seen.add(query.join());
    }
    assert.equal(seen.size, rows.length);
  });

  it('ignores the context without fusion', async () => {
    const rows = [
      { state },
      { state, age: 1, subject, demographics: [3, 1, 2] as [number, number, number] },
    ];
    const queries = await historyOnly.embedQueries(headBatch(rows));
    assert.deepEqual(queries.subarray(width), queries.subarray(0, width));
  });

  it('replaces a missing state by the cold-start vector, whatever the arrays hold', async () => {
    for (const tower of [model, historyOnly, attentive]) {
      const cold = tower.variables.get('head.coldStart')!.dataSync<'float32'>().slice();
      const batch = headBatch([{ subject }, { state: cold, subject }], tower === attentive);
      const polluted: HeadBatch = {
        ...batch,
        states: batch.states.map((value, i) => (i < width ? 1e3 : value)),
        stateAge: Float32Array.of(0.7, 0),
      };
      const queries = await tower.embedQueries(polluted);
      near(queries.subarray(0, width), queries.subarray(width), 1e-6);
    }
  });

  it('does not care how a bag is scaled, nor about an entry of weight 0', async () => {
    const scaled = { rows: subject.rows, weights: subject.weights.map((weight) => weight * 7) };
    const longer = { rows: [...subject.rows, 5], weights: [...subject.weights, 0] };
    const weightless = { rows: [1, 2], weights: [0, 0] };
    const queries = await model.embedQueries(
      headBatch(
        [subject, scaled, longer, NO_SUBJECT, weightless].map((bag) => ({ state, subject: bag })),
      ),
    );
    const row = (at: number): Float32Array => queries.subarray(at * width, (at + 1) * width);
    near(row(1), row(0));
    near(row(2), row(0));
    assert.deepEqual(row(4), row(3));
  });
});

describe('item tower', () => {
  it('gives unit vectors, the same in any selection', async () => {
    const vectors = await model.itemVectors();
    assert.equal(vectors.length, ITEMS * width);
    const selection = Int32Array.of(7, 0, 39, 7);
    const some = tf.tidy(() => model.itemTower(model.itemInputs(selection)).dataSync<'float32'>());
    for (const [i, row] of selection.entries()) {
      const vector = vectors.subarray(row * width, (row + 1) * width);
      assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-5);
      near(some.subarray(i * width, (i + 1) * width), vector);
    }
  });
});

describe('distinctItems', () => {
  it('lists the distinct items and points at them', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9)), fc.array(fc.nat(9)), (list, more) => {
        const { catalogueRows, indices, alsoIndices } = distinctItems(
          Int32Array.from(list),
          Int32Array.from(more),
        );
        assert.equal(new Set(catalogueRows).size, catalogueRows.length);
        assert.ok(catalogueRows.length > 0);
        for (const [i, row] of list.entries()) assert.equal(catalogueRows[indices[i]!], row);
        for (const [i, row] of more.entries()) assert.equal(catalogueRows[alsoIndices[i]!], row);
      }),
    );
  });
});

describe('weights', () => {
  it('go out and come back as the same model', async () => {
    const copy = new TwoTower(config, schema, items, await model.weights());
    assert.deepEqual(await copy.itemVectors(), await model.itemVectors());
    copy.variables.get('items.id')!.assign(tf.tidy(() => tf.zeros([ITEMS, width])));
    assert.notDeepEqual(await copy.itemVectors(), await model.itemVectors());
    copy.dispose();
  });

  it('are those of the seed, and shared by the fusions that have them', async () => {
    const again = new TwoTower(config, schema, items, { seed: 1 });
    const other = new TwoTower(config, schema, items, { seed: 2 });
    assert.deepEqual(await again.weights(), await model.weights());
    assert.notDeepEqual(await other.weights(), await model.weights());
    for (const name of ['items.id', 'encoder.position', 'tower.hiddenWeight'])
      for (const tower of [historyOnly, attentive])
        assert.deepEqual((await tower.weights()).get(name), (await model.weights()).get(name));
    again.dispose();
    other.dispose();
  });

  it('of another shape, or missing, are refused by name', async () => {
    const weights = await model.weights();
    const invalid = (change: (copy: typeof weights) => void, message: RegExp): void => {
      const copy = new Map(weights);
      change(copy);
      assert.throws(
        () => new TwoTower(config, schema, items, copy),
        (error) =>
          error instanceof TandemError &&
          error.code === 'ERR_CHECKPOINT_INVALID' &&
          message.test(error.message),
      );
    };
    invalid((copy) => copy.delete('head.coldStart'), /head\.coldStart.*received none/);
    invalid(
      (copy) => copy.set('items.price', { shape: [1, 2], data: new Float32Array(2) }),
      /items\.price.*\[1,2\]/,
    );
  });

  it('leave no tensor behind when used', async () => {
    const start = tf.memory().numTensors;
    await model.itemVectors();
    await model.encodeHistories(batchOf([[{ item: 1, action: 1, time: 5 }]]));
    const queries = await model.embedQueries(headBatch([{}]));
    await model.scores(queries, await model.itemVectors());
    await attentive.embedQueries(headBatch([{}, { state: new Float32Array(3 * width) }], true));
    assert.equal(tf.memory().numTensors, start);
  });
});
