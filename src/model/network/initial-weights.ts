// Draws the initial values of the model's tensors, as weights.ts describes them. train.ts decides
// whether a run starts from them or from a checkpoint.

import { Random } from '../../random.ts';
import type { TensorSpec } from './weights.ts';

/** Values by tensor name. The caller owns the arrays. */
export type NewWeights = Map<string, { readonly shape: readonly number[]; data: Float32Array }>;

/**
 * Draws all tensors. The same seed gives the same values. The values of a tensor do not depend on
 * which other tensors the model has.
 */
export function initialWeights(specs: ReadonlyMap<string, TensorSpec>, seed: number): NewWeights {
  return new Map(
    [...specs].map(([name, spec]) => [
      name,
      { shape: spec.shape, data: initialValues(name, spec, seed) },
    ]),
  );
}

function initialValues(name: string, { shape, initial }: TensorSpec, seed: number): Float32Array {
  const values = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
  if ('constant' in initial) return values.fill(initial.constant);
  const { deviation, stream = name, diagonals = [] } = initial;
  const random = new Random(seed, hashName(stream));
  for (let i = 0; i < values.length; i++) values[i] = random.normal() * deviation;
  for (const { row, column, size, scale } of diagonals)
    for (let i = 0; i < size; i++) values[(row + i) * shape[1]! + column + i]! += scale;
  return values;
}

function hashName(name: string): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) | 0;
  return hash;
}
