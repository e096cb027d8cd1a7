// Full ranking of all candidates: the ranks of the positives and the best K, with one tie rule.
// Negatives are never sampled.

import { TandemError } from '../errors.ts';
import type { EvaluationQuery, EvaluationSet, Scorer } from './query.ts';

/** The tie rule as every report prints it. */
export const TIE_RULE = 'higher score first, then lower catalogue row';

/** Size of one block of scores, which bounds memory for any Q and N. */
const BLOCK_BYTES = 64 * 1024 * 1024;

/** The ranking of one query. */
export interface RankedQuery {
  /** [positives], 0 = best, in the order of query.positives. */
  readonly ranks: Int32Array;
  /** The catalogue rows of the best candidates in order, at most K. */
  readonly top: Int32Array;
}

/**
 * Ranks all candidates for every query, and passes each result to `visit` in the order of the
 * queries. Costs Q N log(positives + K) at worst.
 *
 * @param top - K, how many of the best to extract.
 * @param visit - called once per query.
 * @param onBlock - called after each block with the number of queries done.
 * @throws TandemError ERR_NON_FINITE naming scorer and request.
 */
export async function rankAll(
  set: Pick<EvaluationSet, 'queries' | 'candidates'>,
  scorer: Scorer,
  top: number,
  visit: (query: EvaluationQuery, ranked: RankedQuery, index: number) => void,
  onBlock: (done: number) => void = () => undefined,
): Promise<void> {
  const items = set.candidates.length;
  const rows = Math.max(1, Math.min(512, Math.floor(BLOCK_BYTES / (4 * items))));
  const scores = new Float32Array(Math.min(rows, set.queries.length) * items);
  for (let begin = 0; begin < set.queries.length; begin += rows) {
    const block = set.queries.slice(begin, begin + rows);
    const out = scores.subarray(0, block.length * items);
    // The check for finite numbers catches a scorer that does not write a row.
    out.fill(Number.NaN);
    await scorer.score(block, out);
    for (const [i, query] of block.entries()) {
      const row = out.subarray(i * items, (i + 1) * items);
      requireFinite(row, scorer, query);
      maskRow(row, set.candidates, query.excluded);
      visit(query, { ranks: ranksOf(row, query.positives), top: topK(row, top) }, begin + i);
    }
    onBlock(Math.min(begin + rows, set.queries.length));
  }
}

/**
 * Sets the scores of items that are not candidates to -Infinity.
 *
 * @param row - [N] scores of one query, changed in place.
 */
export function maskRow(row: Float32Array, candidates: Uint8Array, excluded: Int32Array): void {
  for (let item = 0; item < row.length; item++) if (candidates[item] === 0) row[item] = -Infinity;
  for (const item of excluded) row[item] = -Infinity;
}

/**
 * The rank of each positive: how many items have a higher score, or the same score and a lower row.
 *
 * One pass: every item is counted at the first positive that it outranks. Costs N log(positives).
 *
 * @param row - [N] scores of one query.
 * @param positives - catalogue rows.
 * @returns [positives], 0 = best.
 */
export function ranksOf(row: Float32Array, positives: Int32Array): Int32Array {
  const order = Array.from(positives.keys()).sort(
    (a, b) => row[positives[b]!]! - row[positives[a]!]! || positives[a]! - positives[b]!,
  );
  const sorted = Int32Array.from(order, (i) => positives[i]!);
  const scores = Float32Array.from(sorted, (positive) => row[positive]!);
  const worst = scores[scores.length - 1]!;
  const ahead = new Int32Array(sorted.length);
  for (let item = 0; item < row.length; item++) {
    const score = row[item]!;
    if (score < worst) continue;
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (score > scores[middle]! || (score === scores[middle]! && item < sorted[middle]!))
        high = middle;
      else low = middle + 1;
    }
    if (low < sorted.length) ahead[low]!++;
  }
  const ranks = new Int32Array(positives.length);
  let rank = 0;
  for (const [i, positive] of order.entries()) {
    rank += ahead[i]!;
    ranks[positive] = rank;
  }
  return ranks;
}

/**
 * The best `count` items in order, without those with score -Infinity. A heap keeps the worst kept
 * item at its root.
 */
export function topK(row: Float32Array, count: number): Int32Array {
  const heap = new Int32Array(count);
  let size = 0;
  const worse = (a: number, b: number): boolean =>
    row[a]! < row[b]! || (row[a] === row[b] && a > b);
  const sink = (start: number): void => {
    const item = heap[start]!;
    let parent = start;
    for (let child = 2 * parent + 1; child < size; child = 2 * parent + 1) {
      if (child + 1 < size && worse(heap[child + 1]!, heap[child]!)) child++;
      if (!worse(heap[child]!, item)) break;
      heap[parent] = heap[child]!;
      parent = child;
    }
    heap[parent] = item;
  };
  for (let item = 0; item < row.length; item++) {
    if (row[item] === -Infinity) continue;
    if (size < count) {
      heap[size++] = item;
      if (size === count) for (let start = (count >> 1) - 1; start >= 0; start--) sink(start);
    } else if (count > 0 && row[item]! > row[heap[0]!]!) {
      heap[0] = item;
      sink(0);
    }
  }
  return heap.subarray(0, size).sort((a, b) => row[b]! - row[a]! || a - b);
}

function requireFinite(row: Float32Array, scorer: Scorer, query: EvaluationQuery): void {
  for (let item = 0; item < row.length; item++)
    if (!Number.isFinite(row[item]))
      throw new TandemError(
        'ERR_NON_FINITE',
        `Expected finite scores from "${scorer.name}" for request ${query.id}, received ` +
          `${row[item]!} for catalogue row ${item}. ` +
          "The model's weights or the baseline's counts are broken: do not publish it.",
        { details: { scorer: scorer.name, request: query.id, row: item } },
      );
}
