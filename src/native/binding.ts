// Types of every native export, and the one place that loads the addon. What is computed is in native/core.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TandemError } from '../errors.ts';
import type { HeadBatch } from '../features/head-batch.ts';
import type { ItemFeatures } from '../features/item-features.ts';
import type { HistoryBatch } from '../features/sequence.ts';

/** Instruction sets with their own kernels, slowest first. */
export type Isa = 'scalar' | 'avx2' | 'avx512' | 'amx' | 'neon';

/** Operands of dense products: f32, or rounded to bf16 with sums in f32. */
export type Precision = 'f32' | 'bf16';

/** Events of a history whose hidden states are a user's state. */
export type StateRows = 'newest' | 'all';

/**
 * Weights of the online half of the query tower; shapes as in docs/explanation/model.md, row-major f32 (out-features first).
 *
 * `fusion: none` leaves every context table out: then z = h and the head is all there is.
 */
export interface HeadWeights {
  readonly fusion: 'none' | 'concat' | 'attention';
  /** D. */
  readonly embeddingWidth: number;
  /** H, width of the hidden layer. */
  readonly hiddenWidth: number;
  /** [D], stands for a user without a state. */
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
  /** For concat and attention. */
  readonly context?: ContextWeights;
  /** For attention. */
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
  /** [E], used when the weights of the bag sum to 0. */
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
  /** Of a model that reads the item in view. */
  readonly subjectItems?: ItemInputWeights;
}

/** The input embedding of an item is its row of `itemTable`, plus what of categories, advertisers and prices is there. */
export interface ItemInputWeights {
  /** [N, D]. */
  readonly itemTable: Float32Array;
  readonly categories?: {
    /** [categories, D]. */
    readonly table: Float32Array;
    /** [N + 1], ascending from 0: item i has the terms [offsets[i], offsets[i + 1]). */
    readonly offsets: Int32Array;
    readonly rows: Int32Array;
    readonly weights: Float32Array;
  };
  readonly advertisers?: ItemRows;
  readonly prices?: ItemRows;
}

/** One row of a table for each item. */
export interface ItemRows {
  /** [rows, D]. */
  readonly table: Float32Array;
  /** [N]. */
  readonly rows: Int32Array;
}

/** Attention of the context over the states of a history; head p has the rows [p D / heads, (p + 1) D / heads). */
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

/**
 * What share() gives: posted to another thread and redeemed there once, it makes that thread an owner of the same native object.
 * A ticket that nobody redeems keeps the object alive.
 */
export type Ticket<T> = bigint & { readonly ticketFor?: T };

export interface NativeHead {
  /**
   * Query embeddings of a micro-batch: c = relu(Wc [bag(subject) ; age ; country ; gender ; item in view] + bc), the item
   * with subjectItems alone, z = [h ; c ; stateAge] or [attended ; h ; c ; stateAge], u = normalise(Wo relu(Wh z + bh) + bo + Ws z).
   *
   * @param out - [B, D] f32, overwritten in full with rows of unit L2 norm.
   * @throws RangeError when a row index or a length is out of range; TypeError for a wrong array type;
   *   TandemError-shaped Error (code ERR_NON_FINITE) naming the row when an embedding is NaN, Inf or zero.
   */
  embed(batch: HeadBatch, out: Float32Array): void;
  readonly isa: Isa;
  share(): Ticket<NativeHead>;
}

/** Weights of the history encoder; names and shapes as in docs/explanation/model.md, row-major f32 (out-features first). */
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
  /** [D, D], of a model whose states carry the mean of the history. */
  readonly meanWeight?: Float32Array;
}

/** A pre-norm Transformer block: vectors are [D], weights [D, D] where nothing else is said. */
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
   * User states, on the threads of the pool (TANDEM_THREADS), while the caller waits.
   *
   * A state depends on the events of its user alone, to the last bit: not on the rest of the batch, not on threads.
   *
   * @param out - overwritten in full. [B, D] f32 for rows `newest`, 0 for a user without events; [offsets[B], D] for `all`.
   * @throws RangeError naming the position of a wrong length, row or offset; TypeError for a wrong array type;
   *   Error with code ERR_NON_FINITE naming the first user whose state is NaN or Inf.
   */
  encode(batch: HistoryBatch, out: Float32Array): void;
  readonly isa: Isa;
  readonly precision: Precision;
}

