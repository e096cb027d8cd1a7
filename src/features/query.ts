// From query text to n-grams: whole words and character trigrams, so that an unseen word shares
// parts with seen words. Also the vocabulary of n-grams in the texts of a catalogue.

/**
 * Largest number of words of a query that are read. The rest of a long pasted text says little
 * about the user's intent.
 */
const MAX_WORDS = 16;

/** Splits text into lower-case words of Unicode letters and digits, without accents. */
export function queryWords(text: string): string[] {
  const folded = text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
  return (folded.match(/[\p{L}\p{N}]+/gu) ?? []).slice(0, MAX_WORDS);
}

/**
 * Distinct n-grams of a query in the order of its words: each whole `^word$`, then its trigrams.
 */
export function queryNgrams(text: string): string[] {
  return [...new Set(queryWords(text).flatMap(wordNgrams))];
}

/**
 * The n-grams of `texts` that get a row in the model: the `limit` most frequent, sorted. Of equally
 * frequent n-grams, the first in sorted order stay.
 */
export function queryVocabulary(texts: Iterable<string>, limit: number): string[] {
  const words = new Map<string, number>();
  for (const text of texts)
    for (const word of queryWords(text)) words.set(word, (words.get(word) ?? 0) + 1);
  const counts = new Map<string, number>();
  for (const [word, count] of words)
    for (const ngram of new Set(wordNgrams(word)))
      counts.set(ngram, (counts.get(ngram) ?? 0) + count);
  return [...counts]
    .sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))
    .slice(0, limit)
    .map(([ngram]) => ngram)
    .sort();
}

/** `^word$` and its trigrams, by code point. */
function wordNgrams(word: string): string[] {
  const marked = `^${word}$`;
  const characters = Array.from(marked);
  return [
    marked,
    ...characters.slice(2).map((_, start) => characters.slice(start, start + 3).join('')),
  ];
}
