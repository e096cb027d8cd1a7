// Initial values of item rows from co-occurrence: the leading eigenvectors of the co-occurrence
// matrix of items. Items that share baskets are then close to each other before the first step.
// This helps rare items most, because training has few examples of them.

import { EigenvalueDecomposition, Matrix } from 'tandem-offline/matrix';
import { buildBaskets, MIN_MEAN_BASKET, type Baskets } from '../../data/baskets.ts';
import type { DatasetShards } from '../../data/shards.ts';
import { Random } from '../../random.ts';
import { eachShard, type TrainingEnds } from './training-statistics.ts';

/**
 * Number of extra vectors and of rounds of the subspace iteration. With them the leading
 * eigenvectors are accurate to three digits.
 */
const SPARE_VECTORS = 16;
const ROUNDS = 8;
/** Number of rows that are processed together, so that they stay in the cache of a core. */
const ROW_BLOCK = 32;
/** A row with a smaller norm is rounding error and is set to 0. */
const LEAST_NORM = 1e-4;
/**
 * A squared pivot of the Cholesky factor below this share of the trace is rounding error: the
 * column is linearly dependent on the columns before it.
 */
const NOTHING = 1e-12;

/**
 * Computes item rows whose inner products follow the cosine of the items' baskets, n_ij / sqrt(n_i
 * n_j). Item i gets row i of V sqrt(Lambda), where V has the `width` leading eigenvectors, scaled
 * to norm 1.
 *
 * @param trainingEnds - where training ends; later events are not counted.
 * @returns [N, width] rows of unit norm; zeros for an item that shares no basket with another item.
 */
export async function coOccurrenceRows(
  shards: DatasetShards,
  trainingEnds: TrainingEnds,
  width: number,
  seed: number,
): Promise<Float32Array> {
  const visits = shards.hasTime ? await gatherBaskets(shards, trainingEnds, 'visit') : [];
  const baskets =
    shards.hasTime && meanSize(visits) >= MIN_MEAN_BASKET
      ? visits
      : await gatherBaskets(shards, trainingEnds, 'user');
  return leadingRows(baskets, shards.items.count, width, seed);
}

async function gatherBaskets(
  shards: DatasetShards,
  trainingEnds: TrainingEnds,
  unit: Baskets['unit'],
): Promise<Baskets[]> {
  const all: Baskets[] = [];
  await eachShard(shards, 'co-occurrence', async (shard) => {
    const dataset = await shards.read(shard);
    all.push(buildBaskets(dataset.events, trainingEnds(dataset), unit));
  });
  return all;
}

function meanSize(baskets: readonly Baskets[]): number {
  const sum = (of: (part: Baskets) => number): number =>
    baskets.reduce((total, part) => total + of(part), 0);
  return sum(({ items }) => items.length) / sum(({ count }) => count);
}

/**
 * Subspace iteration on G = X'X with X[b, i] = 1 / sqrt(n_i) for the items of basket b. G is the
 * cosine matrix with ones on its diagonal; it is never stored. Costs rounds x events x vectors.
 *
 * @returns [N, width] rows of unit norm, or zeros.
 * @see Halko, Martinsson and Tropp, Finding structure with randomness, SIAM Review 2011.
 */
