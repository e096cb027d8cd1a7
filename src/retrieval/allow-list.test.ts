import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { AllowList } from './allow-list.ts';

const slotsOf = (list: AllowList): number[] =>
  Array.from({ length: list.size }, (_, slot) => slot).filter((slot) => list.has(slot));

/** A size, and two sets of slots below it. */
const sets = fc.nat(100).chain((size) => {
  const slots = size === 0 ? fc.constant<number[]>([]) : fc.uniqueArray(fc.nat(size - 1));
  return fc.tuple(fc.constant(size), slots, slots);
});

describe('AllowList', () => {
  it('is a set: count, has, and, or, andNot agree with Set', () => {
    fc.assert(
      fc.property(sets, ([size, a, b]) => {
        const check = (list: AllowList, expected: number[]): void => {
          assert.deepEqual(
            slotsOf(list),
            expected.sort((x, y) => x - y),
          );
          assert.equal(list.count, expected.length);
          assert.deepEqual([...list.slots()], expected);
        };
        const left = AllowList.of(size, a);
        const right = AllowList.of(size, b);
        check(left, [...a]);
        check(
          left.clone().and(right),
          a.filter((slot) => b.includes(slot)),
        );
        check(left.clone().or(right), [...new Set([...a, ...b])]);
        check(
          left.clone().andNot(right),
          a.filter((slot) => !b.includes(slot)),
        );
        for (const slot of b) left.clear(slot);
        check(
          left,
          a.filter((slot) => !b.includes(slot)),
        );
        check(AllowList.all(size).andNot(AllowList.none(size)), slotsOf(AllowList.all(size)));
        assert.equal(AllowList.all(size).count, size);
      }),
    );
  });

  it('keeps the bits past its size at 0', () => {
    assert.deepEqual([...AllowList.all(33).words], [0xffff_ffff, 1]);
    const list = AllowList.none(33);
    list.words.fill(0xffff_ffff);
    assert.equal(list.recount().count, 33);
    assert.equal(list.words[1], 1);
  });

  it('refuses slots and sizes that do not fit', () => {
    const list = AllowList.none(10);
    for (const slot of [-1, 10, 1.5, NaN]) {
      assert.throws(() => {
        list.set(slot);
      }, RangeError);
      assert.throws(() => {
        list.clear(slot);
      }, RangeError);
      assert.equal(list.has(slot), false);
    }
    assert.throws(() => list.and(AllowList.none(11)), /10 and 11/);
    assert.throws(() => AllowList.none(-1), RangeError);
  });
});
