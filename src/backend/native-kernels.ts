// tfjs kernels computed by the addon: shapes and attributes here, arithmetic in native/core/tensor_ops; data movement
// by whole rows. What is not f32 (integers, booleans) is left to tfjs's CPU kernel of the same name.

import type { TensorOps } from '../native/binding.ts';
import type { NativeBackend } from './native-backend.ts';
import { tf } from './tf.ts';

type KernelArguments = Parameters<tf.KernelFunc>[0];
type Fallback = tf.KernelFunc;

/** Kernel configurations for `backendName`, to be registered over the copied CPU kernels. */
export function nativeKernels(ops: TensorOps, backendName: string): tf.KernelConfig[] {
  const kernel = (
    kernelName: string,
    accepts: (inputs: KernelArguments) => boolean,
    compute: (inputs: KernelArguments) => tf.TensorInfo,
  ): tf.KernelConfig => {
    const fallback = cpuKernel(kernelName);
    return {
      kernelName,
      backendName,
      kernelFunc: (inputs) => (accepts(inputs) ? compute(inputs) : fallback(inputs)),
    };
  };

  const unary = (kernelName: string, op: Parameters<TensorOps['unary']>[0]): tf.KernelConfig =>
    kernel(kernelName, allFloat, ({ inputs, backend }) => {
      const x = inputs['x']!;
      const output = newFloat(backend, x.shape);
      ops.unary(op, floats(backend, x), output.values);
      return output.info;
    });

  const binary = (kernelName: string, op: Parameters<TensorOps['binary']>[0]): tf.KernelConfig =>
    kernel(kernelName, allFloat, ({ inputs, backend }) => {
      const a = inputs['a']!;
      const b = inputs['b']!;
      const shape = tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
      const output = newFloat(backend, shape);
      ops.binary(
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

  /** Reductions over adjacent axes: the shape folds to [outer, axis, inner] without moving data. */
  const reduction = (kernelName: string, op: 'sum' | 'max', mean: boolean): tf.KernelConfig =>
    kernel(
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
        ops.reduce(op, floats(backend, x), output.values, outer, axis, inner);
        if (mean) for (let i = 0; i < output.values.length; i++) output.values[i]! /= axis;
        return output.info;
      },
    );

  const matmul = (
    { inputs, attrs, backend }: KernelArguments,
    bias: tf.TensorInfo | undefined,
    relu: boolean,
  ): tf.TensorInfo => {
    const a = inputs['a']!;
    const b = inputs['b']!;
    const { transposeA, transposeB } = attrs as unknown as {
      transposeA: boolean;
      transposeB: boolean;
    };
    const [rows, inner] = matrixShape(a.shape, transposeA);
    const [innerB, columns] = matrixShape(b.shape, transposeB);
    tf.util.assert(
      inner === innerB,
      () =>
        `Expected matMul operands with equal inner size, received ${inner} and ${innerB} for shapes [${String(a.shape)}] and [${String(b.shape)}] (transposeA ${transposeA}, transposeB ${transposeB}).`,
    );
    const batchA = product(a.shape, 0, a.shape.length - 2);
    const batchB = product(b.shape, 0, b.shape.length - 2);
    const batchShape = tf.broadcast_util.assertAndGetBroadcastShape(
      a.shape.slice(0, -2),
      b.shape.slice(0, -2),
    );
    const output = newFloat(backend, [...batchShape, rows, columns]);
    ops.matmul(
      floats(backend, a),
      floats(backend, b),
      output.values,
      Math.max(batchA, batchB),
      rows,
      columns,
      inner,
      transposeA,
      transposeB,
      batchA === 1 ? 0 : rows * inner,
      batchB === 1 ? 0 : inner * columns,
      bias === undefined ? null : floats(backend, bias),
      relu,
    );
    return output.info;
  };

  return [
    unary('Relu', 'relu'),
    unary('Exp', 'exp'),
    unary('Log', 'log'),
    unary('Sqrt', 'sqrt'),
    unary('Rsqrt', 'rsqrt'),
    unary('Square', 'square'),
    unary('Neg', 'neg'),
    kernel(
      'Step',
      ({ inputs, attrs }) => allFloat({ inputs }) && (attrs as { alpha?: number }).alpha === 0,
      ({ inputs, backend }) => {
        const x = inputs['x']!;
        const output = newFloat(backend, x.shape);
        ops.unary('step', floats(backend, x), output.values);
        return output.info;
      },
    ),
    binary('Add', 'add'),
    binary('Sub', 'sub'),
    binary('Multiply', 'mul'),
    binary('RealDiv', 'div'),
    binary('Maximum', 'max'),
    kernel(
      'Softmax',
      ({ inputs, attrs }) => {
        const { dim } = attrs as unknown as { dim: number };
        return allFloat({ inputs }) && (dim === -1 || dim === inputs['logits']!.shape.length - 1);
      },
      ({ inputs, backend }) => {
        const logits = inputs['logits']!;
        const columns = logits.shape.at(-1)!;
        const output = newFloat(backend, logits.shape);
        ops.softmax(
          floats(backend, logits),
          output.values,
          output.values.length / columns,
          columns,
        );
        return output.info;
      },
    ),
    reduction('Sum', 'sum', false),
    reduction('Max', 'max', false),
    reduction('Mean', 'sum', true),
    kernel(
      'BatchMatMul',
      (call) => allFloat(call) && foldableBatch(call),
      (call) => matmul(call, undefined, false),
    ),
    kernel(
      '_FusedMatMul',
      (call) => {
        const { activation } = call.attrs as { activation?: string };
        return (
          allFloat(call) &&
          foldableBatch(call) &&
          call.inputs['preluActivationWeights'] === undefined &&
          (activation === 'linear' || activation === 'relu')
        );
      },
      (call) =>
        matmul(
          call,
          call.inputs['bias'],
          (call.attrs as { activation?: string }).activation === 'relu',
        ),
    ),
    kernel('Slice', allFloat, ({ inputs, attrs, backend }) => {
      const x = inputs['x']!;
      const { begin, size } = attrs as unknown as { begin: number[]; size: number[] };
      const [first, extent] = tf.slice_util.parseSliceParams(x, begin, size) as [
        number[],
        number[],
      ];
      tf.slice_util.assertParamsValid(x, first, extent);
      const output = newFloat(backend, extent);
      const to = whole(output.values, extent);
      copyBlock(ops, { values: floats(backend, x), shape: x.shape, first }, to, extent);
      return output.info;
    }),
    kernel(
      'PadV2',
      ({ inputs, attrs }) =>
        allFloat({ inputs }) && (attrs as { constantValue?: number }).constantValue === 0,
      ({ inputs, attrs, backend }) => {
        const x = inputs['x']!;
        const { paddings } = attrs as unknown as { paddings: [number, number][] };
        const shape = x.shape.map(
          (extent, axis) => extent + paddings[axis]![0] + paddings[axis]![1],
        );
        const output = newFloat(backend, shape);
        output.values.fill(0);
        const first = paddings.map(([before]) => before);
        const from = whole(floats(backend, x), x.shape);
        copyBlock(ops, from, { values: output.values, shape, first }, x.shape);
        return output.info;
      },
    ),
    kernel(
      'Concat',
      (call) => allFloat(call),
      ({ inputs, attrs, backend }) => {
        const parts = Object.values(inputs as Record<string, tf.TensorInfo>);
        const { axis: given } = attrs as unknown as { axis: number };
        const axis = tf.util.parseAxisParam(given, parts[0]!.shape)[0]!;
        tf.backend_util.assertParamsConsistent(
          parts.map((part) => part.shape),
          axis,
        );
        const shape: number[] = tf.backend_util.computeOutShape(
          parts.map((part) => part.shape),
          axis,
        );
        const output = newFloat(backend, shape);
        const first = zeros(shape);
        for (const part of parts) {
          const from = whole(floats(backend, part), part.shape);
          copyBlock(ops, from, { values: output.values, shape, first }, part.shape);
          first[axis]! += part.shape[axis]!;
        }
        return output.info;
      },
    ),
    splitKernel(ops, backendName),
    kernel(
      'Transpose',
      (call) => allFloat(call) && call.inputs['x']!.shape.length <= 6,
      ({ inputs, attrs, backend }) => {
        const x = inputs['x']!;
        const { perm } = attrs as unknown as { perm: number[] };
        const shape = perm.map((axis) => x.shape[axis]!);
        // The gradient of a gather transposes to and fro even where its axis is the first one.
        const moved = perm.filter((axis) => x.shape[axis] !== 1);
        if (moved.every((axis, i) => i === 0 || axis > moved[i - 1]!))
          return sameData(backend, x, shape);
        const output = newFloat(backend, shape);
        ops.transpose(
          floats(backend, x),
          output.values,
          Int32Array.from(x.shape),
          Int32Array.from(perm),
        );
        return output.info;
      },
    ),
    kernel(
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
        ops.gatherRows(
          floats(backend, x),
          integers(backend, indices),
          output.values,
          product(x.shape, 1, x.shape.length),
        );
        return output.info;
      },
    ),
    kernel(
      'UnsortedSegmentSum',
      ({ inputs }) => inputs['x']!.dtype === 'float32' && inputs['segmentIds']!.dtype === 'int32',
      ({ inputs, attrs, backend }) => {
        const x = inputs['x']!;
        const ids = inputs['segmentIds']!;
        const { numSegments } = attrs as unknown as { numSegments: number };
        const output = newFloat(backend, [numSegments, ...x.shape.slice(ids.shape.length)]);
        ops.scatterAddRows(
          floats(backend, x),
          integers(backend, ids),
          output.values,
          product(x.shape, ids.shape.length, x.shape.length),
        );
        return output.info;
      },
    ),
  ];
}

/** SplitV, which is also the gradient of Concat; the one kernel here with several outputs. */
function splitKernel(ops: TensorOps, backendName: string): tf.KernelConfig {
  const fallback = cpuKernel('SplitV');
  return {
    kernelName: 'SplitV',
    backendName,
    kernelFunc: (call) => {
      if (!allFloat(call)) return fallback(call);
      const { inputs, attrs, backend } = call;
      const x = inputs['x']!;
      const { numOrSizeSplits, axis: given } = attrs as unknown as {
        numOrSizeSplits: number | number[];
        axis: number;
      };
      const axis = tf.util.parseAxisParam(given, x.shape)[0]!;
      const first = zeros(x.shape);
      return tf.backend_util.prepareSplitSize(x, numOrSizeSplits, axis).map((size: number) => {
        const shape = x.shape.map((extent, i) => (i === axis ? size : extent));
        const output = newFloat(backend, shape);
        const from = { values: floats(backend, x), shape: x.shape, first };
        copyBlock(ops, from, whole(output.values, shape), shape);
        first[axis]! += size;
        return output.info;
      });
    },
  };
}

function zeros(shape: readonly number[]): number[] {
  return shape.map(() => 0);
}

/** A place in a tensor: where a block of it begins. */
interface Place {
  readonly values: Float32Array;
  readonly shape: readonly number[];
  readonly first: readonly number[];
}

/** The whole of a tensor. */
function whole(values: Float32Array, shape: readonly number[]): Place {
  return { values, shape, first: zeros(shape) };
}

/** Copies a block of `size`, by runs that are contiguous on both sides. */
function copyBlock(ops: TensorOps, from: Place, to: Place, size: readonly number[]): void {
  // Trailing axes that the block fills on both sides belong to one run; the axis before it counts runs.
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

function cpuKernel(kernelName: string): Fallback {
  const config = tf.getKernel(kernelName, 'cpu');
  return config.kernelFunc;
}

function allFloat({ inputs }: Pick<KernelArguments, 'inputs'>): boolean {
  for (const input of Object.values(inputs as Record<string, tf.TensorInfo | undefined>))
    if (input !== undefined && input.dtype !== 'float32') return false;
  return true;
}

/** One matrix a batch entry on both sides, or one matrix for all on a side: what a batch stride can say. */
function foldableBatch({ inputs }: Pick<KernelArguments, 'inputs'>): boolean {
  const a = inputs['a']!.shape.slice(0, -2);
  const b = inputs['b']!.shape.slice(0, -2);
  return (
    tf.util.arraysEqual(a, b) || tf.util.sizeFromShape(a) === 1 || tf.util.sizeFromShape(b) === 1
  );
}

function matrixShape(shape: readonly number[], transposed: boolean): [number, number] {
  const rows = shape.at(-2)!;
  const columns = shape.at(-1)!;
  return transposed ? [columns, rows] : [rows, columns];
}

function reducedAxes(x: tf.TensorInfo, attrs: KernelArguments['attrs']): number[] {
  const named = attrs as unknown as {
    axis?: number | number[];
    reductionIndices?: number | number[];
  };
  const axes = named.axis ?? named.reductionIndices;
  return tf.util.parseAxisParam(axes ?? x.shape.map((_, i) => i), x.shape).sort((a, b) => a - b);
}

function product(shape: readonly number[], begin: number, end: number): number {
  let size = 1;
  for (let i = begin; i < end; i++) size *= shape[i]!;
  return size;
}

/** Strides of an operand in the output's shape, 0 along broadcast axes. */
function broadcastStrides(shape: readonly number[], output: readonly number[]): Int32Array {
  const strides = new Int32Array(output.length);
  let stride = 1;
  for (let i = shape.length - 1, j = output.length - 1; i >= 0; i--, j--) {
    strides[j] = shape[i] === 1 ? 0 : stride;
    stride *= shape[i]!;
  }
  return strides;
}

function newFloat(
  backend: unknown,
  shape: readonly number[],
): { info: tf.TensorInfo; values: Float32Array } {
  return (backend as NativeBackend).newFloat(shape);
}

/** A tensor of another shape over the same values. */
function sameData(backend: unknown, tensor: tf.TensorInfo, shape: number[]): tf.TensorInfo {
  (backend as NativeBackend).incRef(tensor.dataId);
  return { dataId: tensor.dataId, shape, dtype: tensor.dtype };
}

function floats(backend: unknown, tensor: tf.TensorInfo): Float32Array {
  return (backend as NativeBackend).floats(tensor);
}

function integers(backend: unknown, tensor: tf.TensorInfo): Int32Array {
  const values = (backend as NativeBackend).data.get(tensor.dataId).values;
  return values instanceof Int32Array ? values : Int32Array.from(values as ArrayLike<number>);
}
