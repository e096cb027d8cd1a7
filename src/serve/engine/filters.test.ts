// Compiled filters against the plain reading of each clause, item by item.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import {
  TINY_ADVERTISERS,
  TINY_CATEGORIES,
  TINY_COUNTRIES,
  tinyBundleInput,
  tinyItem,
} from '../../../test/support/tiny-bundle.ts';
import { CACHED_FILTERS, FilterCompiler } from './filters.ts';
import type { Filter } from '../request/request-types.ts';

const ITEMS = 70;
let compiler: FilterCompiler;

before(async () => {
  const { catalogue, schema } = await tinyBundleInput({ items: ITEMS });
  compiler = new FilterCompiler(catalogue, schema.categories);
});

function passes(filter: Filter, i: number): boolean {
  const item = tinyItem(i);
  const categories = item.categories.map((row) => TINY_CATEGORIES[row]!);
  const { countries, advertisers, categories: wanted } = filter;
  return (
    (countries === undefined ||
      item.countries.length === 0 ||
      item.countries.some((country) => countries.includes(country))) &&
    (advertisers?.in?.includes(item.advertiser) ?? true) &&
    !(advertisers?.out?.includes(item.advertiser) ?? false) &&
    (wanted?.any === undefined || categories.some((name) => wanted.any!.includes(name))) &&
    !categories.some((name) => wanted?.none?.includes(name) ?? false) &&
    (filter.min_price === undefined || item.price >= filter.min_price) &&
    (filter.max_price === undefined || item.price <= filter.max_price)
  );
}

test('a filter lets through what each of its clauses lets through', () => {
  const some = (names: readonly string[]): fc.Arbitrary<string[]> =>
    fc.array(fc.constantFrom(...names, 'unknown'), { maxLength: 3 });
  const filters: fc.Arbitrary<Filter> = fc.record(
    {
      countries: some(TINY_COUNTRIES),
      advertisers: fc.record(
        { in: some(TINY_ADVERTISERS), out: some(TINY_ADVERTISERS) },
        { requiredKeys: [] },
      ),
      categories: fc.record(
        { any: some(TINY_CATEGORIES), none: some(TINY_CATEGORIES) },
        { requiredKeys: [] },
      ),
      exclude_items: fc.constant([tinyItem(1).id]),
      min_price: fc.integer({ min: 0, max: ITEMS }),
      max_price: fc.integer({ min: 0, max: ITEMS }),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(filters, (filter) => {
      const compiled = compiler.compile(filter);
      const expected = Array.from({ length: ITEMS }, (_, i) => passes(filter, i));
      if (compiled === undefined) assert.ok(expected.every(Boolean));
      else {
        const got = expected.map((_, i) => compiled.allow.has(i));
        assert.deepEqual(got, expected);
        assert.equal(compiled.selectivity, expected.filter(Boolean).length / ITEMS);
      }
    }),
    { numRuns: 500 },
  );
});

test('equal filters are compiled once, whatever their order and excluded items', () => {
  const a = compiler.compile({ min_price: 3, countries: ['DE'], exclude_items: ['x'] });
  assert.equal(compiler.compile({ countries: ['DE'], min_price: 3 }), a);
  assert.equal(compiler.compile({ exclude_items: ['x'], advertisers: {} }), undefined);
});

test('the compiler forgets the filters that were used longest ago', () => {
  const filter = (price: number): Filter => ({ min_price: 1000 + price });
  const often = compiler.compile(filter(0));
  const seldom = compiler.compile(filter(1));
  for (let price = 2; price < 2 + CACHED_FILTERS; price++) {
    compiler.compile(filter(price));
    assert.equal(compiler.compile(filter(0)), often);
  }
  assert.notEqual(compiler.compile(filter(1)), seldom);
});
