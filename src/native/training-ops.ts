// Fused operations of a training step, and their gradients.

/**
 * Fused operations of a training step and their gradients. All values are f32; outputs come last
 * and are overwritten in full. Results do not depend on the number of threads.
 *
 * @throws RangeError for lengths, rows and columns that do not fit.
 */
export interface TrainingOps {
  /**
   * Normalises the rows of x [n, D] to mean 0 and variance 1, then scales and shifts them; scale,
   * offset [D].
   */
  layerNorm(
    x: Float32Array,
    scale: Float32Array,
    offset: Float32Array,
    epsilon: number,
    out: Float32Array,
  ): void;
  layerNormBackward(
    x: Float32Array,
    scale: Float32Array,
    dy: Float32Array,
    epsilon: number,
    dx: Float32Array,
    dScale: Float32Array,
    dOffset: Float32Array,
  ): void;
  /**
   * Sets a share `rate` in [0, 1) of x to 0, chosen by seed and position alone, and divides the
   * rest by 1 - rate.
   */
  dropout(x: Float32Array, seed: number, rate: number, out: Float32Array): void;
  /** out[i] = dy[i] if y[i] > 0, else 0: the gradient before a relu whose output is y. */
  reluBackward(y: Float32Array, dy: Float32Array, out: Float32Array): void;
  /**
   * Multi-head attention over concatenated histories, [offsets[B], D]. A row attends to itself and
   * to the earlier rows of its history. `offsets` [B + 1], ascending from 0.
   */
  causalAttention(
    queries: Float32Array,
    keys: Float32Array,
    values: Float32Array,
    offsets: Int32Array,
    width: number,
    heads: number,
    out: Float32Array,
  ): void;
  causalAttentionBackward(
    queries: Float32Array,
    keys: Float32Array,
    values: Float32Array,
    dy: Float32Array,
    offsets: Int32Array,
    width: number,
    heads: number,
    dQueries: Float32Array,
    dKeys: Float32Array,
    dValues: Float32Array,
  ): void;
  /**
   * out[e] = ln sum over c of exp(queries[e] . candidates[c] + bias[c] + boost of (e, c)), without
   * the masked pairs (maskRows[i], maskColumns[i]). boosts[i] belongs to the pair (boostRows[i],
   * boostColumns[i]). The rows of pairs ascend. queries [E, width], candidates [C, width]; [E, C]
   * is never held as a whole.
   */
  logSumExpScores(
    queries: Float32Array,
    candidates: Float32Array,
    width: number,
    bias: Float32Array | null,
    maskRows: Int32Array,
    maskColumns: Int32Array,
    boostRows: Int32Array,
    boostColumns: Int32Array,
    boosts: Float32Array,
    out: Float32Array,
  ): void;
  /**
   * Gradients for dy [E]. `logSums` [E] is the output of logSumExpScores(). dCandidates is null if
   * the candidates are constants.
   */
  logSumExpScoresBackward(
    queries: Float32Array,
    candidates: Float32Array,
    width: number,
    bias: Float32Array | null,
    maskRows: Int32Array,
    maskColumns: Int32Array,
    boostRows: Int32Array,
    boostColumns: Int32Array,
    boosts: Float32Array,
    logSums: Float32Array,
    dy: Float32Array,
    dQueries: Float32Array,
    dBoosts: Float32Array,
    dCandidates: Float32Array | null,
  ): void;
}
