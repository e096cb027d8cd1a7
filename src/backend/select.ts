// Which tfjs backend runs, and why. Today: `native` (our kernels), with tfjs's own `cpu` for comparison in tests.

import { TandemError } from '../errors.ts';
import { registerNativeBackend, NATIVE_BACKEND } from './native-backend.ts';
import { tf } from './tf.ts';

export type BackendName = 'native' | 'cpu';

/**
 * Makes a backend the current one.
 *
 * @throws TandemError ERR_NATIVE_UNAVAILABLE when the addon does not load.
 */
export async function useBackend(name: BackendName = 'native'): Promise<void> {
  if (name === 'native') registerNativeBackend();
  const ready = await tf.setBackend(name === 'native' ? NATIVE_BACKEND : name);
  if (!ready)
    throw new TandemError(
      'ERR_NATIVE_UNAVAILABLE',
      `Expected tfjs backend "${name}" to start, but tfjs refused it. Run "npm run build:native" and try again.`,
    );
}
