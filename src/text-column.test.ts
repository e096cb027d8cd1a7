import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TextColumn, TextIndex } from './text-column.ts';

const texts = fc.uniqueArray(fc.string({ unit: 'grapheme' }), { maxLength: 40 });

describe('TextColumn', () => {
  it('has every string at its row, also with bytes that came from another thread', () => {
    fc.assert(
      fc.property(texts, (values) => {
        const column = TextColumn.of(values);
        const transferred = new TextColumn(structuredClone(column.bytes));
        for (const one of [column, transferred]) {
          assert.equal(one.length, values.length);
          assert.deepEqual(one.all(), values);
          assert.deepEqual(Buffer.from(one.lines()), Buffer.from(values.join('\n')));
        }
      }),
    );
  });

  it('holds the string of a row, and not another whose UTF-16 units equal its bytes', () => {
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

  it('refuses halves of surrogate pairs, also when two strings would join them', () => {
    assert.throws(() => TextColumn.of(['\ud83d']), /lone surrogate/);
    assert.throws(() => TextColumn.of(['\ud83d', '\ude00']), /lone surrogate/);
  });
});

describe('TextIndex', () => {
  it('finds the row of a string and -1 for others, also with a transferred table', () => {
    fc.assert(
      fc.property(texts, fc.string({ unit: 'grapheme' }), (values, other) => {
        const index = TextIndex.of(TextColumn.of(values), 'strings');
        const transferred = new TextIndex(TextColumn.of(values), structuredClone(index.table));
        for (const one of [index, transferred]) {
          assert.deepEqual(
            values.map((value) => one.row(value)),
            values.map((_, row) => row),
          );
          assert.equal(one.row(other), values.indexOf(other));
        }
      }),
    );
  });

  it('refuses a string that occurs twice, and names it', () => {
    for (const twice of ['a', 'ä', ''])
      assert.throws(() => TextIndex.of(TextColumn.of([twice, 'b', twice]), 'letters'), {
        name: 'RangeError',
        message: new RegExp(`3 distinct letters, received "${twice}" twice`),
      });
  });
});
