// The sampled candidates of a step: the items that its examples are scored against, and the
// expected count of each item among them. All examples share the candidates, so that the scores are
// one matrix product.

import type { Random } from '../../../random.ts';
import type { Proposal } from './proposals.ts';

/** The candidates of a step, one for each column of the score matrix [E, C]. */
export interface SampledCandidates {
  /** [C] catalogue rows. */
  readonly rows: Int32Array;
  /**
   * The logQ correction: ln of the expected number of times that an item is among the candidates.
   *
   * @param rows - [n] catalogue rows.
   * @returns [n], finite for every item that can be a candidate.
   */
  readonly logExpectedCount: (rows: Int32Array) => Float32Array;
}

/** A proposal, and the number of candidates that each step draws from it. */
interface CandidateSource {
  readonly count: number;
  readonly proposal: Proposal;
}

/**
 * Draws the candidates of a step from the positives of its examples (in-batch) and from proposals.
 *
 * The correction of a candidate depends on its item only, not on the source that it came from. With
 * n_k draws from each proposal Q_k, the expected count of an item is sum_k n_k Q_k(item). The sum
 * of exp(score) / expected count over the candidates is an unbiased estimate of the sum of
 * exp(score) over the catalogue. For one proposal with n draws, ln of the expected count is ln Q +
 * ln n: the logQ correction, plus a constant that makes the scale of the estimate right.
 *
 * @see Veach and Guibas, Optimally Combining Sampling Techniques, SIGGRAPH 1995 (the balance
 *   heuristic).
 */
export class CandidateSampler {
  readonly #sources: readonly CandidateSource[];
  readonly #positive: Float64Array | undefined;

  /**
   * @param inBatch - [N] probability that a positive is this item; absent when positives are not
   *   candidates.
   */
  constructor(sources: readonly CandidateSource[], inBatch?: Float64Array) {
    this.#sources = sources.filter(({ count }) => count > 0);
    this.#positive = inBatch;
  }

  /** @param positives - [E] catalogue rows of the step's positives. */
  draw(positives: Int32Array, random: Random): SampledCandidates {
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
