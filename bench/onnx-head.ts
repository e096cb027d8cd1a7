// Writes the head as an ONNX graph and runs it in onnxruntime-node.

import type { HeadBatch } from '../src/features/head-batch.ts';
import type { AttentionWeights, HeadWeights } from '../src/native/head.ts';
import { say } from './harness.ts';
import {
  FLOAT,
  INT32,
  loadOnnxRuntime,
  node,
  onnxModel,
  onnxName,
  tensor,
  value,
  type OnnxRuntime,
  type OnnxSession,
} from './onnx-file.ts';

export interface OnnxHead {
  readonly name: string;
  /** Computes the query embeddings of the batch that it was opened with, [B, D]. */
  readonly run: () => Promise<Float32Array>;
}

/** @returns undefined, with a message, when onnxruntime-node is not installed. */
export async function openOnnxHead(
  weights: HeadWeights,
  batch: HeadBatch,
): Promise<OnnxHead | undefined> {
  const runtime = loadOnnxRuntime();
  if (runtime === undefined) {
    say('head: onnxruntime-node is left out; "npm run bench:peers" installs it');
    return undefined;
  }
  const session = await openSession(runtime, weights);
  const inputs = feeds(runtime, weights, batch);
  return {
    name: onnxName(runtime),
    run: async () => (await session.run(inputs))['embedding']!.data,
  };
}

/**
 * Opens the head for batches of any size.
 *
 * @returns a function that computes query embeddings, [B, D]; undefined when onnxruntime-node is
 * not installed.
 */
export async function openOnnxServing(
  weights: HeadWeights,
): Promise<((batch: HeadBatch) => Promise<Float32Array>) | undefined> {
  const runtime = loadOnnxRuntime();
  if (runtime === undefined) return undefined;
  const session = await openSession(runtime, weights);
  return async (batch) => (await session.run(feeds(runtime, weights, batch)))['embedding']!.data;
}

function openSession(runtime: OnnxRuntime, weights: HeadWeights): Promise<OnnxSession> {
  return runtime.InferenceSession.create(headModel(weights), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  });
}

/** Pads the bags to one length, scales their weights to sum 1, and fills in cold-start vectors. */
function feeds(
  { Tensor }: OnnxRuntime,
  { embeddingWidth: width, coldStart }: HeadWeights,
  batch: HeadBatch,
): Record<string, object> {
  const { count, subjectOffsets, subjectRows, subjectWeights, demographics } = batch;
  let size = 1;
  for (let b = 0; b < count; b++)
    size = Math.max(size, subjectOffsets[b + 1]! - subjectOffsets[b]!);
  const states = batch.states.slice();
  const rows = new Int32Array(count * size);
  const shares = new Float32Array(count * size);
  const empty = new Float32Array(count);
  for (let b = 0; b < count; b++) {
    if (batch.hasState[b] === 0) states.set(coldStart, b * width);
    const begin = subjectOffsets[b]!;
    const end = subjectOffsets[b + 1]!;
    const total = subjectWeights.subarray(begin, end).reduce((sum, weight) => sum + weight, 0);
    if (total === 0) empty[b] = 1;
    else
      for (let i = begin; i < end; i++) {
        rows[b * size + i - begin] = subjectRows[i]!;
        shares[b * size + i - begin] = subjectWeights[i]! / total;
      }
  }
  const ages = batch.stateAge.map((age, b) => (batch.hasState[b] === 1 ? age : 0));
  // The graph takes sequences of one length; all sequences of this benchmark have it.
  const { sequenceOffsets, sequenceRows } = batch;
  const events = (sequenceOffsets?.at(-1) ?? 0) / count;
  const column = (at: number): object =>
    new Tensor(
      'int32',
      Int32Array.from({ length: count }, (_, b) => demographics[3 * b + at]!),
      [count],
    );
  return {
    ...(sequenceRows === undefined
      ? { states: new Tensor('float32', states, [count, width]) }
      : { sequence: new Tensor('float32', sequenceRows, [count, events, width]) }),
    stateAge: new Tensor('float32', ages, [count, 1]),
    rows: new Tensor('int32', rows, [count, size]),
    shares: new Tensor('float32', shares, [count, 1, size]),
    empty: new Tensor('float32', empty, [count, 1]),
    age: column(0),
    country: column(1),
    gender: column(2),
  };
}

const OPSET = 13;

