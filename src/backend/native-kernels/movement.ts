// Kernels that move values without arithmetic: slice, pad, concat, split and transpose, by whole
// runs of contiguous values; gather of rows, and its gradient, which adds rows into segments.

import type { TensorOps } from '../../native/tensor-ops.ts';
import { tf } from '../tf.ts';
import {
  allFloat,
  floats,
  integers,
  newFloat,
  product,
  sameData,
  type KernelFactory,
} from './kernel.ts';

/** The most axes that the addon transposes. */
const MAX_TRANSPOSED_AXES = 6;

export function movementKernels(factory: KernelFactory): tf.KernelConfig[] {
  return [
    slice(factory),
    pad(factory),
    concat(factory),
    split(factory),
    transpose(factory),
    gatherRows(factory),
    segmentSum(factory),
  ];
}

function slice(factory: KernelFactory): tf.KernelConfig {
  return factory.kernel('Slice', allFloat, ({ inputs, attrs, backend }) => {
    const x = inputs['x']!;
    const { begin, size } = attrs as unknown as tf.SliceAttrs;
    const [first, extent] = tf.slice_util.parseSliceParams(x, begin, size) as [number[], number[]];
    tf.slice_util.assertParamsValid(x, first, extent);
    const output = newFloat(backend, extent);
    const from = { values: floats(backend, x), shape: x.shape, first };
    copyBlock(factory.ops, from, whole(output.values, extent), extent);
    return output.info;
  });
}

/** Pads with zeros. */
function pad(factory: KernelFactory): tf.KernelConfig {
  return factory.kernel(
    'PadV2',
    ({ inputs, attrs }) =>
      allFloat({ inputs }) && (attrs as { constantValue?: number }).constantValue === 0,
    ({ inputs, attrs, backend }) => {
      const x = inputs['x']!;
      const { paddings } = attrs as unknown as tf.PadV2Attrs;
      const shape = x.shape.map((extent, axis) => extent + paddings[axis]![0] + paddings[axis]![1]);
      const output = newFloat(backend, shape);
      output.values.fill(0);
      const first = paddings.map(([before]) => before);
      const from = whole(floats(backend, x), x.shape);
      copyBlock(factory.ops, from, { values: output.values, shape, first }, x.shape);
      return output.info;
    },
  );
}

function concat(factory: KernelFactory): tf.KernelConfig {
  return factory.kernel('Concat', allFloat, ({ inputs, attrs, backend }) => {
    const parts = Object.values(inputs as Record<string, tf.TensorInfo>);
    const { axis: given } = attrs as unknown as tf.ConcatAttrs;
    const axis = tf.util.parseAxisParam(given, parts[0]!.shape)[0]!;
    const shapes = parts.map((part) => part.shape);
    tf.backend_util.assertParamsConsistent(shapes, axis);
    const shape: number[] = tf.backend_util.computeOutShape(shapes, axis);
    const output = newFloat(backend, shape);
    const first = zeros(shape);
    for (const part of parts) {
      const from = whole(floats(backend, part), part.shape);
      copyBlock(factory.ops, from, { values: output.values, shape, first }, part.shape);
      first[axis]! += part.shape[axis]!;
    }
    return output.info;
  });
}

/** SplitV, which is also the gradient of Concat; the one kernel here with several outputs. */
function split(factory: KernelFactory): tf.KernelConfig {
  return factory.kernel('SplitV', allFloat, ({ inputs, attrs, backend }) => {
    const x = inputs['x']!;
    const { numOrSizeSplits, axis: given } = attrs as unknown as tf.SplitVAttrs;
    const axis = tf.util.parseAxisParam(given, x.shape)[0]!;
    const first = zeros(x.shape);
    return tf.backend_util.prepareSplitSize(x, numOrSizeSplits, axis).map((size: number) => {
      const shape = x.shape.map((extent, i) => (i === axis ? size : extent));
      const output = newFloat(backend, shape);
      const from = { values: floats(backend, x), shape: x.shape, first };
      copyBlock(factory.ops, from, whole(output.values, shape), shape);
      first[axis]! += size;
      return output.info;
    });
  });
}

