// Names of the tfjs backends. Does not load tfjs, so that command lines can import it.

/**
 * A backend of tfjs: `native` uses our kernels, `tensorflow` uses libtensorflow, `webgpu` uses Dawn
 * on any GPU, and `cpu` is tfjs's own JavaScript.
 */
export type BackendName = 'native' | 'tensorflow' | 'webgpu' | 'cpu';

/** All backends. */
export const BACKENDS: readonly BackendName[] = ['native', 'tensorflow', 'webgpu', 'cpu'];
