import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { queryNgrams, queryVocabulary, queryWords } from './query.ts';

// Letters without ß, because its upper case SS is another word.
const word = fc.stringMatching(/^[a-zäñ0-9]{1,8}$/);

describe('queryNgrams', () => {
  it('gives each word whole and in its trigrams', () => {
    assert.deepEqual(queryNgrams('Ab'), ['^ab$', '^ab', 'ab$']);
    assert.deepEqual(queryNgrams('a'), ['^a$']);
    // By code point: no n-gram is half of a character.
    assert.deepEqual(queryNgrams('\u{20000}\u{20001}'), [
      '^\u{20000}\u{20001}$',
      '^\u{20000}\u{20001}',
      '\u{20000}\u{20001}$',
    ]);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const found = queryNgrams(text);
        assert.equal(new Set(found).size, found.length);
        for (const word of queryWords(text)) assert.ok(found.includes(`^${word}$`));
        assert.equal(found.length === 0, queryWords(text).length === 0);
      }),
    );
  });

  it('does not depend on the order, case or repetition of the words', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 8 }), (words) => {
        const plain = queryNgrams(words.join(' ')).sort();
        assert.deepEqual(queryNgrams(words.toReversed().join(', ')).sort(), plain);
        assert.deepEqual(queryNgrams([...words, ...words].join('-').toUpperCase()).sort(), plain);
      }),
    );
  });

  it('reads sixteen words at most', () => {
    const words = Array.from({ length: 40 }, (_, i) => `w${i}`);
    assert.deepEqual(queryNgrams(words.join(' ')), queryNgrams(words.slice(0, 16).join(' ')));
  });
});

describe('queryVocabulary', () => {
  const texts = fc.array(fc.array(word, { maxLength: 4 }).map((words) => words.join(' ')));

  it('has the n-grams of all texts, sorted, whatever their order', () => {
    fc.assert(
      fc.property(texts, (list) => {
        const all = [...new Set(list.flatMap(queryNgrams))].sort();
        assert.deepEqual(queryVocabulary(list, Infinity), all);
        assert.deepEqual(queryVocabulary(list.toReversed(), Infinity), all);
      }),
    );
  });

  it('keeps the most frequent ones under a limit', () => {
    // All of "ab" occurs three times, all of "ac" once.
    const list = ['ab ab', 'ab', 'ac'];
    assert.deepEqual(queryVocabulary(list, 3), ['^ab', '^ab$', 'ab$']);
    assert.deepEqual(queryVocabulary(list, 4), ['^ab', '^ab$', '^ac', 'ab$']);
    fc.assert(
      fc.property(texts, fc.nat(9), (list, limit) => {
        const count = (ngram: string): number =>
          list.flatMap(queryWords).filter((one) => queryNgrams(one).includes(ngram)).length;
        const kept = queryVocabulary(list, limit);
        const left = queryVocabulary(list, Infinity).filter((ngram) => !kept.includes(ngram));
        assert.equal(kept.length, Math.min(limit, kept.length + left.length));
        const rarest = Math.min(...kept.map(count));
        for (const ngram of left) assert.ok(limit === 0 || count(ngram) <= rarest);
      }),
    );
  });
});

describe('queryWords', () => {
  it('folds accents and case in any script', () => {
    assert.deepEqual(queryWords('  Crème-BRÛLÉE, Ёлка 東京!'), ['creme', 'brulee', 'елка', '東京']);
    assert.deepEqual(queryWords('cafe\u0301'), queryWords('CAFÉ'));
  });
});
