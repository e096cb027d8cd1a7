// The history encoder: a causal, pre-norm Transformer over the events of a history. The feature
// store keeps its hidden states as user states.

import { causalAttention } from '../../backend/fused.ts';
import { tf } from '../../backend/tf.ts';
import type { ModelConfig } from '../../bundle/manifest.ts';
import type { HistoryBatch } from '../../features/sequence.ts';
import { dense, dropout, layerNorm, type TrainingNoise, type WeightOf } from './layers.ts';
import { positionRows } from './ragged-histories.ts';

/**
 * Computes the hidden states of B histories. An event attends to itself and to earlier events of
 * its history. Positions count back from the newest event.
 *
 * @param weightOf - looks up the tensors `encoder.*`.
 * @param inputs - [M, D] input embeddings of items.
 * @param batch - B histories with R events in total; `items` are rows of `inputs`, not of the
 *   catalogue.
 * @param noise - dropout of a training step; absent at inference.
 * @returns [R, D] hidden states, one row per event.
 */
export function encodeEvents(
  config: ModelConfig,
  weightOf: WeightOf,
  inputs: tf.Tensor2D,
  batch: HistoryBatch,
  noise?: TrainingNoise,
): tf.Tensor2D {
  if (batch.items.length === 0) return tf.zeros([0, config.embeddingWidth]);
  const rate = noise?.encoderRate ?? 0;
  const items = tf.gather<tf.Tensor2D>(inputs, tf.tensor1d(batch.items, 'int32'));
  let x = dropout(embedEvents(config, weightOf, items, batch), rate, noise?.random);
  for (let block = 0; block < config.blocks; block++) {
    const weight = (name: string): tf.Variable => weightOf(`encoder.blocks.${block}.${name}`);
    const normed = layerNorm(x, weight('attentionNorm.scale'), weight('attentionNorm.offset'));
    const project = (part: string): tf.Tensor2D =>
      dense(normed, weight(`${part}.weight`), weight(`${part}.bias`));
    const attended = causalAttention(
      project('query'),
      project('key'),
      project('value'),
      batch.offsets,
      config.heads,
    );
    const output = dense(
      attended,
      weight('attentionOutput.weight'),
      weight('attentionOutput.bias'),
    );
    x = tf.add(x, dropout(output, rate, noise?.random));
    const hidden = dense(
      layerNorm(x, weight('feedForwardNorm.scale'), weight('feedForwardNorm.offset')),
      weight('feedForward.weight'),
      weight('feedForward.bias'),
      'relu',
    );
    const update = dense(
      hidden,
      weight('feedForwardOutput.weight'),
      weight('feedForwardOutput.bias'),
    );
    x = tf.add(x, dropout(update, rate, noise?.random));
  }
  const states = layerNorm(x, weightOf('encoder.norm.scale'), weightOf('encoder.norm.offset'));
  return config.historyMean
    ? tf.add(states, historyMeans(weightOf, items, batch.offsets, noise))
    : states;
}

/**
 * The input of the first Transformer block: a projection of the concatenated embeddings of item and
 * action, plus the embeddings of the time gap and of the position.
 *
 * @param items - [R, D] the input embedding of each event's item.
 * @returns [R, D].
 */
function embedEvents(
  { maxHistory }: ModelConfig,
  weightOf: WeightOf,
  items: tf.Tensor2D,
  batch: HistoryBatch,
): tf.Tensor2D {
  const events = tf.concat(
    [items, tf.gather(weightOf('encoder.action'), tf.tensor1d(batch.actions, 'int32'))],
    1,
  ) as tf.Tensor2D;
  const projected = dense(events, weightOf('encoder.input.weight'), weightOf('encoder.input.bias'));
  const gaps = tf.gather(weightOf('encoder.gap'), tf.tensor1d(batch.gaps, 'int32'));
  const positions = tf.gather(
    weightOf('encoder.position'),
    tf.tensor1d(positionRows(batch.offsets, maxHistory), 'int32'),
  );
  return tf.add<tf.Tensor2D>(tf.add(projected, gaps), positions);
}

/**
 * Wm times the mean of the item inputs up to each event. In training, dropout removes whole events
 * from the means at `encoderRate` and scales the other events by 1 / (1 - encoderRate).
 *
 * @param items - [R, D] the input embedding of each event's item.
 * @returns [R, D].
 */
function historyMeans(
  weightOf: WeightOf,
  items: tf.Tensor2D,
  offsets: Int32Array,
  noise?: TrainingNoise,
): tf.Tensor2D {
  const kept = dropout(tf.ones([items.shape[0], 1]), noise?.encoderRate ?? 0, noise?.random);
  // A mean is an attention whose scores are all equal.
  const equal = tf.zerosLike(items);
  const means = causalAttention(equal, equal, tf.mul(items, kept), offsets, 1);
  return dense(means, weightOf('encoder.meanWeight'), undefined);
}
