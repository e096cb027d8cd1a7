// The native query head: the online half of the query tower.

import type { HeadBatch } from '../features/head-batch.ts';
import type { Isa, Precision } from './isa.ts';
import type { ItemInputWeights } from './item-inputs.ts';
import type { Ticket } from './ticket.ts';

/**
 * Weights of the online half of the query tower. Shapes are as in docs/explanation/model.md,
 * row-major f32 (out-features first).
 *
 * With `fusion: none` there is no context table, and z = h.
 */
export interface HeadWeights {
  readonly fusion: 'none' | 'concat' | 'attention';
  /** D. */
  readonly embeddingWidth: number;
  /** H, width of the hidden layer. */
  readonly hiddenWidth: number;
  /** [D], the state of a user without one. */
  readonly coldStart: Float32Array;
  /** [H, Z], Z = D for none, D + F + 1 for concat, 2 D + F + 1 for attention. */
  readonly hiddenWeight: Float32Array;
  /** [H]. */
  readonly hiddenBias: Float32Array;
  /** [D, H]. */
  readonly outputWeight: Float32Array;
  /** [D]. */
  readonly outputBias: Float32Array;
  /** [D, Z], the linear path around the hidden layer. */
  readonly skipWeight: Float32Array;
  /** Only for concat and attention. */
  readonly context?: ContextWeights;
  /** Only for attention. */
  readonly attention?: AttentionWeights;
}

export interface ContextWeights {
  /** F, width of the context vector. */
  readonly contextWidth: number;
  /** E, width of a subject-table row. */
  readonly subjectWidth: number;
  /** G, width of a demographic embedding. */
  readonly demographicWidth: number;
  /** [S, E]: categories first, then hashed query n-grams. */
  readonly subjectTable: Float32Array;
  /** [E], used if the weights of the bag sum to 0. */
  readonly noSubject: Float32Array;
  /** [ages, G], row 0 = unknown. */
  readonly ageTable: Float32Array;
  /** [countries, G], row 0 = unknown. */
  readonly countryTable: Float32Array;
  /** [genders, G], row 0 = unknown. */
  readonly genderTable: Float32Array;
  /** [F, E + 3 G], with `subjectItems` [F, E + 3 G + D]. */
  readonly contextWeight: Float32Array;
  /** [F]. */
  readonly contextBias: Float32Array;
  /** Only for a model that reads the item in view. */
  readonly subjectItems?: ItemInputWeights;
}

/**
 * Attention of the context over the states of a history. Head p has the rows [p D / heads, (p + 1)
 * D / heads).
 */
export interface AttentionWeights {
  /** Divides D. */
  readonly heads: number;
  /** [D, F]. */
  readonly queryWeight: Float32Array;
  /** [D, D]. */
  readonly keyWeight: Float32Array;
  /** [D, D]. */
  readonly valueWeight: Float32Array;
  /** [D, D]; its columns are the heads' values side by side. */
  readonly outputWeight: Float32Array;
}

export interface NativeHead {
  /**
   * Computes the query embeddings of a micro-batch:
   *
   * c = relu(Wc [bag(subject) ; age ; country ; gender ; item in view] + bc), with the item only if
   * the weights have subjectItems;
   *
   * z = [h ; c ; stateAge] or [attended ; h ; c ; stateAge];
   *
   * u = normalise(Wo relu(Wh z + bh) + bo + Ws z).
   *
   * @param out - [B, D] f32, overwritten in full with rows of unit L2 norm.
   * @throws RangeError for a row index or a length out of range; TypeError for a wrong array type;
   *   Error with code ERR_NON_FINITE naming the row of an embedding that is NaN, infinite or zero.
   */
  embed(batch: HeadBatch, out: Float32Array): void;
  readonly isa: Isa;
  share(): Ticket<NativeHead>;
}

/** The head's class. */
export type HeadClass = new (
  weights: HeadWeights | Ticket<NativeHead>,
  isa?: Isa,
  precision?: Precision,
) => NativeHead;

/** The class as the addon exports it: its embedArrays() takes the members of a batch one by one. */
export type NativeHeadClass = new (...construction: ConstructorParameters<HeadClass>) => {
  readonly isa: Isa;
  share(): Ticket<NativeHead>;
  embedArrays(
    count: number,
    states: Float32Array,
    hasState: Uint8Array,
    stateAge: Float32Array,
    subjectOffsets: Int32Array,
    subjectRows: Int32Array,
    subjectWeights: Float32Array,
    demographics: Int32Array,
    subjectItems: Int32Array | undefined,
    sequenceOffsets: Int32Array | undefined,
    sequenceRows: Float32Array | undefined,
    out: Float32Array,
  ): void;
};

/** Reads a batch here, because reading its properties from C++ took 0.9 us of a call of 3.6 us. */
export function headClass(Native: NativeHeadClass): HeadClass {
  return class Head extends Native implements NativeHead {
    embed(batch: HeadBatch, out: Float32Array): void {
      this.embedArrays(
        batch.count,
        batch.states,
        batch.hasState,
        batch.stateAge,
        batch.subjectOffsets,
        batch.subjectRows,
        batch.subjectWeights,
        batch.demographics,
        batch.subjectItems,
        batch.sequenceOffsets,
        batch.sequenceRows,
        out,
      );
    }
  };
}
