// Writes the history encoder as an ONNX graph, as an exporter would: padded histories, every
// position of every block, then the last row. A pruned graph leaves out the parts of the last block
// that the last row does not need.

import type { EncoderWeights } from '../src/native/encoder.ts';
import { FLOAT, INT32, node, onnxModel, tensor, value } from './onnx-file.ts';

/** The first operator set that has LayerNormalization. */
const OPSET = 17;
/** Stands for -infinity in masks. */
const MASKED = -1e9;

/**
 * Writes the model. Inputs: items [B, T] i32 (row + 1, 0 = padding), actions and gaps [B, T] i32,
 * valid [B, T] f32 (0 = padding). Output: states [B, D].
 *
 * @param weights - without categories, advertisers and prices.
 */
export function encoderModel(weights: EncoderWeights, pruned: boolean): Uint8Array {
  const { embeddingWidth: d, heads, maxHistory: t, actionWidth: a } = weights;
  const headWidth = d / heads;
  const padded = new Float32Array(weights.itemTable.length + d);
  padded.set(weights.itemTable, d);
  const causal = new Float32Array(t * t);
  for (let row = 0; row < t; row++) causal.fill(MASKED, row * t + row + 1, (row + 1) * t);
  const initializers = [
    tensor('itemTable', padded, [padded.length / d, d]),
    tensor('actionTable', weights.actionTable, [weights.actionTable.length / a, a]),
    tensor('gapTable', weights.gapTable, [weights.gapTable.length / d, d]),
    tensor('positionTable', weights.positionTable, [t, d]),
    tensor('causal', causal, [1, 1, t, t]),
    tensor('one', Float32Array.of(1), [1]),
    tensor('masked', Float32Array.of(MASKED), [1]),
    tensor('scale', Float32Array.of(1 / Math.sqrt(headWidth)), [1]),
    tensor('maskAxes', BigInt64Array.of(1n, 2n), [2]),
    tensor('timeAxis', BigInt64Array.of(1n), [1]),
    tensor('split', BigInt64Array.of(0n, -1n, BigInt(heads), BigInt(headWidth)), [4]),
    tensor('merged', BigInt64Array.of(0n, -1n, BigInt(d)), [3]),
    tensor('last', BigInt64Array.of(BigInt(t - 1)), [1]),
    tensor('end', BigInt64Array.of(BigInt(t)), [1]),
    ...(pruned ? [tensor('rowAxis', BigInt64Array.of(2n), [1])] : []),
  ];
  const nodes: Buffer[] = [];
  const add = (...parameters: Parameters<typeof node>): string => {
    nodes.push(node(...parameters));
    return parameters[2] as string;
  };
  const dense = (x: string, name: string, weight: Float32Array, bias: Float32Array): string => {
    const n = bias.length;
    initializers.push(
      tensor(`${name}.weight`, transposed(weight, n), [weight.length / n, n]),
      tensor(`${name}.bias`, bias, [n]),
    );
    return add(
      'Add',
      [add('MatMul', [x, `${name}.weight`], `${name}.product`), `${name}.bias`],
      name,
    );
  };
  const layerNorm = (
    x: string,
    name: string,
    scale: Float32Array,
    offset: Float32Array,
  ): string => {
    initializers.push(tensor(`${name}.scale`, scale, [d]), tensor(`${name}.offset`, offset, [d]));
    return add('LayerNormalization', [x, `${name}.scale`, `${name}.offset`], name, {
      axis: 2,
      epsilon: { float: 1e-5 },
    });
  };
  const lastRow = (x: string, name: string): string =>
    add('Slice', [x, 'last', 'end', 'timeAxis'], name);

  const events = add(
    'Concat',
    [
      add('Gather', ['itemTable', 'items'], 'item'),
      add('Gather', ['actionTable', 'actions'], 'action'),
    ],
    'events',
    { axis: 2 },
  );
  let x = add(
    'Add',
    [
      dense(events, 'input', weights.inputWeight, weights.inputBias),
      add('Gather', ['gapTable', 'gaps'], 'gap'),
    ],
    'timed',
  );
  x = add('Add', [x, 'positionTable'], 'placed');
  const padding = add('Mul', [add('Sub', ['one', 'valid'], 'missing'), 'masked'], 'penalty');
  const mask = add(
    'Add',
    [add('Unsqueeze', [padding, 'maskAxes'], 'keyPenalty'), 'causal'],
    'mask',
  );
  for (const [index, block] of weights.blocks.entries()) {
    const b = `block${index}`;
    const onlyLast = pruned && index === weights.blocks.length - 1;
    const normed = layerNorm(x, `${b}.norm1`, block.attentionNormScale, block.attentionNormOffset);
    const queried = onlyLast ? lastRow(normed, `${b}.lastNormed`) : normed;
    const byHead = (
      name: string,
      of: string,
      w: Float32Array,
      bias: Float32Array,
      order: number[],
    ): string =>
      add(
        'Transpose',
        [add('Reshape', [dense(of, `${b}.${name}`, w, bias), 'split'], `${b}.${name}.split`)],
        `${b}.${name}.byHead`,
        { perm: order },
      );
    const query = byHead('query', queried, block.queryWeight, block.queryBias, [0, 2, 1, 3]);
    const key = byHead('key', normed, block.keyWeight, block.keyBias, [0, 2, 3, 1]);
    const values = byHead('value', normed, block.valueWeight, block.valueBias, [0, 2, 1, 3]);
    const scores = add(
      'Mul',
      [add('MatMul', [query, key], `${b}.products`), 'scale'],
      `${b}.scores`,
    );
    const rowMask = onlyLast ? add('Slice', [mask, 'last', 'end', 'rowAxis'], `${b}.mask`) : mask;
    const shares = add('Softmax', [add('Add', [scores, rowMask], `${b}.masked`)], `${b}.shares`, {
      axis: 3,
    });
    const mixed = add(
      'Reshape',
      [
        add('Transpose', [add('MatMul', [shares, values], `${b}.mixed`)], `${b}.byEvent`, {
          perm: [0, 2, 1, 3],
        }),
        'merged',
      ],
      `${b}.attended`,
    );
    const output = dense(
      mixed,
      `${b}.output`,
      block.attentionOutputWeight,
      block.attentionOutputBias,
    );
    x = add('Add', [onlyLast ? lastRow(x, `${b}.lastX`) : x, output], `${b}.x1`);
    const unit = layerNorm(
      x,
      `${b}.norm2`,
      block.feedForwardNormScale,
      block.feedForwardNormOffset,
    );
    const hidden = add(
      'Relu',
      [dense(unit, `${b}.hidden`, block.feedForwardWeight, block.feedForwardBias)],
      `${b}.relu`,
    );
    const update = dense(
      hidden,
      `${b}.update`,
      block.feedForwardOutputWeight,
      block.feedForwardOutputBias,
    );
    x = add('Add', [x, update], `${b}.x2`);
  }
  const states = layerNorm(x, 'norm', weights.normScale, weights.normOffset);
  add('Squeeze', [pruned ? states : lastRow(states, 'newest'), 'timeAxis'], 'states');
  const inputs = [
    value('items', INT32, ['B', t]),
    value('actions', INT32, ['B', t]),
    value('gaps', INT32, ['B', t]),
    value('valid', FLOAT, ['B', t]),
  ];
  return onnxModel(
    'encoder',
    { nodes, initializers, inputs, output: value('states', FLOAT, ['B', d]) },
    OPSET,
  );
}

/** [n, k] to [k, n], as exporters fold it. */
function transposed(weight: Float32Array, n: number): Float32Array {
  const k = weight.length / n;
  return Float32Array.from(
    { length: weight.length },
    (_, i) => weight[(i % n) * k + Math.floor(i / n)]!,
  );
}
