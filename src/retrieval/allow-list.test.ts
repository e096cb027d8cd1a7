import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { AllowList } from './allow-list.ts';

const rowsOf = (list: AllowList): number[] =>
  Array.from({ length: list.size }, (_, row) => row).filter((row) => list.has(row));

/** A size, and two sets of rows below it. */
const sets = fc.nat(100).chain((size) => {
  const rows = size === 0 ? fc.constant<number[]>([]) : fc.uniqueArray(fc.nat(size - 1));
  return fc.tuple(fc.constant(size), rows, rows);
});

describe('AllowList', () => {
  it('is a set: count, has, and, or, andNot agree with Set', () => {
    fc.assert(
      fc.property(sets, ([size, a, b]) => {
        const check = (list: AllowList, expected: number[]): void => {
          assert.deepEqual(
            rowsOf(list),
            expected.sort((x, y) => x - y),
          );
          assert.equal(list.count, expected.length);
          assert.deepEqual([...list.rows()], expected);
        };
        const left = AllowList.of(size, a);
        const right = AllowList.of(size, b);
        check(left, [...a]);
        check(
          left.clone().and(right),
          a.filter((row) => b.includes(row)),
        );
        check(left.clone().or(right), [...new Set([...a, ...b])]);
        check(
          left.clone().andNot(right),
          a.filter((row) => !b.includes(row)),
        );
        for (const row of b) left.clear(row);
        check(
          left,
          a.filter((row) => !b.includes(row)),
        );
        check(AllowList.all(size).andNot(AllowList.none(size)), rowsOf(AllowList.all(size)));
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

  it('refuses rows and sizes that do not fit', () => {
    const list = AllowList.none(10);
    for (const row of [-1, 10, 1.5, NaN]) {
      assert.throws(() => {
        list.set(row);
      }, RangeError);
      assert.throws(() => {
        list.clear(row);
      }, RangeError);
      assert.equal(list.has(row), false);
    }
    assert.throws(() => list.and(AllowList.none(11)), /10 and 11/);
    assert.throws(() => AllowList.none(-1), RangeError);
  });
});
