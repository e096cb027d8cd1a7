// What is put together of bytes is what strings would have been.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TextColumn } from '../../text-column.ts';
import { TextWriter } from './text-writer.ts';

const text = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: 'binary-ascii' }),
  fc.constantFrom('', '"', '\\', '\u0000', 'é', '\u{1f600}', 'plain-id'),
);
const texts = fc.array(text, { maxLength: 20 });

test('strings of a column, as they are and as JSON, between texts of any kind', () => {
  const out = new TextWriter();
  fc.assert(
    fc.property(texts, (values) => {
      const column = TextColumn.of(values);
      out.clear();
      let expected = '';
      for (const [row, value] of values.entries()) {
        out.copy(column, row);
        out.ascii(',');
        out.quote(column, row);
        out.text(value);
        expected += `${value},${JSON.stringify(value)}${value}`;
        assert.equal(out.toString(), expected);
        assert.equal(out.length, Buffer.byteLength(expected));
      }
      const copied = Buffer.alloc(out.length + 1, 1);
      out.copyTo(copied, 1);
      assert.deepEqual(copied, Buffer.from(`\u0001${expected}`));
    }),
  );
});

test('it grows with what is written', () => {
  const long = 'long é '.repeat(5000);
  const column = TextColumn.of([long, 'x'.repeat(70_000)]);
  const out = new TextWriter();
  out.text(long);
  out.quote(column, 0);
  out.copy(column, 1);
  assert.equal(out.toString(), `${long}${JSON.stringify(long)}${'x'.repeat(70_000)}`);
});

test('digits are those of the number, zeros in front', () => {
  const out = new TextWriter();
  fc.assert(
    fc.property(fc.nat({ max: 999_999 }), (value) => {
      out.clear();
      out.digits(value, 6);
      assert.equal(out.toString(), String(value).padStart(6, '0'));
    }),
  );
});
