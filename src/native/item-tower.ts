// The native item tower.

import type { ItemFeatures } from '../features/item-features.ts';
import type { Isa } from './isa.ts';

/**
 * Weights of the item tower without the table of ids. Shapes are as in docs/explanation/model.md,
 * row-major f32 (out-features first).
 */
export interface ItemTowerWeights extends ItemTables {
  /** D. */
  readonly embeddingWidth: number;
  /** H. */
  readonly hiddenWidth: number;
  /** [H, D]. */
  readonly hiddenWeight: Float32Array;
  /** [H]. */
  readonly hiddenBias: Float32Array;
  /** [D, H]. */
  readonly outputWeight: Float32Array;
  /** [D]. */
  readonly outputBias: Float32Array;
}

/** Tables of the features that items share. A table that is left out adds nothing to an item. */
export interface ItemTables {
  /** [categories, D]. */
  readonly categoryTable?: Float32Array;
  /** [advertisers, D], row 0 = unknown. */
  readonly advertiserTable?: Float32Array;
  /** [prices, D], row 0 = unknown. */
  readonly priceTable?: Float32Array;
}

export interface NativeItemTower {
  /**
   * Computes item vectors v = normalise(x + W2 relu(W1 x + b1) + b2), with x = id row + weighted
   * categories + advertiser + price, on the threads of the pool (TANDEM_THREADS) while the caller
   * waits. At the default widths one item takes 2 us, and an item of a batch 0.25 us.
   *
   * A vector depends on its item alone, to the last bit: not on the rest of the batch, nor on the
   * number of threads.
   *
   * @param items - N items; rows of a table that the weights leave out are not read.
   * @param idRows - [N, D] f32, what each item has in addition to its features.
   * @param out - [N, D] f32, overwritten in full with rows of unit L2 norm; it must not overlap
   *   idRows.
   * @throws RangeError naming the position of a wrong length, row or offset; TypeError for a wrong
   *   array type; Error with code ERR_NON_FINITE naming the first item whose vector is NaN,
   *   infinite or zero.
   */
  embed(items: ItemFeatures, idRows: Float32Array, out: Float32Array): void;
  readonly isa: Isa;
}
