import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ItemCatalogue, buildCatalogue, type CatalogueInput } from './catalogue.ts';
import { decodeCatalogue, encodeCatalogue } from './catalogue-file.ts';
import { decodeSafetensors, encodeSafetensors } from './safetensors.ts';

const COLUMNS: CatalogueInput = {
  ids: ['a', 'bé', 'c'],
  titles: ['First', '', 'Größe 𝄞'],
  advertisers: ['zeta', '', 'acme'],
  prices: Float64Array.of(1.25, Number.NaN, 1_234_567.89),
  categoryNames: ['dropped', 'garden', 'music'],
  categoryOffsets: Int32Array.of(0, 2, 2, 4),
  categoryValues: Int32Array.of(2, 0, 1, 2),
  categoryConfidences: Float32Array.of(0.75, 0.5, 1, 0.25),
  countries: [['NL', 'DE'], [], ['DE', 'DE']],
};

const build = (): ItemCatalogue =>
  buildCatalogue(COLUMNS, ['garden', 'music'], Float32Array.of(3, 0, 9));

describe('ItemCatalogue', () => {
  for (const [name, catalogue] of [
    ['as built', build()],
    ['after encoding and decoding', decodeCatalogue(encodeCatalogue(build()))],
  ] as const)
    it(`knows its items ${name}`, () => {
      assert.equal(catalogue.count, 3);
      assert.deepEqual(catalogue.ids.all(), ['a', 'bé', 'c']);
      assert.equal(catalogue.row('bé'), 1);
      assert.equal(catalogue.row('nobody'), -1);
      assert.equal(catalogue.title(2), 'Größe 𝄞');
      assert.deepEqual(
        [0, 1, 2].map((row) => catalogue.advertiser(row)),
        ['zeta', '', 'acme'],
      );
      assert.deepEqual(
        [0, 1, 2].map((row) => catalogue.price(row)),
        [...COLUMNS.prices],
      );
      assert.deepEqual(
        [...catalogue.categoryRows(0)],
        [1],
        'categories outside the schema fall away',
      );
      assert.deepEqual([...catalogue.confidences(0)], [0.75]);
      assert.deepEqual([...catalogue.categoryRows(1)], []);
      assert.deepEqual([...catalogue.categoryRows(2)], [0, 1]);
      assert.deepEqual(catalogue.targetCountries(0).sort(), ['DE', 'NL']);
      assert.deepEqual(catalogue.targetCountries(1), []);
      assert.deepEqual(catalogue.targetCountries(2), ['DE']);
      assert.deepEqual([...catalogue.popularity], [3, 0, 9]);
    });

  it('keeps any well-formed strings', () => {
    const strings = fc.uniqueArray(fc.string({ unit: 'binary' }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(strings, (ids) => {
        const count = ids.length;
        const columns: CatalogueInput = {
          ids,
          titles: [...ids].reverse(),
          advertisers: ids,
          prices: new Float64Array(count),
          categoryNames: [],
          categoryOffsets: new Int32Array(count + 1),
          categoryValues: new Int32Array(0),
          categoryConfidences: new Float32Array(0),
          countries: ids.map((id) => [id]),
        };
        const built = buildCatalogue(columns, [], new Float32Array(count));
        const read = decodeCatalogue(encodeCatalogue(built));
        assert.deepEqual(read.ids.all(), ids);
        const passed = ItemCatalogue.of(structuredClone(read.parts()));
        for (const catalogue of [read, passed])
          for (let row = 0; row < count; row++) {
            assert.equal(catalogue.title(row), columns.titles[row]);
            assert.equal(catalogue.advertiser(row), ids[row]);
            assert.equal(catalogue.row(ids[row]!), row);
            assert.equal(catalogue.row(`${ids[row]!}?`), ids.indexOf(`${ids[row]!}?`));
          }
      }),
    );
  });

  it('refuses duplicate ids, lone surrogates and columns of different lengths', () => {
    const popularity = new Float32Array(3);
    const variant = (change: Partial<CatalogueInput>): ItemCatalogue =>
      buildCatalogue({ ...COLUMNS, ...change }, ['music'], popularity);
    assert.throws(() => variant({ ids: ['a', 'a', 'c'] }), /3 distinct item ids.*"a" twice/);
    assert.throws(() => variant({ titles: ['only one'] }), /"titles", received 1/);
    assert.throws(() => buildCatalogue(COLUMNS, [], new Float32Array(2)), /"popularity"/);
    assert.throws(() => variant({ titles: ['\ud83d', '\ude00', ''] }), RangeError);
  });

  it('refuses damaged columns with ERR_BUNDLE_INVALID', () => {
    const damage = (name: string, data: Int32Array | Uint8Array): void => {
      const { tensors } = decodeSafetensors(encodeCatalogue(build()), 'items.safetensors');
      tensors.set(name, { shape: [data.length], data });
      assert.throws(() => decodeCatalogue(encodeSafetensors(tensors)), {
        code: 'ERR_BUNDLE_INVALID',
        message: /items\.safetensors/,
      });
    };
    damage('ids.offsets', Int32Array.of(0, 2, 1, 5));
    damage('ids.offsets', new Int32Array(0));
    // In the middle of the two bytes of é.
    damage('ids.offsets', Int32Array.of(0, 2, 3, 4));
    damage('ids.utf8', Uint8Array.of(0xff, 0x41, 0x41, 0x41, 0x41));
    damage('advertiser.rows', Int32Array.of(0, 7, 1));
    damage('country.rows', Int32Array.of(-1, 0, 0));
    damage('category.offsets', Int32Array.of(0, 1, 1, 2));
    damage('category.rows', Uint8Array.of(1));
  });
});
