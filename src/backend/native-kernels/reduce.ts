// Kernels that combine elements along axes: sum, max, mean and softmax.

import { tf } from '../tf.ts';
import {
  allFloat,
  floats,
  newFloat,
  product,
  type KernelArguments,
  type KernelFactory,
} from './kernel.ts';

export function reduceKernels(factory: KernelFactory): tf.KernelConfig[] {
  return [
    softmax(factory),
    reduction(factory, 'Sum', 'sum', false),
    reduction(factory, 'Max', 'max', false),
    reduction(factory, 'Mean', 'sum', true),
  ];
}

/** Softmax along the last axis. */
function softmax(factory: KernelFactory): tf.KernelConfig {
  return factory.kernel(
    'Softmax',
    ({ inputs, attrs }) => {
      const { dim } = attrs as unknown as tf.SoftmaxAttrs;
      return allFloat({ inputs }) && (dim === -1 || dim === inputs['logits']!.shape.length - 1);
    },
    ({ inputs, backend }) => {
      const logits = inputs['logits']!;
      const columns = logits.shape.at(-1)!;
      const output = newFloat(backend, logits.shape);
      const rows = output.values.length / columns;
      factory.ops.softmax(floats(backend, logits), output.values, rows, columns);
      return output.info;
    },
  );
}

/**
 * A reduction over adjacent axes: the shape folds to [outer, axis, inner] without moving data.
 *
 * @param mean - divides the result by the number of elements combined.
 */
function reduction(
  factory: KernelFactory,
  kernelName: string,
  op: 'sum' | 'max',
  mean: boolean,
): tf.KernelConfig {
  return factory.kernel(
    kernelName,
    ({ inputs, attrs }) => {
      const x = inputs['x']!;
      const axes = reducedAxes(x, attrs);
      const adjacent = axes.every((axis, i) => i === 0 || axis === axes[i - 1]! + 1);
      return x.dtype === 'float32' && adjacent && tf.util.sizeFromShape(x.shape) > 0;
    },
    ({ inputs, attrs, backend }) => {
      const x = inputs['x']!;
      const axes = reducedAxes(x, attrs);
      const outer = product(x.shape, 0, axes[0] ?? 0);
      const axis = axes.length === 0 ? 1 : product(x.shape, axes[0]!, axes.at(-1)! + 1);
      const inner = product(x.shape, axes.length === 0 ? 0 : axes.at(-1)! + 1, x.shape.length);
      const { keepDims } = attrs as unknown as { keepDims?: boolean };
      const shape = x.shape.flatMap((size, i) =>
        axes.includes(i) ? (keepDims === true ? [1] : []) : [size],
      );
      const output = newFloat(backend, shape);
      factory.ops.reduce(op, floats(backend, x), output.values, outer, axis, inner);
      if (mean) for (let i = 0; i < output.values.length; i++) output.values[i]! /= axis;
      return output.info;
    },
  );
}

/** The axes to reduce, ascending. tfjs names them differently for Sum and for Max. */
function reducedAxes(x: tf.TensorInfo, attrs: KernelArguments['attrs']): number[] {
  const named = attrs as unknown as {
    axis?: number | number[];
    reductionIndices?: number | number[];
  };
  const axes = named.axis ?? named.reductionIndices;
  return tf.util.parseAxisParam(axes ?? x.shape.map((_, i) => i), x.shape).sort((a, b) => a - b);
}
