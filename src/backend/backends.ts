// Names of the tfjs backends. Does not load tfjs, so that command lines can import it.

/**
 * The backends: `native` uses our kernels, `tensorflow` uses libtensorflow, `webgpu` uses Dawn on
 * any GPU, and `cpu` is tfjs's own JavaScript.
 */
export const BACKENDS = ['native', 'tensorflow', 'webgpu', 'cpu'] as const;

export type BackendName = (typeof BACKENDS)[number];
