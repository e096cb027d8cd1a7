import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { queryNgrams, queryWords } from './query.ts';

// Without ß, which upper case would turn into another word.
const word = fc.stringMatching(/^[a-zäñ0-9]{1,8}$/);

describe('queryNgrams', () => {
  it('gives distinct ascending buckets in range', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 1, max: 5000 }), (text, n) => {
        const found = queryNgrams(text, n);
        for (const [i, bucket] of found.entries()) {
          assert.ok(Number.isInteger(bucket) && bucket >= 0 && bucket < n);
          assert.ok(i === 0 || bucket > found[i - 1]!);
        }
        assert.equal(found.length === 0, queryWords(text).length === 0);
      }),
    );
  });

  it('does not depend on the order, case or repetition of the words', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 8 }), (words) => {
        const plain = queryNgrams(words.join(' '), 4096);
        assert.deepEqual(queryNgrams(words.toReversed().join(', '), 4096), plain);
        assert.deepEqual(queryNgrams([...words, ...words].join('-').toUpperCase(), 4096), plain);
      }),
    );
  });

  it('lets words with common parts share buckets, and others none', () => {
    const common = (a: string, b: string): number => {
      const buckets = new Set(queryNgrams(a, 1 << 20));
      return queryNgrams(b, 1 << 20).filter((bucket) => buckets.has(bucket)).length;
    };
    // ^ru, run, unn.
    assert.equal(common('running', 'runner'), 3);
    assert.equal(common('running', 'piano'), 0);
    assert.equal(common('abc', 'cba'), 0);
  });

  it('reads sixteen words at most', () => {
    const words = Array.from({ length: 40 }, (_, i) => `w${i}`);
    assert.deepEqual(
      queryNgrams(words.join(' '), 4096),
      queryNgrams(words.slice(0, 16).join(' '), 4096),
    );
  });
});

describe('queryWords', () => {
  it('folds accents and case in any script', () => {
    assert.deepEqual(queryWords('  Crème-BRÛLÉE, Ёлка 東京!'), ['creme', 'brulee', 'елка', '東京']);
    assert.deepEqual(queryWords('cafe\u0301'), queryWords('CAFÉ'));
  });
});
