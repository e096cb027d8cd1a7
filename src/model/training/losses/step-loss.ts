// Makes the loss of a training step from its settings in train-config.ts. This file decides which
// candidates a step draws; softmax.ts and binary.ts have the formulas.

import type { tf } from '../../../backend/tf.ts';
import type { ItemTable } from '../../../data/dataset.ts';
import type { Random } from '../../../random.ts';
import type { LossConfig } from '../../train-config.ts';
import { binaryLoss, positivePower } from './binary.ts';
import { CandidateSampler, type SampledCandidates } from './candidates.ts';
import type { ExampleBoosts, LossExamples } from './examples.ts';
import { CategoryProposal, FrequencyProposal } from './proposals.ts';
import { fullSoftmaxLoss, sampledSoftmaxLoss } from './softmax.ts';

/** How often each item occurs in training. */
export interface ItemStatistics {
  /** [N] number of training events of each item. */
  readonly counts: Float64Array;
  /** [N] probability that a positive of a step is this item. */
  readonly positives: Float64Array;
}

/** A loss over the whole catalogue. */
export interface CatalogueLoss {
  readonly sampled: false;
  /**
   * The weighted mean over the examples, in nats.
   *
   * @param queries - [E, D] unit rows divided by tau.
   * @param items - [N, D] unit rows.
   */
  value(
    queries: tf.Tensor2D,
    items: tf.Tensor2D,
    examples: LossExamples,
    boosts: ExampleBoosts | undefined,
  ): tf.Scalar;
}

/** A loss over the positives and the candidates that are drawn for a step. */
export interface SampledLoss {
  readonly sampled: true;
  draw(positives: Int32Array, random: Random): SampledCandidates;
  /**
   * The weighted mean over the examples, in nats.
   *
   * @param queries - [E, D] unit rows divided by tau.
   * @param positives - [E, D] unit rows of the examples' positives.
   * @param vectors - [C, D] unit rows of `candidates`.
   */
  value(
    queries: tf.Tensor2D,
    positives: tf.Tensor2D,
    vectors: tf.Tensor2D,
    candidates: SampledCandidates,
    examples: LossExamples,
    boosts: ExampleBoosts | undefined,
  ): tf.Scalar;
}

/** Makes the loss of a training configuration. */
export function stepLoss(
  config: LossConfig,
  items: ItemTable,
  statistics: ItemStatistics,
): CatalogueLoss | SampledLoss {
  if (config.kind === 'full') return { sampled: false, value: fullSoftmaxLoss };
  const { negatives, hardNegatives, unigramShare } = config;
  const sampler = new CandidateSampler(
    [
      { count: negatives, proposal: new FrequencyProposal(statistics.counts, unigramShare) },
      { count: hardNegatives, proposal: new CategoryProposal(items, statistics.positives) },
    ],
    config.kind === 'sampled' && config.inBatch ? statistics.positives : undefined,
  );
  const draw = (positives: Int32Array, random: Random): SampledCandidates =>
    sampler.draw(positives, random);
  if (config.kind === 'sampled')
    return {
      sampled: true,
      draw,
      value: (queries, positives, vectors, candidates, examples, boosts) =>
        sampledSoftmaxLoss(queries, positives, vectors, candidates, examples, config.logQ, boosts),
    };
  const power = positivePower(negatives + hardNegatives, items.count, config.calibration);
  return {
    sampled: true,
    draw,
    value: (queries, positives, vectors, candidates, examples, boosts) =>
      binaryLoss(queries, positives, vectors, candidates, examples, power, boosts),
  };
}