function transpose(factory: KernelFactory): tf.KernelConfig {
  return factory.kernel(
    'Transpose',
    (call) => allFloat(call) && call.inputs['x']!.shape.length <= MAX_TRANSPOSED_AXES,
    ({ inputs, attrs, backend }) => {
      const x = inputs['x']!;
      const { perm } = attrs as unknown as tf.TransposeAttrs;
      const shape = perm.map((axis) => x.shape[axis]!);
      // When no axis longer than 1 moves, the values stay where they are. In the gradient of a
      // gather, tfjs makes two such transposes even along the first axis.
      const moved = perm.filter((axis) => x.shape[axis] !== 1);
      if (moved.every((axis, i) => i === 0 || axis > moved[i - 1]!))
        return sameData(backend, x, shape);
      const output = newFloat(backend, shape);
      factory.ops.transpose(
        floats(backend, x),
        output.values,
        Int32Array.from(x.shape),
        Int32Array.from(perm),
      );
      return output.info;
    },
  );
}

/** A gather along the first axis. */
function gatherRows(factory: KernelFactory): tf.KernelConfig {
  return factory.kernel(
    'GatherV2',
    ({ inputs, attrs }) => {
      const { axis, batchDims } = attrs as unknown as { axis: number; batchDims?: number };
      return (
        inputs['x']!.dtype === 'float32' &&
        inputs['indices']!.dtype === 'int32' &&
        axis === 0 &&
        (batchDims ?? 0) === 0
      );
    },
    ({ inputs, backend }) => {
      const x = inputs['x']!;
      const indices = inputs['indices']!;
      const output = newFloat(backend, [...indices.shape, ...x.shape.slice(1)]);
      factory.ops.gatherRows(
        floats(backend, x),
        integers(backend, indices),
        output.values,
        product(x.shape, 1, x.shape.length),
      );
      return output.info;
    },
  );
}

/** Adds each row to the segment that its id names; the gradient of a gather. */
function segmentSum(factory: KernelFactory): tf.KernelConfig {
  return factory.kernel(
    'UnsortedSegmentSum',
    ({ inputs }) => inputs['x']!.dtype === 'float32' && inputs['segmentIds']!.dtype === 'int32',
    ({ inputs, attrs, backend }) => {
      const x = inputs['x']!;
      const ids = inputs['segmentIds']!;
      const { numSegments } = attrs as unknown as tf.UnsortedSegmentSumAttrs;
      const output = newFloat(backend, [numSegments, ...x.shape.slice(ids.shape.length)]);
      factory.ops.scatterAddRows(
        floats(backend, x),
        integers(backend, ids),
        output.values,
        product(x.shape, ids.shape.length, x.shape.length),
      );
      return output.info;
    },
  );
}

function zeros(shape: readonly number[]): number[] {
  return shape.map(() => 0);
}

/** A block inside a tensor. */
interface Block {
  /** All values of the tensor, and its shape. */
  readonly values: Float32Array;
  readonly shape: readonly number[];
  /** Index of the block's first element along each axis. */
  readonly first: readonly number[];
}

/** The whole tensor as one block. */
function whole(values: Float32Array, shape: readonly number[]): Block {
  return { values, shape, first: zeros(shape) };
}

/** Copies a block of `size` in runs that are contiguous on both sides. */
function copyBlock(ops: TensorOps, from: Block, to: Block, size: readonly number[]): void {
  // Trailing axes that the block fills on both sides form one run, together with the axis before
  // them. copyRows copies all runs along the axis before the run.
  let axis = size.length - 1;
  while (axis > 0 && size[axis] === from.shape[axis] && size[axis] === to.shape[axis]) axis--;
  const run = product(size, Math.max(axis, 0), size.length);
  if (run === 0) return;
  const copyAxis = (current: number, fromOffset: number, toOffset: number): void => {
    const fromStride = product(from.shape, current + 1, from.shape.length);
    const toStride = product(to.shape, current + 1, to.shape.length);
    const fromStart = fromOffset + (from.first[current] ?? 0) * fromStride;
    const toStart = toOffset + (to.first[current] ?? 0) * toStride;
    if (current >= axis) to.values.set(from.values.subarray(fromStart, fromStart + run), toStart);
    else if (current === axis - 1) {
      const fromRun = fromStart + (from.first[axis] ?? 0) * (fromStride / from.shape[axis]!);
      const toRun = toStart + (to.first[axis] ?? 0) * (toStride / to.shape[axis]!);
      ops.copyRows(
        from.values,
        fromRun,
        fromStride,
        to.values,
        toRun,
        toStride,
        size[current]!,
        run,
      );
    } else
      for (let i = 0; i < size[current]!; i++)
        copyAxis(current + 1, fromStart + i * fromStride, toStart + i * toStride);
  };
  copyAxis(0, 0, 0);
}
