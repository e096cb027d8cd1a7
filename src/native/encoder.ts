// The native history encoder.

import type { HistoryBatch } from '../features/sequence.ts';
import type { Isa, Precision } from './isa.ts';
import type { ItemInputWeights } from './item-inputs.ts';

/** The events of a history whose hidden states make up the state: the newest event or all. */
export type StateEvents = 'newest' | 'all';

/**
 * Weights of the history encoder. Names and shapes are as in docs/explanation/model.md, row-major
 * f32 (out-features first).
 */
export interface EncoderWeights extends ItemInputWeights {
  /** D. */
  readonly embeddingWidth: number;
  /** Divides D. */
  readonly heads: number;
  /** F. */
  readonly feedForwardWidth: number;
  /** T. */
  readonly maxHistory: number;
  /** A. */
  readonly actionWidth: number;
  /** [actions, A], row 0 = unknown. */
  readonly actionTable: Float32Array;
  /** [gaps, D]. */
  readonly gapTable: Float32Array;
  /** [T, D]; the newest event of a history has the last row. */
  readonly positionTable: Float32Array;
  /** [D, D + A]. */
  readonly inputWeight: Float32Array;
  /** [D]. */
  readonly inputBias: Float32Array;
  /** At least one. */
  readonly blocks: readonly EncoderBlockWeights[];
  /** [D]. */
  readonly normScale: Float32Array;
  /** [D]. */
  readonly normOffset: Float32Array;
  /** [D, D], only for a model whose states carry the mean of the history. */
  readonly meanWeight?: Float32Array;
}

/** A pre-norm Transformer block. Vectors are [D] and weights [D, D] unless stated otherwise. */
export interface EncoderBlockWeights {
  readonly attentionNormScale: Float32Array;
  readonly attentionNormOffset: Float32Array;
  readonly queryWeight: Float32Array;
  readonly queryBias: Float32Array;
  readonly keyWeight: Float32Array;
  readonly keyBias: Float32Array;
  readonly valueWeight: Float32Array;
  readonly valueBias: Float32Array;
  readonly attentionOutputWeight: Float32Array;
  readonly attentionOutputBias: Float32Array;
  readonly feedForwardNormScale: Float32Array;
  readonly feedForwardNormOffset: Float32Array;
  /** [F, D]. */
  readonly feedForwardWeight: Float32Array;
  /** [F]. */
  readonly feedForwardBias: Float32Array;
  /** [D, F]. */
  readonly feedForwardOutputWeight: Float32Array;
  readonly feedForwardOutputBias: Float32Array;
}

export interface NativeEncoder {
  /**
   * Encodes histories into user states, on the threads of the pool (TANDEM_THREADS), while the
   * caller waits.
   *
   * A state depends on the events of its user alone, to the last bit: not on the rest of the batch,
   * nor on the number of threads.
   *
   * @param out - overwritten in full. For `newest` [B, D] f32, 0 for a user without events; for
   *   `all` [offsets[B], D].
   * @throws RangeError naming the position of a wrong length, row or offset; TypeError for a wrong
   *   array type; Error with code ERR_NON_FINITE naming the first user whose state is NaN or
   *   infinite.
   */
  encode(batch: HistoryBatch, out: Float32Array): void;
  readonly isa: Isa;
  readonly precision: Precision;
}
