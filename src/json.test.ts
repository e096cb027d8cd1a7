import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalJson, firstDifference, sha256Hex } from './json.ts';

/** The same value with the keys of every object in the opposite order. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([key, member]) => [key, reversed(member)]),
  );
}

test('equal values have one text whatever the order of their keys, and it parses back', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = canonicalJson(value);
      assert.equal(canonicalJson(reversed(value)), text);
      assert.equal(canonicalJson(JSON.parse(text)), text);
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)));
    }),
  );
});

test('different values have different texts', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      const same = canonicalJson(a) === canonicalJson(b);
      let equal = true;
      try {
        assert.deepEqual(JSON.parse(JSON.stringify(a)), JSON.parse(JSON.stringify(b)));
      } catch {
        equal = false;
      }
      assert.equal(same, equal);
    }),
  );
});

test('arrays keep their order and undefined members are left out', () => {
  assert.equal(canonicalJson({ b: [2, 1], a: undefined, c: null }), '{"b":[2,1],"c":null}');
});

test('sha256Hex is SHA-256 over the parts in order', () => {
  const abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
  assert.equal(sha256Hex('abc'), abc);
  assert.equal(sha256Hex('a', Buffer.from('b'), 'c'), abc);
});

test('firstDifference names the first path whose values differ', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      assert.equal(firstDifference(a, reversed(a)), undefined);
      assert.equal(firstDifference(a, b) === undefined, canonicalJson(a) === canonicalJson(b));
    }),
  );
  const run = { steps: 3, model: { blocks: 2, names: ['a', 'b'] } };
  assert.equal(
    firstDifference(run, { ...run, steps: 4, model: { ...run.model, blocks: 3 } }),
    'model.blocks: found 2, wanted 3',
  );
  assert.equal(
    firstDifference(run, { ...run, model: { ...run.model, names: ['a'] } }),
    'model.names.1: found "b", wanted nothing',
  );
  assert.equal(
    firstDifference(run, { ...run, model: [] }),
    `model: found ${canonicalJson(run.model)}, wanted []`,
  );
});
