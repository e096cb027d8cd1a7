import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Vocabulary } from './vocabulary.ts';

test('a known name gives its row, any other name -1', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string()), fc.string(), (names, other) => {
      const vocabulary = new Vocabulary(names);
      assert.equal(vocabulary.size, names.length);
      assert.deepEqual(
        names.map((name) => vocabulary.row(name)),
        names.map((_, row) => row),
      );
      assert.equal(vocabulary.row(other), names.indexOf(other));
    }),
  );
});

test('names of properties that every object has are unknown', () => {
  for (const name of ['__proto__', 'constructor', 'toString'])
    assert.equal(new Vocabulary(['a']).row(name), -1);
});

test('a name that occurs twice is refused with both rows', () => {
  assert.throws(() => new Vocabulary(['a', 'b', 'a']), {
    name: 'RangeError',
    message: /"a" at rows 0 and 2/,
  });
});
