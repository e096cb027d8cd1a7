// Names of the tfjs backends. Does not load tfjs, so that command lines can import it.

/**
 * The backends: our kernels, libtensorflow, WebGPU through Dawn on any GPU, tfjs's own JavaScript.
 */
export const BACKENDS = ['native', 'tensorflow', 'webgpu', 'cpu'] as const;

export type BackendName = (typeof BACKENDS)[number];
