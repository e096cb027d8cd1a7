// Selects the tfjs backend. This file registers each one and explains why one is not available.

import { TandemError } from '../errors.ts';
import type { BackendName } from './backends.ts';
import { registerNativeBackend, NATIVE_BACKEND } from './native-backend.ts';
import { registerTensorflowBackend } from './tensorflow-backend.ts';
import { tf } from './tf.ts';
import { registerWebgpuBackend } from './webgpu-backend.ts';

/**
 * Functions that register each backend with tfjs, once. They return a description of the device
 * that the backend computes on, or throw a TandemError with the remedy.
 */
const REGISTER: Readonly<Record<BackendName, () => string | Promise<string>>> = {
  native: registerNativeBackend,
  tensorflow: registerTensorflowBackend,
  webgpu: registerWebgpuBackend,
  cpu: () => "tfjs's JavaScript kernels, one thread",
};

/**
 * Makes a backend the current one. A model stays on the backend that it was created on.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE when the addon does not load; ERR_BACKEND_UNAVAILABLE
 *   when another backend does not.
 */
export async function useBackend(name: BackendName = 'native'): Promise<void> {
  await REGISTER[name]();
  const ready = await tf.setBackend(name === 'native' ? NATIVE_BACKEND : name);
  if (!ready)
    throw new TandemError(
      'ERR_BACKEND_UNAVAILABLE',
      `Expected tfjs backend "${name}" to start, but tfjs refused it. ` +
        'Run "tandem doctor", or choose --backend native.',
    );
}

/** Whether a backend is available. */
export interface BackendProbe {
  /** What the backend computes on; absent when it is not available. */
  readonly device?: string;
  /** Why it is not available, and the remedy. */
  readonly reason?: string;
}

/** Checks whether a backend is available. The current backend stays current. */
export async function probeBackend(name: BackendName): Promise<BackendProbe> {
  try {
    return { device: await REGISTER[name]() };
  } catch (error) {
    if (error instanceof TandemError) return { reason: error.message };
    throw error;
  }
}
