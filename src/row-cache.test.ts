import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RowCache } from './row-cache.ts';

test('a value is that of its row, and made once', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(5000)), (rows) => {
      const made: number[] = [];
      const cache = new RowCache((row) => {
        made.push(row);
        return `of ${row}`;
      });
      for (const row of rows) assert.equal(cache.at(row), `of ${row}`);
      assert.deepEqual(made, [...new Set(rows)]);
    }),
  );
});
