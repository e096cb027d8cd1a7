import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_ID_BYTES, MAX_TEXT_BYTES, Refusal, WHITE_SPACE, readId, readText } from './ids.ts';

/** What an id was read from: the id, or what came instead. */
function outcome(value: unknown, read = readId): string {
  const found = read(value);
  return typeof found === 'string'
    ? found
    : `${found.received}${found.missing ? ' (missing)' : ''}`;
}

test('text is an id without white space at its ends', () => {
  for (const id of [
    'u1',
    '1.5',
    '1.0.0',
    '007',
    '5e12',
    'a b',
    'ü',
    '{"id":1}',
    'null',
    '__proto__',
  ])
    for (const text of [id, ` ${id}\t`, `\ufeff${id}\r\n`, `\u3000${id}\u00a0`])
      assert.equal(outcome(text), id);
});

test('a whole number in any form is its digits', () => {
  for (const value of [17850, 17850n, '17850', '17850.0', ' 17850.00 '])
    assert.equal(outcome(value), '17850');
  for (const value of [0, -0, '0', '0.0', '-0.0']) assert.equal(outcome(value), '0');
  assert.equal(outcome(-5), '-5');
  assert.equal(outcome('-5.0'), '-5');
  assert.equal(outcome(1e15), '1000000000000000');
  assert.equal(outcome(1795641378000000001n), '1795641378000000001');
  assert.equal(outcome('1795641378000000001'), '1795641378000000001');
  assert.equal(outcome('007.0'), '007.0');
});

test('a number that is none, and an empty text, are missing', () => {
  for (const value of [Number.NaN, Infinity, -Infinity, 'NaN', ' nan', '', ' \t', null, undefined])
    assert.match(outcome(value), / \(missing\)$/);
});

test('a value that is no id is refused with the kind that came', () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [1.5, /^a number with a fraction$/],
    [2 ** 53, /does not hold exactly$/],
    ['1.7e+18', /^a number with an exponent$/],
    ['1.79564E18', /^a number with an exponent$/],
    [true, /^a boolean$/],
    [{ id: 'u1' }, /^an object$/],
    [['u1'], /^a list$/],
    ['a\u0000b', /^a control character$/],
    ['a\nb', /^a control character$/],
    ['a\u0085b', /^a control character$/],
    ['\ud83d', /^text that is not valid Unicode$/],
    ['é'.repeat(MAX_ID_BYTES / 2 + 1), /^more than 1024 bytes$/],
  ];
  for (const [value, received] of cases) assert.match(outcome(value), received);
});

test('a text may have line breaks, and its numbers stay as they are written', () => {
  assert.equal(outcome(' Web 2.0\nand more ', readText), 'Web 2.0\nand more');
  assert.equal(outcome('2.0', readText), '2.0');
  assert.equal(outcome('', readText), '');
  assert.equal(outcome(1984, readText), '1984');
  assert.equal(outcome({}, readText), 'an object');
  assert.match(outcome('é'.repeat(MAX_TEXT_BYTES), readText), /^more than 4096 bytes$/);
});

test('WHITE_SPACE is what trim() removes', () => {
  for (let code = 0; code < 0x10000; code++) {
    const character = String.fromCharCode(code);
    assert.equal(character.trim() === '', WHITE_SPACE.includes(character), code.toString(16));
  }
});

test('an id is read as itself', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.double(), fc.bigInt()), (value) => {
      const id = readId(value);
      if (id instanceof Refusal) return;
      assert.equal(readId(id), id);
      const bytes = Buffer.from(id);
      assert.ok(bytes.length > 0 && bytes.length <= MAX_ID_BYTES);
      assert.equal(bytes.toString('utf8'), id);
    }),
  );
});
