import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { buildSchema } from './build-schema.ts';
import { ContextFeatures } from './context.ts';
import { queryNgrams } from './query.ts';

const schema = buildSchema({
  maxHistory: 4,
  actionNames: ['buy'],
  itemIds: ['i0'],
  titles: ['Red Lantern', 'lantern stand'],
  categoryNames: ['a', 'b', 'c', 'd', 'e', 'f', 'g'],
  advertisers: [],
  prices: new Float64Array(0),
  genders: ['f', 'm'],
  countries: ['DE', 'FR'],
});
const features = new ContextFeatures(schema);
/** Words of the catalogue, parts of words, and other words. */
const words = fc
  .array(fc.constantFrom('red', 'lantern', 'lanterns', 'stand', 'sta', 'xyzzy'), { maxLength: 5 })
  .map((parts) => parts.join(' '));
const rowArbitrary = fc.integer({ min: -1, max: schema.categories.length - 1 });
// Few distinct weights, so that ties are common.
const confidence = fc.constantFrom(-1, 0, 0.25, 0.5, 1);
const entries = fc.uniqueArray(fc.tuple(rowArbitrary, confidence), {
  selector: ([row, weight]) => (row < 0 ? `unknown ${weight}` : row),
  maxLength: 9,
});

describe('categoryBag', () => {
  it('keeps the strongest known categories, ties by row', () => {
    fc.assert(
      fc.property(entries, (pairs) => {
        const { rows, weights } = features.categoryBag(
          pairs.map(([row]) => row),
          pairs.map(([, weight]) => weight),
        );
        const known = pairs.filter(([row, weight]) => row >= 0 && weight > 0);
        assert.equal(rows.length, Math.min(known.length, schema.maxSubjectCategories));
        const kept = rows.map((row, i) => [row, weights[i]!] as const);
        for (const [i, [row, weight]] of kept.entries()) {
          assert.ok(known.some(([r, w]) => r === row && w === weight));
          if (i === 0) continue;
          const [rowBefore, weightBefore] = kept[i - 1]!;
          assert.ok(weight < weightBefore || (weight === weightBefore && row > rowBefore));
        }
        const last = kept.at(-1);
        for (const [row, weight] of known)
          if (!rows.includes(row))
            assert.ok(weight < last![1] || (weight === last![1] && row > last![0]));
      }),
    );
  });

  it('does not depend on the order of its input', () => {
    fc.assert(
      fc.property(entries, (pairs) => {
        const bag = (ordered: typeof pairs): unknown =>
          features.categoryBag(
            ordered.map(([row]) => row),
            ordered.map(([, weight]) => weight),
          );
        assert.deepEqual(bag(pairs.toReversed()), bag(pairs));
      }),
    );
  });

  it('reads typed arrays, and leaves out NaN', () => {
    assert.deepEqual(
      features.categoryBag(Int32Array.of(2, -1, 0), Float32Array.of(0.5, 1, Number.NaN)),
      { rows: [2], weights: [0.5] },
    );
  });
});

describe('subjects by name', () => {
  it('gives interests the rows of their categories, and leaves out unknown ones', () => {
    const interests = [
      { category: 'c', confidence: 0.5 },
      { category: 'nothing', confidence: 1 },
      { category: 'a', confidence: 0.75 },
    ];
    assert.deepEqual(features.interestBag(interests), { rows: [0, 2], weights: [0.75, 0.5] });
  });

  it('reads a query as its known n-grams, ascending, in rows behind the categories', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), words), (query) => {
        const { rows, weights } = features.queryBag(query);
        const categories = schema.categories.length;
        assert.deepEqual(
          rows.map((row) => schema.queryNgrams[row - categories]),
          queryNgrams(query)
            .filter((ngram) => schema.queryNgrams.includes(ngram))
            .sort(),
        );
        assert.deepEqual(weights, new Array<number>(rows.length).fill(1));
      }),
    );
  });

  it('reads an unseen word by the parts that it shares with seen words', () => {
    const named = (query: string): (string | undefined)[] =>
      features
        .queryBag(query)
        .rows.map((row) => schema.queryNgrams[row - schema.categories.length]);
    assert.deepEqual(named('LANTERNS'), ['^la', 'ant', 'ern', 'lan', 'nte', 'ter']);
    assert.ok(named('lantern').includes('^lantern$'));
  });

  it('reads the same after its parts were passed to another thread', () => {
    const other = new ContextFeatures(structuredClone(features.parts()));
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), words), (query) => {
        assert.deepEqual(other.queryBag(query), features.queryBag(query));
      }),
    );
    const interests = [{ category: 'c', confidence: 0.5 }];
    assert.deepEqual(other.interestBag(interests), features.interestBag(interests));
    const someone = { age: 17, country: 'DE', gender: 'f' };
    assert.deepEqual(other.demographicRows(someone), features.demographicRows(someone));
  });

  it('gives no subject for a query without a known n-gram', () => {
    for (const query of [' ,.- ', 'xyzzy', '東京'])
      assert.deepEqual(features.queryBag(query), { rows: [], weights: [] });
  });
});

describe('demographicRows', () => {
  it('gives row 0 to unknown values', () => {
    assert.deepEqual(features.demographicRows({}), [0, 0, 0]);
    assert.deepEqual(
      features.demographicRows({ age: Number.NaN, country: 'XX', gender: '' }),
      [0, 0, 0],
    );
    assert.deepEqual(features.demographicRows({ age: -1 }), [0, 0, 0]);
  });

  it('gives the rows of age bands and names', () => {
    assert.deepEqual(features.demographicRows({ age: 17, country: 'DE', gender: 'f' }), [1, 1, 1]);
    assert.deepEqual(features.demographicRows({ age: 18, country: 'FR', gender: 'm' }), [2, 2, 2]);
    assert.deepEqual(features.demographicRows({ age: 200 }), [schema.ageBounds.length, 0, 0]);
  });
});
