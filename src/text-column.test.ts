import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TextColumn, TextIndex } from './text-column.ts';

const texts = fc.uniqueArray(fc.string({ unit: 'grapheme' }), { maxLength: 40 });

describe('TextColumn', () => {
  it('has every string at its row, also over bytes that another thread was handed', () => {
    fc.assert(
      fc.property(texts, (values) => {
        const column = TextColumn.of(values);
        const handed = new TextColumn(structuredClone(column.bytes));
        for (const one of [column, handed]) {
          assert.equal(one.length, values.length);
          assert.deepEqual(one.all(), values);
          assert.deepEqual(Buffer.from(one.lines()), Buffer.from(values.join('\n')));
        }
      }),
    );
  });

  it('knows which string a row holds, and no other that has the same bytes for units', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.string({ unit: 'grapheme' }),
        (value, other) => {
          const column = TextColumn.of([value]);
          assert.ok(column.holds(0, value));
          assert.equal(column.holds(0, other), value === other);
          const units = Buffer.from(value).toString('latin1');
          assert.equal(column.holds(0, units), value === units);
        },
      ),
    );
    assert.equal(TextColumn.of(['é']).holds(0, 'Ã©'), false);
  });

  it('refuses halves of surrogate pairs, also where two strings would join them', () => {
    assert.throws(() => TextColumn.of(['\ud83d']), /lone surrogate/);
    assert.throws(() => TextColumn.of(['\ud83d', '\ude00']), /lone surrogate/);
  });
});

describe('TextIndex', () => {
  it('leads from a string to its row and from any other to -1, also over a table that was handed over', () => {
    fc.assert(
      fc.property(texts, fc.string({ unit: 'grapheme' }), (values, other) => {
        const index = TextIndex.of(TextColumn.of(values), 'strings');
        const handed = new TextIndex(TextColumn.of(values), structuredClone(index.table));
        for (const one of [index, handed]) {
          assert.deepEqual(
            values.map((value) => one.row(value)),
            values.map((_, row) => row),
          );
          assert.equal(one.row(other), values.indexOf(other));
        }
      }),
    );
  });

  it('refuses a string that occurs twice, saying what it is', () => {
    for (const twice of ['a', 'ä', ''])
      assert.throws(() => TextIndex.of(TextColumn.of([twice, 'b', twice]), 'letters'), {
        name: 'RangeError',
        message: new RegExp(`3 distinct letters, received "${twice}" twice`),
      });
  });
});
