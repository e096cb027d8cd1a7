// Which tfjs backend runs: the one that is asked for, else `native`. Here is what each needs, and why one is not there.

import { TandemError } from '../errors.ts';
import type { BackendName } from './backends.ts';
import { registerNativeBackend, NATIVE_BACKEND } from './native-backend.ts';
import { registerTensorflowBackend } from './tensorflow-backend.ts';
import { tf } from './tf.ts';
import { registerWebgpuBackend } from './webgpu-backend.ts';

/** Registers a backend with tfjs, once. @returns what it computes on. @throws TandemError when it is not there, with the remedy. */
const REGISTER: Readonly<Record<BackendName, () => string | Promise<string>>> = {
  native: registerNativeBackend,
  tensorflow: registerTensorflowBackend,
  webgpu: registerWebgpuBackend,
  cpu: () => "tfjs's JavaScript kernels, one thread",
};

/**
 * Makes a backend the current one. A model stays on the backend that it was made on.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE when the addon does not load, ERR_BACKEND_UNAVAILABLE when another backend does not.
 */
export async function useBackend(name: BackendName = 'native'): Promise<void> {
  await REGISTER[name]();
  const ready = await tf.setBackend(name === 'native' ? NATIVE_BACKEND : name);
  if (!ready)
    throw new TandemError(
      'ERR_BACKEND_UNAVAILABLE',
      `Expected tfjs backend "${name}" to start, but tfjs refused it. Run "tandem doctor", or choose --backend native.`,
    );
}

export interface BackendProbe {
  /** What the backend computes on; undefined when it is not there. */
  readonly device?: string;
  /** Why it is not there, and what to do about it. */
  readonly reason?: string;
}

/** Whether a backend is there; the current one stays current. */
export async function probeBackend(name: BackendName): Promise<BackendProbe> {
  try {
    return { device: await REGISTER[name]() };
  } catch (error) {
    if (error instanceof TandemError) return { reason: error.message };
    throw error;
  }
}
