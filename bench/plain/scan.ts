// The exact scan in its simplest form: a loop over typed arrays and a heap of the best k.

import type { AllowList } from '../../src/retrieval/allow-list.ts';

/** Best rows and scores of a scan, best first. */
export interface PlainHits {
  /** [min(k, allowed)]. */
  readonly rows: Int32Array;
  readonly scores: Float32Array;
}

/**
 * Finds the true best k by inner product.
 *
 * @param vectors - [N, D] f32.
 * @param query - [D] f32.
 * @param allow - null for every item.
 */
export function plainScan(
  vectors: Float32Array,
  query: Float32Array,
  k: number,
  allow: AllowList | null = null,
): PlainHits {
  const width = query.length;
  const size = vectors.length / width;
  // A binary heap whose root is the worst of the best k so far.
  const rows = new Int32Array(k);
  const scores = new Float32Array(k);
  let count = 0;
  for (let row = 0; row < size; row++) {
    if (allow !== null && !allow.has(row)) continue;
    const offset = row * width;
    let score = 0;
    for (let i = 0; i < width; i++) score += query[i]! * vectors[offset + i]!;
    if (count < k) {
      let at = count++;
      for (let up = (at - 1) >> 1; at > 0 && scores[up]! > score; up = (at - 1) >> 1) {
        scores[at] = scores[up]!;
        rows[at] = rows[up]!;
        at = up;
      }
      scores[at] = score;
      rows[at] = row;
    } else if (score > scores[0]!) {
      let at = 0;
      for (;;) {
        let down = 2 * at + 1;
        if (down >= k) break;
        if (down + 1 < k && scores[down + 1]! < scores[down]!) down++;
        if (scores[down]! >= score) break;
        scores[at] = scores[down]!;
        rows[at] = rows[down]!;
        at = down;
      }
      scores[at] = score;
      rows[at] = row;
    }
  }
  const order = Array.from({ length: count }, (_, i) => i).sort((a, b) => scores[b]! - scores[a]!);
  return {
    rows: Int32Array.from(order, (i) => rows[i]!),
    scores: Float32Array.from(order, (i) => scores[i]!),
  };
}
