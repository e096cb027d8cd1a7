// Elementwise kernels: functions of one tensor, and of two tensors with broadcasting.

import type { TensorOps } from '../../native/tensor-ops.ts';
import { tf } from '../tf.ts';
import { allFloat, floats, newFloat, type KernelFactory } from './kernel.ts';

type UnaryOp = Parameters<TensorOps['unary']>[0];
type BinaryOp = Parameters<TensorOps['binary']>[0];

export function elementwiseKernels(factory: KernelFactory): tf.KernelConfig[] {
  return [
    unary(factory, 'Relu', 'relu'),
    unary(factory, 'Exp', 'exp'),
    unary(factory, 'Log', 'log'),
    unary(factory, 'Sqrt', 'sqrt'),
    unary(factory, 'Rsqrt', 'rsqrt'),
    unary(factory, 'Square', 'square'),
    unary(factory, 'Neg', 'neg'),
    unary(factory, 'Step', 'step', (attrs) => (attrs as { alpha?: number }).alpha === 0),
    binary(factory, 'Add', 'add'),
    binary(factory, 'Sub', 'sub'),
    binary(factory, 'Multiply', 'mul'),
    binary(factory, 'RealDiv', 'div'),
    binary(factory, 'Maximum', 'max'),
  ];
}

/**
 * A function of one tensor.
 *
 * @param accepts - whether the addon computes the op with these attributes; always when absent.
 */
function unary(
  factory: KernelFactory,
  kernelName: string,
  op: UnaryOp,
  accepts: (attrs: tf.NamedAttrMap | undefined) => boolean = () => true,
): tf.KernelConfig {
  return factory.kernel(
    kernelName,
    (call) => allFloat(call) && accepts(call.attrs),
    ({ inputs, backend }) => {
      const x = inputs['x']!;
      const output = newFloat(backend, x.shape);
      factory.ops.unary(op, floats(backend, x), output.values);
      return output.info;
    },
  );
}

function binary(factory: KernelFactory, kernelName: string, op: BinaryOp): tf.KernelConfig {
  return factory.kernel(kernelName, allFloat, ({ inputs, backend }) => {
    const a = inputs['a']!;
    const b = inputs['b']!;
    const shape = tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
    const output = newFloat(backend, shape);
    factory.ops.binary(
      op,
      floats(backend, a),
      broadcastStrides(a.shape, shape),
      floats(backend, b),
      broadcastStrides(b.shape, shape),
      output.values,
      Int32Array.from(shape),
    );
    return output.info;
  });
}

/** Strides of an operand in the output's shape; 0 along broadcast axes. */
function broadcastStrides(shape: readonly number[], output: readonly number[]): Int32Array {
  const strides = new Int32Array(output.length);
  let stride = 1;
  for (let i = shape.length - 1, j = output.length - 1; i >= 0; i--, j--) {
    strides[j] = shape[i] === 1 ? 0 : stride;
    stride *= shape[i]!;
  }
  return strides;
}
