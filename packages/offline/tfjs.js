// The side effect of the union package registers gradients; tfjs-core alone has none.
import '@tensorflow/tfjs';

export * from '@tensorflow/tfjs-core';
export { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
