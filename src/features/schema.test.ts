import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { buildSchema, type SchemaSource } from './build-schema.ts';
import { boundedBucket, catalogueDigest, schemaHash, type FeatureSchema } from './schema.ts';

const SOURCE: SchemaSource = {
  maxHistory: 8,
  actionNames: ['view', 'buy'],
  itemIds: ['i0', 'i1', 'i2'],
  titles: ['Red shoes', '', 'A book'],
  categoryNames: ['shoes', 'books'],
  advertisers: ['acme', '', 'globex', 'acme'],
  prices: Float64Array.of(3, Number.NaN, 1, 2, 2),
  genders: ['f', 'm', ''],
  countries: ['DE', 'FR'],
};

describe('boundedBucket', () => {
  // -0 and 0 are one bound to a comparison.
  const bounds = fc
    .uniqueArray(fc.double({ noNaN: true }), { maxLength: 12, comparator: 'SameValueZero' })
    .map((values) => values.sort((a, b) => a - b));

  it('counts the bounds that are not above the value', () => {
    fc.assert(
      fc.property(bounds, fc.double({ noNaN: true }), (sorted, value) => {
        const expected = sorted.filter((bound) => bound <= value).length;
        assert.equal(boundedBucket(value, sorted), expected);
      }),
    );
  });

  it('gives every bound its own bucket and NaN the unknown one', () => {
    fc.assert(
      fc.property(bounds, (sorted) => {
        for (const [i, bound] of sorted.entries())
          assert.equal(boundedBucket(bound, sorted), i + 1);
        assert.equal(boundedBucket(Number.NaN, sorted), 0);
      }),
    );
  });
});

describe('buildSchema', () => {
  it('sorts, drops doubles and the empty name', () => {
    const schema = buildSchema(SOURCE);
    assert.deepEqual(schema.actions, ['buy', 'view']);
    assert.deepEqual(schema.advertisers, ['acme', 'globex']);
    assert.deepEqual(schema.genders, ['f', 'm']);
    assert.deepEqual(schema.priceBounds, [1, 2, 3]);
  });

  it('does not depend on the order in which names were met', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string()),
        fc.array(fc.string()),
        fc.array(fc.oneof(fc.double(), fc.constant(Number.NaN))),
        (categoryNames, countries, prices) => {
          const built = buildSchema({
            ...SOURCE,
            categoryNames,
            countries,
            prices: Float64Array.from(prices),
          });
          const reversed = buildSchema({
            ...SOURCE,
            categoryNames: [...categoryNames, ...categoryNames].reverse(),
            countries: countries.toReversed(),
            prices: Float64Array.from(prices.toReversed()),
          });
          assert.equal(schemaHash(reversed), schemaHash(built));
        },
      ),
    );
  });

  it('spreads known prices over its bands evenly', () => {
    const prices = Float64Array.from({ length: 800 }, (_, i) => i / 10);
    const { priceBounds } = buildSchema({ ...SOURCE, prices });
    const filled = new Array<number>(priceBounds.length + 1).fill(0);
    for (const price of prices) filled[boundedBucket(price, priceBounds)]!++;
    assert.deepEqual(filled, [0, ...new Array<number>(8).fill(100)]);
  });
});

describe('schemaHash', () => {
  const schema = buildSchema(SOURCE);

  it('is the same whatever the order of the keys', () => {
    const names = Object.keys(schema) as (keyof FeatureSchema)[];
    fc.assert(
      fc.property(
        fc.shuffledSubarray(names, { minLength: names.length, maxLength: names.length }),
        (order) => {
          const shuffled = Object.fromEntries(order.map((name) => [name, schema[name]]));
          assert.equal(schemaHash(shuffled as unknown as FeatureSchema), schemaHash(schema));
        },
      ),
    );
  });

  it('changes with every field, and with the order of a vocabulary', () => {
    const changed: FeatureSchema[] = [
      { ...schema, maxHistory: 9 },
      { ...schema, queryNgrams: schema.queryNgrams.toReversed() },
      { ...schema, maxSubjectCategories: 1 },
      { ...schema, catalogueDigest: catalogueDigest(['i1', 'i0', 'i2']) },
    ];
    for (const name of ['actions', 'categories', 'countries', 'genders', 'advertisers'] as const)
      changed.push({ ...schema, [name]: schema[name].toReversed() });
    for (const name of ['ageBounds', 'priceBounds'] as const)
      changed.push({ ...schema, [name]: schema[name].slice(1) });
    const hashes = [schema, ...changed].map(schemaHash);
    assert.equal(new Set(hashes).size, hashes.length);
  });
});
