// Search queries of the synthetic world: words of a leaf, with fillers and typing errors.

import * as law from './law.ts';
import type { RandomStream } from './random.ts';
import { LEAVES, QUERY_FILLERS, ROOTS } from './taxonomy.ts';

/** Draws one to three words of a leaf, sometimes with a filler word, sometimes mistyped. */
export function drawQuery(stream: RandomStream, leaf: number): string {
  const { words, root } = LEAVES[leaf]!;
  const chosen = new Set<string>();
  const count = 1 + stream.below(3);
  for (let i = 0; i < count; i++) chosen.add(words[stream.below(words.length)]!);
  const text = [...chosen];
  if (stream.chance(0.2)) text.push(ROOTS[root]!);
  if (stream.chance(0.3)) text.unshift(QUERY_FILLERS[stream.below(QUERY_FILLERS.length)]!);
  return text
    .map((word) => (stream.chance(law.TYPO_RATE) ? mistype(stream, word) : word))
    .join(' ');
}

/** Drops, doubles or swaps a letter of a word. */
function mistype(stream: RandomStream, word: string): string {
  if (word.length < 4) return word;
  const at = 1 + stream.below(word.length - 2);
  const kind = stream.below(3);
  if (kind === 0) return word.slice(0, at) + word.slice(at + 1);
  if (kind === 1) return word.slice(0, at) + word[at]! + word.slice(at);
  return word.slice(0, at) + word[at + 1]! + word[at]! + word.slice(at + 2);
}
