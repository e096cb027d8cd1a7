// The tfjs kernels that the addon computes. These files check shapes and attributes; the arithmetic
// is in native/core. For integers and booleans, tfjs's CPU kernel of the same name is used.

import type { TensorOps } from '../../native/tensor-ops.ts';
import type { tf } from '../tf.ts';
import { elementwiseKernels } from './elementwise.ts';
import { KernelFactory } from './kernel.ts';
import { matmulKernels } from './matmul.ts';
import { movementKernels } from './movement.ts';
import { reduceKernels } from './reduce.ts';

/** Kernel configurations for `backendName`, to be registered over the copied CPU kernels. */
export function nativeKernels(ops: TensorOps, backendName: string): tf.KernelConfig[] {
  const factory = new KernelFactory(ops, backendName);
  return [
    ...elementwiseKernels(factory),
    ...reduceKernels(factory),
    ...matmulKernels(factory),
    ...movementKernels(factory),
  ];
}