/** Weights of the item tower but for the table of ids; shapes as in docs/explanation/model.md, row-major f32 (out-features first). */
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

/** Tables of the features that items share; one that is left out adds nothing to an item. */
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
   * Item vectors v = normalise(x + W2 relu(W1 x + b1) + b2), x = id row + weighted categories + advertiser + price, on the
   * threads of the pool (TANDEM_THREADS) while the caller waits: 2 microseconds for one item at the default widths, a quarter
   * of one for each of a batch.
   *
   * A vector depends on its item alone, to the last bit: not on the rest of the batch, not on threads.
   *
   * @param items - N of them; rows of a table that the weights leave out are not looked at.
   * @param idRows - [N, D] f32, what each item has beyond its features.
   * @param out - [N, D] f32, overwritten in full with rows of unit L2 norm; apart from idRows.
   * @throws RangeError naming the position of a wrong length, row or offset; TypeError for a wrong array type;
   *   Error with code ERR_NON_FINITE naming the first item whose vector is NaN, Inf or zero.
   */
  embed(items: ItemFeatures, idRows: Float32Array, out: Float32Array): void;
  readonly isa: Isa;
}

/** Result arrays of a search over B queries; row b holds count[b] hits, best first, ties by lower row. */
export interface SearchOutput {
  /** [B, k] item rows; entries past the count are -1. */
  readonly rows: Int32Array;
  /** [B, k] scores (inner product of unit vectors: higher is nearer); entries past the count are -Infinity. */
  readonly scores: Float32Array;
  /** [B]. */
  readonly counts: Int32Array;
}

export interface NativeExactIndex {
  readonly size: number;
  readonly dimensions: number;
  readonly isa: Isa;
  /**
   * The true top k by inner product, ties by lower row.
   *
   * @param queries - [B, D] f32, finite, not zero.
   * @param allow - bitset of `size` bits, little-endian in u32 words (bit i of word i >> 5), the distinct rows
   *   themselves (for few of them: nothing else is looked at), or null for every item; the same for all B queries.
   */
  search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: Uint32Array | Int32Array | null,
    out: SearchOutput,
  ): void;
  /** As search(), off this thread: leave the arrays alone until it resolves. What is wrong with arguments is thrown at once. */
  searchAsync(...search: Parameters<NativeExactIndex['search']>): Promise<void>;
  /**
   * Adds 8-bit codes (D bytes a vector), scanned instead of the vectors from then on with the same results: about
   * 4 times faster for batches (npm run bench -- retrieval), at a quarter of the memory traffic. TypeError after share().
   */
  addCodes(): void;
  /** Inner products of one query [D] with the given rows; out [rows.length]. */
  score(query: Float32Array, rows: Int32Array, out: Float32Array): void;
  share(): Ticket<NativeExactIndex>;
}

export interface ClusterOptions {
  /** [Q, D] unit rows to calibrate with, Q >= 2, from the distribution that will be searched with; copied. */
  readonly queries: Float32Array;
  /** Size of the result list that recallTarget is about. */
  readonly k: number;
  /** Share of the true top k that must be found, in (0, 1]. */
  readonly recallTarget: number;
  /** Called on the JavaScript thread with the share of the work done, at most ten times a second. */
  readonly onProgress?: (share: number) => void;
}

