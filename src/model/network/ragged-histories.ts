// Index arithmetic of ragged histories: positions, blocks of similar length, and the distinct items
// of a batch. No tensors here.

import type { HistoryBatch } from '../../features/sequence.ts';

/** Largest number of histories in one block. */
const BLOCK_HISTORIES = 512;
/**
 * Largest size of a padded tensor of a block. WebGPU guarantees this size for one binding, and it
 * fits into the memory of any GPU.
 */
const TENSOR_BYTES = 128 * 1024 * 1024;

/**
 * Row of the position table for every event. The newest event of a history has the last row.
 *
 * @param offsets - [B + 1]: history b has the events [offsets[b], offsets[b + 1]).
 * @returns [offsets[B]] rows in [0, maxHistory).
 */
export function positionRows(offsets: Int32Array, maxHistory: number): Int32Array {
  const rows = new Int32Array(offsets.at(-1)!);
  for (const [b, end] of offsets.subarray(1).entries())
    for (let i = offsets[b]!; i < end; i++) rows[i] = maxHistory - end + i;
  return rows;
}

/**
 * Groups the histories that have events into blocks of similar length, the longest first. Backends
 * without ragged attention pad a block to its longest history.
 *
 * A block has at most 512 histories. No padded tensor of a block (attention scores, hidden layer of
 * the feed-forward network) is larger than 128 MiB.
 *
 * @param offsets - [B + 1]: history b has the events [offsets[b], offsets[b + 1]).
 * @returns blocks of history indices in [0, B).
 */
export function lengthBlocks(
  offsets: Int32Array,
  heads: number,
  feedForwardWidth: number,
): Int32Array[] {
  const lengthOf = (history: number): number => offsets[history + 1]! - offsets[history]!;
  const order = Int32Array.from({ length: offsets.length - 1 }, (_, i) => i)
    .filter((history) => lengthOf(history) > 0)
    .sort((a, b) => lengthOf(b) - lengthOf(a));
  const blocks: Int32Array[] = [];
  for (let begin = 0; begin < order.length; begin += blocks.at(-1)!.length) {
    const longest = lengthOf(order[begin]!);
    const bytes = 4 * longest * Math.max(heads * longest, feedForwardWidth);
    const most = Math.max(1, Math.min(BLOCK_HISTORIES, Math.floor(TENSOR_BYTES / bytes)));
    blocks.push(order.subarray(begin, begin + most));
  }
  return blocks;
}

/**
 * The newest events of each history.
 *
 * @param offsets - [B + 1]: history b has the events [offsets[b], offsets[b + 1]).
 * @param most - the largest number of events to keep of one history.
 * @returns `rows`: [R] the indices of the kept events; `offsets`: [B + 1], history b has the kept
 *   events [offsets[b], offsets[b + 1]).
 */
export function newestRows(
  offsets: Int32Array,
  most: number,
): { rows: Int32Array; offsets: Int32Array } {
  const rows: number[] = [];
  const starts = new Int32Array(offsets.length);
  for (const [b, end] of offsets.subarray(1).entries()) {
    for (let row = Math.max(offsets[b]!, end - most); row < end; row++) rows.push(row);
    starts[b + 1] = rows.length;
  }
  return { rows: Int32Array.from(rows), offsets: starts };
}

/**
 * Extracts some histories of a batch and numbers the distinct items that occur in them, so that
 * each item is embedded once.
 *
 * @param batch - its items are catalogue rows.
 * @param histories - indices of histories in `batch`.
 * @returns `catalogueRows`: [M] the distinct items; `part`: the histories, with items as indices
 *   into `catalogueRows`.
 */
export function compactHistories(
  batch: HistoryBatch,
  histories: Int32Array,
): { catalogueRows: Int32Array; part: HistoryBatch } {
  const offsets = new Int32Array(histories.length + 1);
  for (const [i, history] of histories.entries())
    offsets[i + 1] = offsets[i]! + batch.offsets[history + 1]! - batch.offsets[history]!;
  const gathered = (column: Int32Array): Int32Array => {
    const out = new Int32Array(offsets[histories.length]!);
    for (const [i, history] of histories.entries())
      out.set(column.subarray(batch.offsets[history], batch.offsets[history + 1]), offsets[i]);
    return out;
  };
  const { catalogueRows, indices } = distinctItems(gathered(batch.items));
  const part = {
    offsets,
    items: indices,
    actions: gathered(batch.actions),
    gaps: gathered(batch.gaps),
  };
  return { catalogueRows, part };
}

/** The distinct items of two arrays, and both arrays as indices into them. */
export interface DistinctItems {
  /**
   * [M] distinct catalogue rows in the order of their first occurrence. Row 0 alone when both
   * arrays are empty, because tfjs does not gather from an empty table.
   */
  readonly catalogueRows: Int32Array;
  /** [items] the index into catalogueRows of each element of `items`. */
  readonly indices: Int32Array;
  /** [also] the index into catalogueRows of each element of `also`. */
  readonly alsoIndices: Int32Array;
}

/**
 * Finds the distinct items of a step, so that each is embedded once.
 *
 * @param items - catalogue rows, with repetitions.
 * @param also - further catalogue rows to include.
 */
export function distinctItems(
  items: Int32Array,
  also: Int32Array = new Int32Array(0),
): DistinctItems {
  // A table over catalogue rows is faster than a Map: it is read once for every event of a step.
  const indexOf = new Int32Array(1 + Math.max(largest(items), largest(also))).fill(-1);
  const catalogueRows = new Int32Array(Math.max(1, items.length + also.length));
  let count = 0;
  const locateAll = (wanted: Int32Array): Int32Array => {
    const indices = new Int32Array(wanted.length);
    for (let i = 0; i < wanted.length; i++) {
      const row = wanted[i]!;
      if (indexOf[row] === -1) {
        indexOf[row] = count;
        catalogueRows[count++] = row;
      }
      indices[i] = indexOf[row]!;
    }
    return indices;
  };
  const indices = locateAll(items);
  const alsoIndices = locateAll(also);
  return { catalogueRows: catalogueRows.slice(0, Math.max(1, count)), indices, alsoIndices };
}

function largest(rows: Int32Array): number {
  let most = 0;
  for (let i = 0; i < rows.length; i++) most = Math.max(most, rows[i]!);
  return most;
}
