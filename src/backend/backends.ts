// Names of the tfjs backends, without tfjs: for command lines.

/** native: our kernels; tensorflow: libtensorflow; webgpu: Dawn on any GPU; cpu: tfjs's own JavaScript. */
export const BACKENDS = ['native', 'tensorflow', 'webgpu', 'cpu'] as const;

export type BackendName = (typeof BACKENDS)[number];
