// Shared by all kernel files: how to declare a kernel, and how to reach the memory of the backend.

import type { TensorOps } from '../../native/tensor-ops.ts';
import { tf } from '../tf.ts';

/** The arguments that tfjs passes to a kernel: inputs, attributes and the backend. */
export type KernelArguments = Parameters<tf.KernelFunc>[0];

/** The part of the native backend that kernels use: where the values of its tensors are. */
export interface TensorMemory {
  readonly data: {
    get(dataId: tf.DataId): { readonly values?: tf.backend_util.BackendValues };
  };
  /** A new f32 tensor. The caller writes all of `values`. */
  newFloat(shape: readonly number[]): { info: tf.TensorInfo; values: Float32Array };
  /** The values of an f32 tensor, in place. */
  floats(tensor: Pick<tf.TensorInfo, 'dataId'>): Float32Array;
  incRef(dataId: tf.DataId): void;
}

/** Declares the kernels of one backend. */
export class KernelFactory {
  readonly ops: TensorOps;
  readonly #backendName: string;

  /** @param ops - the arithmetic, from the addon. */
  constructor(ops: TensorOps, backendName: string) {
    this.ops = ops;
    this.#backendName = backendName;
  }

  /**
   * A kernel that computes what it accepts, and leaves the rest to tfjs's CPU kernel of that name.
   *
   * @param accepts - whether `compute` can handle these arguments.
   */
  kernel(
    kernelName: string,
    accepts: (inputs: KernelArguments) => boolean,
    compute: (inputs: KernelArguments) => tf.TensorInfo | tf.TensorInfo[],
  ): tf.KernelConfig {
    const fallback = tf.getKernel(kernelName, 'cpu').kernelFunc;
    return {
      kernelName,
      backendName: this.#backendName,
      kernelFunc: (inputs) => (accepts(inputs) ? compute(inputs) : fallback(inputs)),
    };
  }
}

/** Whether all inputs that are present are f32. */
export function allFloat({ inputs }: Pick<KernelArguments, 'inputs'>): boolean {
  for (const input of Object.values(inputs as Record<string, tf.TensorInfo | undefined>))
    if (input !== undefined && input.dtype !== 'float32') return false;
  return true;
}

/** The product of the extents of axes [begin, end). */
export function product(shape: readonly number[], begin: number, end: number): number {
  let size = 1;
  for (let i = begin; i < end; i++) size *= shape[i]!;
  return size;
}

export function newFloat(
  backend: unknown,
  shape: readonly number[],
): { info: tf.TensorInfo; values: Float32Array } {
  return (backend as TensorMemory).newFloat(shape);
}

export function floats(backend: unknown, tensor: tf.TensorInfo): Float32Array {
  return (backend as TensorMemory).floats(tensor);
}

/** The values of an int32 tensor; a copy where tfjs keeps a plain array. */
export function integers(backend: unknown, tensor: tf.TensorInfo): Int32Array {
  const { values } = (backend as TensorMemory).data.get(tensor.dataId);
  return values instanceof Int32Array ? values : Int32Array.from(values as ArrayLike<number>);
}

/** A tensor of another shape over the same values. */
export function sameData(backend: unknown, tensor: tf.TensorInfo, shape: number[]): tf.TensorInfo {
  (backend as TensorMemory).incRef(tensor.dataId);
  return { dataId: tensor.dataId, shape, dtype: tensor.dtype };
}
