// The operations that dominate a training step, each with a gradient of its own. The native backend
// computes most of them in the addon; other backends compose them of tfjs ops. Layers and losses
// are in model/.

import { nativeAddon } from '../native/addon.ts';
import type { TrainingOps } from '../native/training-ops.ts';
import { NATIVE_BACKEND, type NativeBackend } from './native-backend.ts';
import { gatherOrZero, padRows } from './ragged.ts';
import { tf } from './tf.ts';

/** Stands for -infinity in masks: a fully masked row still gives a finite softmax. */
export const MASKED = -1e9;

/**
 * Layer normalisation: each row gets mean 0 and variance 1, then is scaled and shifted.
 *
 * @param x - [n, D].
 * @param scale - [D].
 * @param offset - [D].
 * @param epsilon - added to the variance.
 * @returns [n, D].
 */
export function layerNorm(
  x: tf.Tensor2D,
  scale: tf.Tensor,
  offset: tf.Tensor,
  epsilon: number,
): tf.Tensor2D {
  const native = nativeTraining();
  if (native === undefined) {
    const centred = tf.sub(x, tf.mean(x, 1, true));
    const variance = tf.mean(tf.square(centred), 1, true);
    const unit = tf.mul(centred, tf.rsqrt(tf.add(variance, epsilon)));
    return tf.add(tf.mul(unit, scale), offset);
  }
  return withGradient([x, scale, offset], ([rows, scales, offsets], save) => {
    const out = newTensor(rows!.shape);
    native.layerNorm(floats(rows!), floats(scales!), floats(offsets!), epsilon, floats(out));
    save([rows!, scales!]);
    return {
      value: out,
      gradFunc: (dy, [savedRows, savedScale]) => {
        const dRows = newTensor(savedRows!.shape);
        const dScale = newTensor(savedScale!.shape);
        const dOffset = newTensor(savedScale!.shape);
        native.layerNormBackward(
          floats(savedRows!),
          floats(savedScale!),
          floats(dy),
          epsilon,
          floats(dRows),
          floats(dScale),
          floats(dOffset),
        );
        return [dRows, dScale, dOffset];
      },
    };
  }) as tf.Tensor2D;
}

/**
 * Inner products of the rows of a and b, [n, D] each. Returns [n].
 *
 * For a sum of products tfjs would compute the gradient through a tensor [n, D] of ones, filled in
 * JavaScript.
 */
