// Query text to hash buckets: words and character trigrams, so that unseen words still share their parts.

/** At most this many words of a query are read; the rest of a pasted text says little about intent. */
const MAX_WORDS = 16;

/** Lower-case words of Unicode letters and digits, accents folded. */
export function queryWords(text: string): string[] {
  const folded = text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
  return (folded.match(/[\p{L}\p{N}]+/gu) ?? []).slice(0, MAX_WORDS);
}

/**
 * Distinct hash buckets in [0, buckets) of a query's words and of the character trigrams of each `^word$`.
 *
 * Ascending order, so that equal queries give equal bags whatever the order of their words.
 */
export function queryNgrams(text: string, buckets: number): number[] {
  const found = new Set<number>();
  for (const word of queryWords(text)) {
    found.add(fnv1a(`w:${word}`) % buckets);
    const marked = `^${word}$`;
    for (let start = 0; start + 3 <= marked.length; start++)
      found.add(fnv1a(`t:${marked.slice(start, start + 3)}`) % buckets);
  }
  return [...found].sort((a, b) => a - b);
}

/** 32-bit FNV-1a over UTF-16 code units, finished with murmur3's mixer (FNV's low bits alone are weak). */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
