// Ragged bags of table rows: the categories of items and the subjects of requests.

import type { HeadBatch } from '../../features/head-batch.ts';
import type { ItemFeatures } from '../../features/item-features.ts';

/** Ragged bags of table rows: bag b holds the entries [offsets[b], offsets[b + 1]). */
export interface Bags {
  /** [B + 1], ascending, [0] = 0. */
  readonly offsets: Int32Array;
  /** [entries] rows of the table. */
  readonly rows: Int32Array;
  /** [entries] the weight of each row. */
  readonly weights: Float32Array;
}

/**
 * Category bags of items.
 *
 * @param catalogueRows - [n] items, or undefined for the whole catalogue of N items.
 * @returns n bags (N for the whole catalogue) of rows of the table `items.category`.
 */
export function categoryBags(items: ItemFeatures, catalogueRows: Int32Array | undefined): Bags {
  const { categoryOffsets, categoryRows, categoryWeights } = items;
  if (catalogueRows === undefined)
    return { offsets: categoryOffsets, rows: categoryRows, weights: categoryWeights };
  const offsets = new Int32Array(catalogueRows.length + 1);
  for (const [i, item] of catalogueRows.entries())
    offsets[i + 1] = offsets[i]! + categoryOffsets[item + 1]! - categoryOffsets[item]!;
  const rows = new Int32Array(offsets[catalogueRows.length]!);
  const weights = new Float32Array(offsets[catalogueRows.length]!);
  for (const [i, item] of catalogueRows.entries()) {
    const begin = categoryOffsets[item]!;
    const end = categoryOffsets[item + 1]!;
    rows.set(categoryRows.subarray(begin, end), offsets[i]);
    weights.set(categoryWeights.subarray(begin, end), offsets[i]);
  }
  return { offsets, rows, weights };
}

/**
 * Subject bags of a batch of B requests.
 *
 * @returns `bags`: B bags of rows of `context.subjectTable`, with the weights of each bag divided
 *   by their sum; `empty`: [B] 1 for a bag whose weights sum to 0, else 0.
 */
export function subjectBags(batch: HeadBatch): { bags: Bags; empty: Float32Array } {
  const { count, subjectOffsets, subjectRows, subjectWeights } = batch;
  const weights = new Float32Array(subjectWeights.length);
  const empty = new Float32Array(count);
  for (let b = 0; b < count; b++) {
    const begin = subjectOffsets[b]!;
    const end = subjectOffsets[b + 1]!;
    let total = 0;
    for (let i = begin; i < end; i++) total += subjectWeights[i]!;
    if (total === 0) empty[b] = 1;
    else for (let i = begin; i < end; i++) weights[i] = subjectWeights[i]! / total;
  }
  return { bags: { offsets: subjectOffsets, rows: subjectRows, weights }, empty };
}