export function rowProducts(a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor1D {
  return withGradient([a, b], ([x, y], save) => {
    save([x!, y!]);
    return {
      value: tf.sum(tf.mul(x!, y!), 1),
      gradFunc: (dy, [savedX, savedY]) => {
        const along = tf.reshape(dy, [-1, 1]);
        return [tf.mul(along, savedY!), tf.mul(along, savedX!)];
      },
    };
  }) as tf.Tensor1D;
}

/** The rows of x [n, D], each divided by the square root of its squared norm plus epsilon. */
export function unitRows(x: tf.Tensor2D, epsilon: number): tf.Tensor2D {
  return withGradient([x], ([rows], save) => {
    const inverse = tf.rsqrt(tf.add(tf.sum(tf.square(rows!), 1, true), epsilon));
    const unit = tf.mul(rows!, inverse);
    save([unit, inverse]);
    return {
      value: unit,
      // Removes the part of dy along the unit row, which would change only the length of the row.
      gradFunc: (dy, [y, scale]) => [
        tf.mul(tf.sub(dy, tf.mul(y!, tf.sum(tf.mul(dy, y!), 1, true))), scale!),
      ],
    };
  }) as tf.Tensor2D;
}

/**
 * Dropout: sets each element to 0 with probability `rate` and divides the others by 1 - rate. A
 * hash of `seed` and the index of the element decides, and is the same on every backend. So no mask
 * is stored.
 *
 * @param rate - in [0, 1).
 * @param seed - 32 bits.
 */
export function dropout<T extends tf.Tensor>(x: T, rate: number, seed: number): T {
  const native = nativeTraining();
  if (native === undefined) return tf.mul(x, tf.tensor(dropoutMask(x.size, rate, seed), x.shape));
  const drop = (values: tf.Tensor): tf.Tensor => {
    const out = newTensor(values.shape);
    native.dropout(floats(values), seed, rate, floats(out));
    return out;
  };
  return withGradient([x], ([values]) => ({
    value: drop(values!),
    gradFunc: (dy) => [drop(dy)],
  })) as T;
}

/**
 * A dense layer with relu: relu(x Wᵀ + b). tfjs fuses it only outside of gradients; inside, it
 * would make four more passes over [n, out].
 *
 * @param x - [n, in].
 * @param weight - [out, in].
 * @param bias - [out].
 * @returns [n, out].
 */
export function denseRelu(x: tf.Tensor2D, weight: tf.Tensor2D, bias: tf.Tensor): tf.Tensor2D {
  const native = nativeTraining();
  if (native === undefined) return tf.relu(tf.add(tf.matMul(x, weight, false, true), bias));
  return withGradient([x, weight, bias], ([a, b, given], save) => {
    const out: tf.Tensor = tf
      .engine()
      .runKernel(
        '_FusedMatMul',
        { a: a!, b: b!, bias: given! },
        { transposeA: false, transposeB: true, activation: 'relu' },
      );
    save([a!, b!, out]);
    return {
      value: out,
      gradFunc: (dy, [savedX, savedWeight, y]) => {
        const dz = newTensor(dy.shape) as tf.Tensor2D;
        native.reluBackward(floats(y!), floats(dy), floats(dz));
        return [
          tf.matMul(dz, savedWeight as tf.Tensor2D),
          tf.matMul(dz, savedX as tf.Tensor2D, true, false),
          tf.sum(dz, 0),
        ];
      },
    };
  }) as tf.Tensor2D;
}

/**
 * Causal multi-head self-attention: a row attends to itself and to earlier rows of its history.
 *
 * @param queries - [R, D], the rows of one history after the other.
 * @param keys - [R, D].
 * @param values - [R, D].
 * @param offsets - [B + 1], ascending from 0 to R: history b has the rows [offsets[b], offsets[b +
 *   1]).
 * @param heads - divides D.
 * @returns [R, D].
 */
export function causalAttention(
  queries: tf.Tensor2D,
  keys: tf.Tensor2D,
  values: tf.Tensor2D,
  offsets: Int32Array,
  heads: number,
): tf.Tensor2D {
  const native = nativeTraining();
  if (native === undefined) return composedAttention(queries, keys, values, offsets, heads);
  return withGradient([queries, keys, values], ([q, k, v], save) => {
    const width = queries.shape[1];
    const out = newTensor(q!.shape);
    native.causalAttention(floats(q!), floats(k!), floats(v!), offsets, width, heads, floats(out));
    save([q!, k!, v!]);
    return {
      value: out,
      gradFunc: (dy, saved) => {
        const gradients = saved.map((input) => newTensor(input.shape));
        const [savedQ, savedK, savedV] = saved.map(floats);
        const [dQ, dK, dV] = gradients.map(floats);
        native.causalAttentionBackward(
          savedQ!,
          savedK!,
          savedV!,
          floats(dy),
          offsets,
          width,
          heads,
          dQ!,
          dK!,
          dV!,
        );
        return gradients;
      },
    };
  }) as tf.Tensor2D;
}

/** Pairs of a query and a candidate, which are cells of the score matrix [E, C]. */
export interface ScorePairs {
  /** Indices of queries, ascending. */
  readonly rows: Int32Array;
  /** Indices of candidates, of the same length. */
  readonly columns: Int32Array;
}

/** Pairs of a query and a candidate, each with a boost that is added to its score. */
export interface Boosts extends ScorePairs {
  /** [pairs] the boosts. Gradients flow to this tensor. */
  readonly values: tf.Tensor1D;
}

/**
 * ln sum_c exp(q_e . v_c + bias_c) for each query, computed in blocks: the scores [E, C] are never
 * held as a whole.
 *
 * A softmax cross-entropy is this value minus the score of the positive. Queries, candidates and
 * boosts get gradients. Candidates in a variable that is not trainable are constants and get none.
 *
 * @param queries - [E, D], already divided by tau.
 * @param candidates - [C, D].
 * @param bias - [C] added to all scores of a candidate: minus ln of its expected count for a logQ
 *   correction.
 * @param masked - pairs that are left out; at least one candidate of every query must remain.
 * @param boosts - added to the scores of single pairs.
 * @returns [E].
 */
export function logSumExpScores(
  queries: tf.Tensor2D,
  candidates: tf.Tensor2D,
  bias?: Float32Array,
  masked: ScorePairs = NO_PAIRS,
  boosts?: Boosts,
): tf.Tensor1D {
  const native = nativeTraining();
  if (native === undefined) return composedLogSumExp(queries, candidates, bias, masked, boosts);
  const width = queries.shape[1];
  const constant = candidates instanceof tf.Variable && !candidates.trainable;
  const inputs = [queries, boosts?.values ?? tf.zeros([0]), ...(constant ? [] : [candidates])];
  const { rows, columns } = boosts ?? NO_PAIRS;
  return withGradient(inputs, ([q, added, v = candidates], save) => {
    const out = newTensor([q!.shape[0]]);
    native.logSumExpScores(
      floats(q!),
      floats(v),
      width,
      bias ?? null,
      masked.rows,
      masked.columns,
      rows,
      columns,
      floats(added!),
      floats(out),
    );
    save([q!, added!, v, out]);
    return {
      value: out,
      gradFunc: (dy, [savedQ, savedBoosts, savedV, sums]) => {
        const dQ = newTensor(savedQ!.shape);
        const dBoosts = newTensor(savedBoosts!.shape);
        const dV = constant ? undefined : newTensor(savedV!.shape);
        native.logSumExpScoresBackward(
          floats(savedQ!),
          floats(savedV!),
          width,
          bias ?? null,
          masked.rows,
          masked.columns,
          rows,
          columns,
          floats(savedBoosts!),
          floats(sums!),
          floats(dy),
          floats(dQ),
          floats(dBoosts),
          dV === undefined ? null : floats(dV),
        );
        return [dQ, dBoosts, ...(dV === undefined ? [] : [dV])];
      },
    };
  }) as tf.Tensor1D;
}

/**
 * Boosts of single pairs as a matrix [E, C], with 0 elsewhere. A pair that occurs twice gets the
 * sum. For backends and losses that hold [E, C] anyway.
 *
 * @param shape - [E, C].
 */
export function scatterBoosts(
  { rows, columns, values }: Boosts,
  shape: [number, number],
): tf.Tensor2D {
  if (rows.length === 0) return tf.zeros(shape);
  const cells = new Int32Array(2 * rows.length);
  for (let i = 0; i < rows.length; i++) cells.set([rows[i]!, columns[i]!], 2 * i);
  // tfjs has no gradient of a scatter.
  return withGradient([values], ([added]) => ({
    value: tf.scatterND(tf.tensor2d(cells, [rows.length, 2], 'int32'), added!, shape),
    gradFunc: (dy) => [tf.gatherND(dy, tf.tensor2d(cells, [rows.length, 2], 'int32'))],
  })) as tf.Tensor2D;
}

const NO_PAIRS: ScorePairs = { rows: new Int32Array(0), columns: new Int32Array(0) };

function composedAttention(
  queries: tf.Tensor2D,
  keys: tf.Tensor2D,
  values: tf.Tensor2D,
  offsets: Int32Array,
  heads: number,
): tf.Tensor2D {
  const { length, rows, cells } = padRows(offsets);
  const width = queries.shape[1];
  const headWidth = width / heads;
  const split = (x: tf.Tensor2D): tf.Tensor =>
    tf.transpose(tf.reshape(gatherOrZero(x, rows), [-1, length, heads, headWidth]), [0, 2, 1, 3]);
  const scores = tf.mul(
    tf.matMul(split(queries), split(keys), false, true),
    1 / Math.sqrt(headWidth),
  );
  // Padding follows the rows of a history, so the causal mask hides it as well.
  const weights = tf.softmax(tf.add(scores, causalMask(length)));
  const mixed = tf.transpose(tf.matMul(weights, split(values)), [0, 2, 1, 3]);
  return tf.gather(tf.reshape(mixed, [-1, width]), tf.tensor1d(cells, 'int32'));
}

/** [T, T], added to the scores: row t attends to row s when s <= t. */
function causalMask(length: number): tf.Tensor {
  const mask = new Float32Array(length * length).fill(MASKED);
  for (let t = 0; t < length; t++) mask.fill(0, t * length, t * length + t + 1);
  return tf.tensor2d(mask, [length, length]);
}

function composedLogSumExp(
  queries: tf.Tensor2D,
  candidates: tf.Tensor2D,
  bias: Float32Array | undefined,
  { rows, columns }: ScorePairs,
  boosts: Boosts | undefined,
): tf.Tensor1D {
  let scores: tf.Tensor2D = tf.matMul(queries, candidates, false, true);
  if (bias !== undefined) scores = tf.add(scores, tf.tensor1d(bias));
  if (boosts !== undefined) scores = tf.add(scores, scatterBoosts(boosts, scores.shape));
  if (rows.length > 0) {
    const [count, width] = [queries.shape[0], candidates.shape[0]];
    const mask = new Float32Array(count * width);
    for (const [i, row] of rows.entries()) mask[row * width + columns[i]!] = MASKED;
    scores = tf.add(scores, tf.tensor2d(mask, [count, width]));
  }
  return tf.logSumExp(scores, 1);
}

/**
 * 0 where DropoutHash of native/kernels/dropout_hash.h is below the rate, 1 / (1 - rate) elsewhere.
 */
function dropoutMask(size: number, rate: number, seed: number): Float32Array {
  const mix = (bits: number): number => {
    let x = Math.imul(bits ^ (bits >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    return (x ^ (x >>> 16)) >>> 0;
  };
  const threshold = Math.floor(rate * 0x1_0000_0000);
  const kept = 1 / (1 - rate);
  const mask = new Float32Array(size);
  for (let i = 0; i < size; i++) mask[i] = mix(mix(i) ^ seed) < threshold ? 0 : kept;
  return mask;
}

type Compute = (
  inputs: readonly tf.Tensor[],
  save: (tensors: tf.Tensor[]) => void,
) => {
  value: tf.Tensor;
  gradFunc: (dy: tf.Tensor, saved: readonly tf.Tensor[]) => tf.Tensor[];
};

/** tf.customGrad with exact types. `gradFunc` returns one gradient for each input. */
function withGradient(inputs: readonly tf.Tensor[], compute: Compute): tf.Tensor {
  const op = tf.customGrad((...given) => {
    const save = given.pop() as tf.GradSaveFunc;
    return compute(given as tf.Tensor[], save);
  });
  return op(...inputs);
}

function nativeTraining(): TrainingOps | undefined {
  return tf.getBackend() === NATIVE_BACKEND ? nativeAddon().training : undefined;
}

function nativeBackend(): NativeBackend {
  const backend: unknown = tf.backend();
  return backend as NativeBackend;
}

/** A new tensor. The caller writes all of its values. */
function newTensor(shape: readonly number[]): tf.Tensor {
  return tf.engine().makeTensorFromTensorInfo(nativeBackend().newFloat(shape).info);
}

/** The values of a tensor, in place. */
function floats(tensor: tf.Tensor): Float32Array {
  return nativeBackend().floats(tensor);
}
