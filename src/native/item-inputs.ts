// Weights of the input embeddings of items, which the query head and the history encoder read.

/**
 * The input embedding of an item is its row of `itemTable` plus the embeddings of the features
 * whose tables are here.
 */
export interface ItemInputWeights {
  /** [N, D]. */
  readonly itemTable: Float32Array;
  readonly categories?: {
    /** [categories, D]. */
    readonly table: Float32Array;
    /** [N + 1], ascending from 0: the categories of item i are [offsets[i], offsets[i + 1]). */
    readonly offsets: Int32Array;
    readonly rows: Int32Array;
    readonly weights: Float32Array;
  };
  readonly advertisers?: ItemRows;
  readonly prices?: ItemRows;
}

/** A table, and the row of each item in it. */
export interface ItemRows {
  /** [rows, D]. */
  readonly table: Float32Array;
  /** [N]. */
  readonly rows: Int32Array;
}
