// Matrix products: plain, batched, and fused with bias and relu.

import { tf } from '../tf.ts';
import {
  allFloat,
  floats,
  newFloat,
  product,
  type KernelArguments,
  type KernelFactory,
} from './kernel.ts';

export function matmulKernels(factory: KernelFactory): tf.KernelConfig[] {
  return [
    factory.kernel(
      'BatchMatMul',
      (call) => allFloat(call) && foldableBatch(call),
      (call) => matmul(factory, call, undefined, false),
    ),
    factory.kernel(
      '_FusedMatMul',
      (call) => {
        const activation = activationOf(call);
        return (
          allFloat(call) &&
          foldableBatch(call) &&
          call.inputs['preluActivationWeights'] === undefined &&
          (activation === 'linear' || activation === 'relu')
        );
      },
      (call) => matmul(factory, call, call.inputs['bias'], activationOf(call) === 'relu'),
    ),
  ];
}

function activationOf({ attrs }: KernelArguments): string | undefined {
  return (attrs as { activation?: string }).activation;
}

/**
 * The product of the last two axes, plus bias.
 *
 * @param relu - whether negative results become 0.
 */
function matmul(
  factory: KernelFactory,
  { inputs, attrs, backend }: KernelArguments,
  bias: tf.TensorInfo | undefined,
  relu: boolean,
): tf.TensorInfo {
  const a = inputs['a']!;
  const b = inputs['b']!;
  const { transposeA, transposeB } = attrs as unknown as tf.BatchMatMulAttrs;
  const [rows, inner] = matrixShape(a.shape, transposeA);
  const [innerB, columns] = matrixShape(b.shape, transposeB);
  tf.util.assert(
    inner === innerB,
    () =>
      `Expected matMul operands with equal inner size, received ${inner} and ${innerB} for ` +
      `shapes [${String(a.shape)}] and [${String(b.shape)}] ` +
      `(transposeA ${transposeA}, transposeB ${transposeB}).`,
  );
  const batchA = product(a.shape, 0, a.shape.length - 2);
  const batchB = product(b.shape, 0, b.shape.length - 2);
  const batchShape = tf.broadcast_util.assertAndGetBroadcastShape(
    a.shape.slice(0, -2),
    b.shape.slice(0, -2),
  );
  const output = newFloat(backend, [...batchShape, rows, columns]);
  factory.ops.matmul(
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
}

/** Whether batch strides can express the batch: equal on both sides, or one matrix on a side. */
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
