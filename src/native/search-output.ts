// Result arrays of every native search.

/**
 * Result arrays of a search for B queries. Row b has counts[b] hits, best first, ties by lower row.
 */
export interface SearchOutput {
  /** [B, k] item rows; entries past the count are -1. */
  readonly rows: Int32Array;
  /**
   * [B, k] scores (inner product of unit vectors: higher is nearer); entries past the count are
   * -Infinity.
   */
  readonly scores: Float32Array;
  /** [B] number of hits. */
  readonly counts: Int32Array;
}