/** k-means partitions of 8-bit codes: scanned as far as the calibrated recall needs, then scored again in f32. */
export interface NativeClusterIndex {
  readonly size: number;
  readonly dimensions: number;
  readonly clusters: number;
  /** Share of the true top k found for calibration queries that were held out. */
  readonly recall: number;
  readonly isa: Isa;
  /**
   * Approximate top k with exact scores, ties by lower row; k of them wherever k are allowed. Same contract for
   * queries, allow (bitset or null) and out as NativeExactIndex.
   *
   * @param selectivity - share of the vectors that `allow` leaves, 1 for null: the fewer, the further it looks.
   */
  search(
    queries: Float32Array,
    count: number,
    k: number,
    allow: Uint32Array | null,
    selectivity: number,
    out: SearchOutput,
  ): void;
  /** As search(), off this thread; as NativeExactIndex.searchAsync(). */
  searchAsync(...search: Parameters<NativeClusterIndex['search']>): Promise<void>;
  /** The index without its vectors, in this package's own format. */
  serialize(): Uint8Array;
  share(): Ticket<NativeClusterIndex>;
}

export interface HnswOptions {
  /** usearch's M; 0 = its default. */
  readonly connectivity: number;
  readonly expansionAdd: number;
  readonly threads: number;
  /** Called on the JavaScript thread with the share of the items added, at most ten times a second. */
  readonly onProgress?: (share: number) => void;
}

export interface NativeHnswIndex {
  readonly size: number;
  readonly dimensions: number;
  readonly connectivity: number;
  readonly isa: Isa;
  /** Approximate top k; `expansionSearch` >= k is raised to k. Same contract for allow and out as NativeExactIndex. */
  search(
    queries: Float32Array,
    count: number,
    k: number,
    expansionSearch: number,
    allow: Uint32Array | null,
    out: SearchOutput,
  ): void;
  /** As search(), off this thread; as NativeExactIndex.searchAsync(). */
  searchAsync(...search: Parameters<NativeHnswIndex['search']>): Promise<void>;
  /** The index as usearch's own file bytes (vectors included). */
  serialize(): Uint8Array;
  share(): Ticket<NativeHnswIndex>;
}

/** Elementwise, reduction and matrix kernels of the `native` tfjs backend; all f32, out is overwritten in full. */
export interface TensorOps {
  /**
   * out[b] = op(a[b]) op(c[b]) (+ bias) (then relu). a is [m, k] ([k, m] when transposed), c is [k, n] ([n, k] when
   * transposed). A batch stride of 0 repeats one matrix. Runs on the thread pool when it pays.
   */
  matmul(
    a: Float32Array,
    c: Float32Array,
    out: Float32Array,
    batch: number,
    m: number,
    n: number,
    k: number,
    transposeA: boolean,
    transposeB: boolean,
    aBatchStride: number,
    bBatchStride: number,
    bias: Float32Array | null,
    relu: boolean,
  ): void;
  /** Broadcasting binary operation; shape [r], strides in elements with 0 where an operand is broadcast. */
  binary(
    op: 'add' | 'sub' | 'mul' | 'div' | 'max',
    a: Float32Array,
    aStrides: Int32Array,
    b: Float32Array,
    bStrides: Int32Array,
    out: Float32Array,
    shape: Int32Array,
  ): void;
  /** step(x) = 1 for x > 0, else 0 (NaN stays NaN); relu(NaN) = NaN. */
  unary(
    op: 'relu' | 'step' | 'exp' | 'log' | 'sqrt' | 'rsqrt' | 'square' | 'neg',
    a: Float32Array,
    out: Float32Array,
  ): void;
  /** Reduces the middle of [outer, axis, inner] to [outer, inner]. */
  reduce(
    op: 'sum' | 'max',
    a: Float32Array,
    out: Float32Array,
    outer: number,
    axis: number,
    inner: number,
  ): void;
  softmax(a: Float32Array, out: Float32Array, rows: number, columns: number): void;
  transpose(a: Float32Array, out: Float32Array, shape: Int32Array, permutation: Int32Array): void;
  /**
   * `rows` runs of `run` elements, which begin a stride apart (at least `run`) from an offset on, in `from` and in `to`, two arrays.
   * RangeError for a run that is not inside.
   */
  copyRows(
    from: Float32Array,
    fromOffset: number,
    fromStride: number,
    to: Float32Array,
    toOffset: number,
    toStride: number,
    rows: number,
    run: number,
  ): void;
  /** out[i] = table[indices[i]]; RangeError for an index outside [0, table.length / rowWidth). */
  gatherRows(table: Float32Array, indices: Int32Array, out: Float32Array, rowWidth: number): void;
  /** out = 0, then out[indices[i]] += source[i], in order of i (deterministic); a negative index is skipped. */
  scatterAddRows(
    source: Float32Array,
    indices: Int32Array,
    out: Float32Array,
    rowWidth: number,
  ): void;
  /** Adam step in place on parameter, m and v. `step` counts from 1 (bias correction). */
  adam(
    parameter: Float32Array,
    gradient: Float32Array,
    m: Float32Array,
    v: Float32Array,
    learningRate: number,
    beta1: number,
    beta2: number,
    epsilon: number,
    step: number,
  ): void;
  /**
   * Lazy Adam: the step on the rows named, gradient [rows, rowWidth]; values and moments of other rows stay.
   * RangeError for a row outside the table, or named twice.
   */
  adamRows(
    parameter: Float32Array,
    gradient: Float32Array,
    rows: Int32Array,
    rowWidth: number,
    m: Float32Array,
    v: Float32Array,
    learningRate: number,
    beta1: number,
    beta2: number,
    epsilon: number,
    step: number,
  ): void;
}

