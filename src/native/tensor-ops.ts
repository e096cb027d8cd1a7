// Kernels of the `native` tfjs backend.

/**
 * Elementwise, reduction and matrix kernels of the `native` tfjs backend. All values are f32; `out`
 * is overwritten in full.
 */
export interface TensorOps {
  /**
   * out[b] = op(a[b]) op(c[b]) (+ bias) (then relu). a is [m, k] ([k, m] when transposed), c is [k,
   * n] ([n, k] when transposed). A batch stride of 0 repeats one matrix. It runs on the thread pool
   * when that is faster.
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
  /**
   * Binary operation with broadcasting. shape [r]; strides in elements, 0 where an operand is
   * broadcast.
   */
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
   * Copies `rows` runs of `run` elements from one array to another. In each array the runs begin at
   * an offset and lie a stride apart, which is at least `run`.
   *
   * @throws RangeError for a run outside of its array.
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
  /**
   * out = 0, then out[indices[i]] += source[i], in order of i (deterministic); a negative index is
   * skipped.
   */
  scatterAddRows(
    source: Float32Array,
    indices: Int32Array,
    out: Float32Array,
    rowWidth: number,
  ): void;
  /**
   * Takes an Adam step in place on parameter, m and v. `step` counts from 1, for the bias
   * correction.
   */
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
   * Takes a lazy Adam step on the named rows; gradient [rows, rowWidth]. Values and moments of
   * other rows stay.
   *
   * @throws RangeError for a row outside of the table, or named twice.
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
