// The `native` tfjs backend: tfjs's own CPU backend, which has every op, with the expensive ops
// replaced by the addon's kernels. The values of a tensor are a plain typed array, which the addon
// reads in place.

import { MathBackendCPU } from 'tandem-offline/tfjs';
import { nativeAddon } from '../native/addon.ts';
import { BufferPool } from './buffer-pool.ts';
import { nativeKernels } from './native-kernels/index.ts';
import type { TensorMemory } from './native-kernels/kernel.ts';
import { tf } from './tf.ts';

export const NATIVE_BACKEND = 'native';

/** A tfjs backend over pooled typed arrays. */
export class NativeBackend extends MathBackendCPU implements TensorMemory {
  readonly #pool = new BufferPool();
  #nextId = 0;

  /**
   * A new f32 tensor. The caller writes all of its values; its buffer is reused once the tensor is
   * disposed.
   */
  newFloat(shape: readonly number[]): { info: tf.TensorInfo; values: Float32Array } {
    const values = this.#pool.take(tf.util.sizeFromShape([...shape]));
    return {
      info: { dataId: this.#add(values, 'float32'), shape: [...shape], dtype: 'float32' },
      values,
    };
  }

  /** The values of an f32 tensor, in place; a copy where tfjs keeps a plain array. */
  floats({ dataId }: Pick<tf.TensorInfo, 'dataId'>): Float32Array {
    const { values } = this.data.get(dataId);
    return values instanceof Float32Array ? values : Float32Array.from(values as ArrayLike<number>);
  }

  /**
   * As in the parent, without its advice on standard error to install another backend. Values that
   * alias a pooled buffer (tfjs's slice returns views) are copied, because that buffer may be
   * reused while they live.
   */
  override write(
    values: tf.backend_util.BackendValues,
    _shape: number[],
    dtype: tf.DataType,
  ): tf.DataId {
    return this.#add(this.#pool.owns(values) ? (values as Float32Array).slice() : values, dtype);
  }

  #add(values: tf.backend_util.BackendValues, dtype: tf.DataType): tf.DataId {
    const dataId = { id: this.#nextId++ };
    this.data.set(dataId, { values, dtype, refCount: 1 });
    return dataId;
  }

  /** A copy if the buffer is pooled, so that values a caller has read never change. */
  override readSync(dataId: tf.DataId): tf.backend_util.BackendValues {
    const values = super.readSync(dataId);
    return this.#pool.owns(values) ? (values as Float32Array).slice() : values;
  }

  override disposeData(dataId: tf.DataId, force?: boolean): boolean {
    const values = this.data.has(dataId) ? this.data.get(dataId).values : undefined;
    const disposed = super.disposeData(dataId, force);
    if (disposed) this.#pool.give(values);
    return disposed;
  }
}

let registered = false;

/**
 * Registers the backend with tfjs, once; tf.setBackend('native') can follow.
 *
 * @returns a description of what it computes on.
 */
export function registerNativeBackend(): string {
  const device = `our kernels, ${nativeAddon().defaultIsa}`;
  if (registered) return device;
  tf.copyRegisteredKernels('cpu', NATIVE_BACKEND);
  for (const kernel of nativeKernels(nativeAddon().ops, NATIVE_BACKEND)) {
    tf.unregisterKernel(kernel.kernelName, NATIVE_BACKEND);
    tf.registerKernel(kernel);
  }
  tf.registerBackend(NATIVE_BACKEND, () => new NativeBackend(), 3);
  registered = true;
  return device;
}