/**
 * Fused operations of a training step and their gradients; all f32, outputs last and overwritten in full. Results do not
 * depend on the number of threads. RangeError for lengths, rows and columns that do not fit.
 */
export interface TrainingOps {
  /** Rows of x [n, D] to mean 0 and variance 1, then scaled and shifted; scale, offset [D]. */
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
  /** Zeroes a share `rate` in [0, 1) of x, chosen by (seed, place) alone, and divides the rest by 1 - rate. */
  dropout(x: Float32Array, seed: number, rate: number, out: Float32Array): void;
  /** out[i] = dy[i] where y[i] > 0, else 0: the gradient before a relu whose output is y. */
  reluBackward(y: Float32Array, dy: Float32Array, out: Float32Array): void;
  /**
   * Multi-head attention over histories one after the other, [offsets[B], D]: a row sees itself and its history's rows
   * before it. `offsets` [B + 1], ascending from 0.
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
   * out[e] = ln sum over c of exp(queries[e] . candidates[c] + bias[c] + its boosts) without the pairs (maskRows[i],
   * maskColumns[i]); boosts[i] is that of the pair (boostRows[i], boostColumns[i]). Rows of pairs ascend. queries [E, width],
   * candidates [C, width]; [E, C] is never held in whole.
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
  /** Gradients along dy [E]; `logSums` [E] is what logSumExpScores gave. Without dCandidates, where they are constants. */
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

export interface NativeAddon {
  readonly version: string;
  readonly usearchVersion: string;
  /** What this CPU and operating system can run, slowest first. */
  readonly availableIsas: readonly Isa[];
  /** What constructors and `ops` use by default: TANDEM_ISA, else the fastest available. */
  readonly defaultIsa: Isa;
  /**
   * Packs (copies) the weights for the ISA's tiles, those of items as one [N, F], or [N, D] where that would take more than
   * 64 MiB: nothing of `weights` is kept. RangeError naming the field on a wrong length or row. Or the head of a ticket.
   */
  readonly Head: new (
    weights: HeadWeights | Ticket<NativeHead>,
    isa?: Isa,
    precision?: Precision,
  ) => NativeHead;
  /**
   * Packs (copies) the weights, the item tables as one [N, D] of projected inputs: nothing of `weights` is kept.
   * RangeError naming the field on a wrong length or row, Error with code ERR_NON_FINITE naming the one with NaN or Inf.
   */
  readonly Encoder: new (
    weights: EncoderWeights,
    isa?: Isa,
    precision?: Precision,
    stateRows?: StateRows,
  ) => NativeEncoder;
  /**
   * Packs (copies) the weights: nothing of `weights` is kept. RangeError naming the field on a wrong length, Error with
   * code ERR_NON_FINITE naming the one with NaN or Inf.
   */
  readonly ItemTower: new (weights: ItemTowerWeights, isa?: Isa) => NativeItemTower;
  /**
   * Keeps a reference to `vectors` [N, D] (no copy). Refuses NaN, Inf and zero rows with ERR_NON_FINITE. With a ticket: the
   * index of another thread, over this thread's view of the same vectors, which then lie in shared memory.
   */
  readonly ExactIndex: new (
    vectors: Float32Array,
    dimensions: number | Ticket<NativeExactIndex>,
    isa?: Isa,
  ) => NativeExactIndex;
  readonly ClusterIndex: {
    /**
     * Builds off the JavaScript thread on every core; depends on the vectors alone. Keeps a reference to `vectors` [N, D]
     * (no copy), which must not be changed or transferred. Refuses NaN, Inf and zero rows (ERR_NON_FINITE).
     */
    build(
      vectors: Float32Array,
      dimensions: number,
      options: ClusterOptions,
      isa?: Isa,
    ): Promise<NativeClusterIndex>;
    /**
     * Copies `bytes` after checking all of them, refers to `vectors`; off this thread, so leave both alone until it is done.
     * ERR_INDEX_INVALID says what is wrong.
     */
    load(
      bytes: Uint8Array,
      vectors: Float32Array,
      dimensions: number,
      isa?: Isa,
    ): Promise<NativeClusterIndex>;
    /** The index of another thread; `vectors` is this thread's view of those that it was made over, in shared memory. */
    attach(ticket: Ticket<NativeClusterIndex>, vectors: Float32Array): NativeClusterIndex;
  };
  readonly HnswIndex: {
    /** Builds off the JavaScript thread, deterministic with threads = 1; refuses NaN, Inf and zero rows (ERR_NON_FINITE). */
    build(
      vectors: Float32Array,
      dimensions: number,
      options: HnswOptions,
      isa?: Isa,
    ): Promise<NativeHnswIndex>;
    /**
     * Copies `bytes`, checks header, size, dimensions and every neighbour row; off this thread, so leave them alone until it
     * is done. ERR_INDEX_INVALID says what is wrong.
     */
    load(bytes: Uint8Array, dimensions: number, isa?: Isa): Promise<NativeHnswIndex>;
    /** The index of another thread. */
    attach(ticket: Ticket<NativeHnswIndex>): NativeHnswIndex;
  };
  readonly ops: TensorOps;
  readonly training: TrainingOps;
}

/** The package's root: the nearest folder upwards with a package.json (works from src/ and from dist/). */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('Expected a package.json above ' + import.meta.url);
    folder = parent;
  }
  return folder;
}

/** What the addon exports as Head. */
interface ArrayHead {
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
}

/** Takes a batch apart here: reading its properties from C++ took 0.9 us of a call of 3.6. */
function headOf(
  Native: new (
    weights: HeadWeights | Ticket<NativeHead>,
    isa?: Isa,
    precision?: Precision,
  ) => ArrayHead,
): NativeAddon['Head'] {
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

let loaded: NativeAddon | undefined;

/**
 * The addon, loaded on first use.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE with the path tried and the command that builds it.
 */
export function nativeAddon(): NativeAddon {
  if (loaded !== undefined) return loaded;
  const path = join(packageRoot(), 'build', 'Release', 'tandem.node');
  try {
    const exported = createRequire(import.meta.url)(path) as Omit<NativeAddon, 'Head'> & {
      readonly Head: Parameters<typeof headOf>[0];
    };
    loaded = { ...exported, Head: headOf(exported.Head) };
  } catch (cause) {
    throw new TandemError(
      'ERR_NATIVE_UNAVAILABLE',
      `Expected the native addon at ${path}, but loading it failed: ${String(cause)}. Run "npm run build:native" (needs CMake and a C++17 compiler).`,
      { cause, details: { path } },
    );
  }
  return loaded;
}