function headModel(weights: HeadWeights): Uint8Array {
  const { embeddingWidth: d, hiddenWidth: h, context, attention } = weights;
  if (context === undefined) throw new RangeError('Expected a head with context layer.');
  const { contextWidth: f, subjectWidth: e, demographicWidth: g } = context;
  const z = (attention === undefined ? d : 2 * d) + f + 1;
  const initializers = [
    tensor('subjectTable', context.subjectTable, [context.subjectTable.length / e, e]),
    tensor('noSubject', context.noSubject, [1, e]),
    tensor('ageTable', context.ageTable, [context.ageTable.length / g, g]),
    tensor('countryTable', context.countryTable, [context.countryTable.length / g, g]),
    tensor('genderTable', context.genderTable, [context.genderTable.length / g, g]),
    tensor('contextWeight', context.contextWeight, [f, e + 3 * g]),
    tensor('contextBias', context.contextBias, [f]),
    tensor('hiddenWeight', weights.hiddenWeight, [h, z]),
    tensor('hiddenBias', weights.hiddenBias, [h]),
    tensor('outputWeight', weights.outputWeight, [d, h]),
    tensor('outputBias', weights.outputBias, [d]),
    tensor('skipWeight', weights.skipWeight, [d, z]),
    tensor('one', BigInt64Array.of(1n), [1]),
    ...(attention === undefined ? [] : attentionTensors(attention, d, f)),
  ];
  const gemm = { transB: 1 };
  const nodes = [
    node('Gather', ['subjectTable', 'rows'], 'gathered'),
    node('MatMul', ['shares', 'gathered'], 'bags'),
    node('Squeeze', ['bags', 'one'], 'bag'),
    node('Mul', ['empty', 'noSubject'], 'without'),
    node('Add', ['bag', 'without'], 'subject'),
    node('Gather', ['ageTable', 'age'], 'ageRow'),
    node('Gather', ['countryTable', 'country'], 'countryRow'),
    node('Gather', ['genderTable', 'gender'], 'genderRow'),
    node('Concat', ['subject', 'ageRow', 'countryRow', 'genderRow'], 'x', { axis: 1 }),
    node('Gemm', ['x', 'contextWeight', 'contextBias'], 'contextSum', gemm),
    node('Relu', ['contextSum'], 'context'),
    ...(attention === undefined ? [] : attentionNodes()),
    node(
      'Concat',
      [...(attention === undefined ? [] : ['attended']), 'states', 'context', 'stateAge'],
      'z',
      { axis: 1 },
    ),
    node('Gemm', ['z', 'hiddenWeight', 'hiddenBias'], 'hiddenSum', gemm),
    node('Relu', ['hiddenSum'], 'hidden'),
    node('Gemm', ['hidden', 'outputWeight', 'outputBias'], 'output', gemm),
    node('Gemm', ['z', 'skipWeight', 'output'], 'sum', gemm),
    node('LpNormalization', ['sum'], 'embedding', { axis: 1, p: 2 }),
  ];
  const inputs = [
    attention === undefined
      ? value('states', FLOAT, ['B', d])
      : value('sequence', FLOAT, ['B', 'T', d]),
    value('stateAge', FLOAT, ['B', 1]),
    value('rows', INT32, ['B', 'S']),
    value('shares', FLOAT, ['B', 1, 'S']),
    value('empty', FLOAT, ['B', 1]),
    value('age', INT32, ['B']),
    value('country', INT32, ['B']),
    value('gender', INT32, ['B']),
  ];
  const output = value('embedding', FLOAT, ['B', d]);
  return onnxModel('head', { nodes, initializers, inputs, output }, OPSET);
}

/** Weights of multi-head attention in its usual form: keys and values of every state. */
function attentionTensors(
  { heads, queryWeight, keyWeight, valueWeight, outputWeight }: AttentionWeights,
  d: number,
  f: number,
): Buffer[] {
  const width = BigInt(d / heads);
  const transposed = (weight: Float32Array): Float32Array =>
    weight.map((_, i) => weight[(i % d) * d + Math.floor(i / d)]!);
  return [
    tensor('queryWeight', queryWeight, [d, f]),
    tensor('keyWeight', transposed(keyWeight), [d, d]),
    tensor('valueWeight', transposed(valueWeight), [d, d]),
    tensor('mergeWeight', outputWeight, [d, d]),
    tensor('scale', Float32Array.of(1 / Math.sqrt(d / heads)), [1]),
    tensor('queryShape', BigInt64Array.of(0n, BigInt(heads), 1n, width), [4]),
    tensor('headShape', BigInt64Array.of(0n, 0n, BigInt(heads), width), [4]),
    tensor('mergedShape', BigInt64Array.of(0n, BigInt(d)), [2]),
    tensor('last', BigInt64Array.of(-1n), []),
  ];
}

function attentionNodes(): Buffer[] {
  return [
    node('Gather', ['sequence', 'last'], 'states', { axis: 1 }),
    node('Gemm', ['context', 'queryWeight'], 'queries', { transB: 1 }),
    node('Reshape', ['queries', 'queryShape'], 'query'),
    node('MatMul', ['sequence', 'keyWeight'], 'keys'),
    node('Reshape', ['keys', 'headShape'], 'headKeys'),
    node('Transpose', ['headKeys'], 'turnedKeys', { perm: [0, 2, 3, 1] }),
    node('MatMul', ['sequence', 'valueWeight'], 'values'),
    node('Reshape', ['values', 'headShape'], 'headValues'),
    node('Transpose', ['headValues'], 'turnedValues', { perm: [0, 2, 1, 3] }),
    node('MatMul', ['query', 'turnedKeys'], 'scores'),
    node('Mul', ['scores', 'scale'], 'scaled'),
    node('Softmax', ['scaled'], 'attentionShares'),
    node('MatMul', ['attentionShares', 'turnedValues'], 'perHead'),
    node('Reshape', ['perHead', 'mergedShape'], 'merged'),
    node('Gemm', ['merged', 'mergeWeight'], 'attended', { transB: 1 }),
  ];
}
