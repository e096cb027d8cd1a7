// Turns the tensors of a bundle or checkpoint into the weights of the native history encoder, and
// checks every shape.

import type { ItemFeatures } from '../../features/item-features.ts';
import { GAP_BUCKETS, type CompactSchema } from '../../features/schema.ts';
import type { EncoderBlockWeights, EncoderWeights } from '../../native/encoder.ts';
import { itemInputWeights } from './item-input-weights.ts';
import { BUNDLE_FILES, type ModelConfig } from '../manifest.ts';
import { expectTensor, type Tensor } from '../safetensors.ts';

/**
 * Gives the `items.*` and `encoder.*` tensors under the names of the addon, without copies.
 *
 * @throws TandemError ERR_BUNDLE_INVALID naming a tensor that is missing or of another shape.
 */
export function encoderWeights(
  tensors: ReadonlyMap<string, Tensor>,
  config: ModelConfig,
  schema: CompactSchema,
  items: ItemFeatures,
): EncoderWeights {
  const { embeddingWidth: width, feedForwardWidth, actionWidth, maxHistory, heads } = config;
  const get = (name: string, ...shape: number[]): Float32Array =>
    expectTensor(tensors, name, Float32Array, shape, BUNDLE_FILES.weights);
  const block = (index: number): EncoderBlockWeights => {
    const part = (name: string, ...shape: number[]): Float32Array =>
      get(`encoder.blocks.${index}.${name}`, ...shape);
    return {
      attentionNormScale: part('attentionNorm.scale', width),
      attentionNormOffset: part('attentionNorm.offset', width),
      queryWeight: part('query.weight', width, width),
      queryBias: part('query.bias', width),
      keyWeight: part('key.weight', width, width),
      keyBias: part('key.bias', width),
      valueWeight: part('value.weight', width, width),
      valueBias: part('value.bias', width),
      attentionOutputWeight: part('attentionOutput.weight', width, width),
      attentionOutputBias: part('attentionOutput.bias', width),
      feedForwardNormScale: part('feedForwardNorm.scale', width),
      feedForwardNormOffset: part('feedForwardNorm.offset', width),
      feedForwardWeight: part('feedForward.weight', feedForwardWidth, width),
      feedForwardBias: part('feedForward.bias', feedForwardWidth),
      feedForwardOutputWeight: part('feedForwardOutput.weight', width, feedForwardWidth),
      feedForwardOutputBias: part('feedForwardOutput.bias', width),
    };
  };
  return {
    embeddingWidth: width,
    heads,
    feedForwardWidth,
    maxHistory,
    actionWidth,
    ...itemInputWeights(tensors, width, schema, items),
    actionTable: get('encoder.action', schema.actions.length + 1, actionWidth),
    gapTable: get('encoder.gap', GAP_BUCKETS, width),
    positionTable: get('encoder.position', maxHistory, width),
    inputWeight: get('encoder.input.weight', width, width + actionWidth),
    inputBias: get('encoder.input.bias', width),
    blocks: Array.from({ length: config.blocks }, (_, index) => block(index)),
    normScale: get('encoder.norm.scale', width),
    normOffset: get('encoder.norm.offset', width),
    ...(config.historyMean && { meanWeight: get('encoder.meanWeight', width, width) }),
  };
}