function leadingRows(
  baskets: readonly Baskets[],
  itemCount: number,
  width: number,
  seed: number,
): Float32Array {
  const vectors = Math.min(itemCount, width + SPARE_VECTORS);
  const scale = new Float64Array(itemCount);
  for (const { items } of baskets) for (const item of items) scale[item]!++;
  for (let item = 0; item < itemCount; item++)
    if (scale[item]! > 0) scale[item] = 1 / Math.sqrt(scale[item]!);

  const random = new Random(seed, SPARE_VECTORS);
  let y: Float64Array = Float64Array.from({ length: itemCount * vectors }, () => random.normal());
  for (let round = 0; round < ROUNDS; round++) {
    orthonormalise(y, vectors);
    y = timesGram(baskets, scale, y, vectors);
  }
  // A second pass removes the rounding error of the first.
  orthonormalise(y, vectors);
  orthonormalise(y, vectors);
  const projected = innerProducts(y, timesGram(baskets, scale, y, vectors), vectors);
  const { realEigenvalues: values, eigenvectorMatrix: axes } = new EigenvalueDecomposition(
    Matrix.from1DArray(vectors, vectors, projected),
    { assumeSymmetric: true },
  );
  const order = [...values.keys()].sort((a, b) => values[b]! - values[a]!).slice(0, width);
  // G has ones on its diagonal; the cosine of different items has none there.
  const lengths = order.map((axis) => Math.sqrt(Math.max(0, values[axis]! - 1)));
  const rows = new Float32Array(itemCount * width);
  for (let item = 0; item < itemCount; item++) {
    const row = rows.subarray(item * width, (item + 1) * width);
    for (const [column, axis] of order.entries()) {
      let projection = 0;
      for (let k = 0; k < vectors; k++) projection += y[item * vectors + k]! * axes.get(k, axis);
      row[column] = projection * lengths[column]!;
    }
    const norm = Math.hypot(...row);
    for (let column = 0; column < width; column++)
      row[column] = norm > LEAST_NORM ? row[column]! / norm : 0;
  }
  return rows;
}

/** G y, computed basket by basket. y is [N, vectors]. */
function timesGram(
  baskets: readonly Baskets[],
  scale: Float64Array,
  y: Float64Array,
  vectors: number,
): Float64Array {
  const product = new Float64Array(y.length);
  const sum = new Float64Array(vectors);
  for (const { count, offsets, items } of baskets)
    for (let basket = 0; basket < count; basket++) {
      sum.fill(0);
      for (let i = offsets[basket]!; i < offsets[basket + 1]!; i++) {
        const at = items[i]! * vectors;
        for (let k = 0; k < vectors; k++) sum[k]! += scale[items[i]!]! * y[at + k]!;
      }
      for (let i = offsets[basket]!; i < offsets[basket + 1]!; i++) {
        const at = items[i]! * vectors;
        for (let k = 0; k < vectors; k++) product[at + k]! += scale[items[i]!]! * sum[k]!;
      }
    }
  return product;
}

/** a'b of two [N, K] matrices, as [K, K]. */
function innerProducts(a: Float64Array, b: Float64Array, vectors: number): Float64Array {
  const products = new Float64Array(vectors * vectors);
  const block = ROW_BLOCK * vectors;
  for (let begin = 0; begin < a.length; begin += block) {
    const end = Math.min(a.length, begin + block);
    for (let i = 0; i < vectors; i++)
      for (let at = begin; at < end; at += vectors) {
        const value = a[at + i]!;
        if (value === 0) continue;
        for (let j = 0; j < vectors; j++) products[i * vectors + j]! += value * b[at + j]!;
      }
  }
  return products;
}

/**
 * Makes the columns of y [N, K] orthonormal, in place, with the Cholesky factor of y'y. A column
 * that is linearly dependent on the columns before it becomes 0.
 */
function orthonormalise(y: Float64Array, vectors: number): void {
  const gram = innerProducts(y, y, vectors);
  let trace = 0;
  for (let i = 0; i < vectors; i++) trace += gram[i * vectors + i]!;
  const factor = new Float64Array(vectors * vectors);
  for (let i = 0; i < vectors; i++)
    for (let j = 0; j <= i; j++) {
      let value = gram[i * vectors + j]!;
      for (let k = 0; k < j; k++) value -= factor[i * vectors + k]! * factor[j * vectors + k]!;
      const pivot = factor[j * vectors + j]!;
      if (i === j) factor[i * vectors + i] = value > NOTHING * trace ? Math.sqrt(value) : 0;
      else factor[i * vectors + j] = pivot === 0 ? 0 : value / pivot;
    }
  const block = ROW_BLOCK * vectors;
  for (let begin = 0; begin < y.length; begin += block) {
    const end = Math.min(y.length, begin + block);
    for (let i = 0; i < vectors; i++) {
      const pivot = factor[i * vectors + i]!;
      for (let at = begin; at < end; at += vectors) {
        let value = y[at + i]!;
        for (let k = 0; k < i; k++) value -= factor[i * vectors + k]! * y[at + k]!;
        y[at + i] = pivot === 0 ? 0 : value / pivot;
      }
    }
  }
}
