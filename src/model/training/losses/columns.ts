// Columns: the items that all examples of a step are scored against, and how often each is expected among them.
// One pool of several sources, shared by all examples, so that scores are one product of matrices.

import type { Random } from '../../../random.ts';
import type { Proposal } from './proposals.ts';

export interface Columns {
  /** [C] item rows. */
  readonly rows: Int32Array;
  /** ln of the expected number of times that an item stands among the columns; finite for every item that does. */
  readonly logExpectedCount: (rows: Int32Array) => Float32Array;
}

/** `count` columns of a step come from this proposal. */
export interface ColumnSource {
  readonly count: number;
  readonly proposal: Proposal;
}

/**
 * Draws the columns of a step from the positives of its examples (in-batch) and from proposals.
 *
 * What a column is corrected by depends on its item alone, not on the source that it came from: with n_k draws from
 * proposal Q_k an item is expected sum_k n_k Q_k(item) times, and the sum over columns of exp(score) / expected count is
 * an unbiased estimate of the sum over the catalogue. That is logQ with ln n added, so that its scale is right, too.
 *
 * @see Veach and Guibas, Optimally Combining Sampling Techniques, SIGGRAPH 1995 (the balance heuristic).
 */
export class ColumnSampler {
  readonly #sources: readonly ColumnSource[];
  readonly #positive: Float64Array | undefined;

  /** @param inBatch - [N] probability that a positive is this item; absent when positives are no columns. */
  constructor(sources: readonly ColumnSource[], inBatch?: Float64Array) {
    this.#sources = sources.filter(({ count }) => count > 0);
    this.#positive = inBatch;
  }

  draw(positives: Int32Array, random: Random): Columns {
    const inBatch = this.#positive === undefined ? 0 : positives.length;
    const drawn = this.#sources.reduce((sum, { count }) => sum + count, 0);
    const rows = new Int32Array(inBatch + drawn);
    if (inBatch > 0) rows.set(positives);
    let column = inBatch;
    for (const { count, proposal } of this.#sources)
      for (let i = 0; i < count; i++) rows[column++] = proposal.draw(random);
    const expected = (row: number): number =>
      this.#sources.reduce(
        (sum, { count, proposal }) => sum + count * proposal.probability(row),
        inBatch === 0 ? 0 : inBatch * this.#positive![row]!,
      );
    return {
      rows,
      logExpectedCount: (wanted) => Float32Array.from(wanted, (row) => Math.log(expected(row))),
    };
  }
}
