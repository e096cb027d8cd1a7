// The loss of a training step: which columns it needs, and which formula they go through. What train-config.ts names, made.

import type { tf } from '../../../backend/tf.ts';
import type { ItemTable } from '../../../data/dataset.ts';
import type { Random } from '../../../random.ts';
import type { LossConfig } from '../../train-config.ts';
import { binaryLoss, positivePower } from './binary.ts';
import { ColumnSampler, type Columns } from './columns.ts';
import type { ExampleBoosts, LossExamples } from './examples.ts';
import { CategoryProposal, FrequencyProposal } from './proposals.ts';
import { fullSoftmaxLoss, sampledSoftmaxLoss } from './softmax.ts';

/** How often the sampler meets each item. */
export interface ItemStatistics {
  /** [N] training events. */
  readonly counts: Float64Array;
  /** [N] probability that a positive of a step is this item. */
  readonly positives: Float64Array;
}

/** A loss over the whole catalogue. */
export interface CatalogueLoss {
  readonly sampled: false;
  /** Weighted mean of the examples. @param queries - [E, D] unit rows / tau; @param items - [N, D] unit rows. */
  value(
    queries: tf.Tensor2D,
    items: tf.Tensor2D,
    examples: LossExamples,
    boosts: ExampleBoosts | undefined,
  ): tf.Scalar;
}

/** A loss over the positives and columns that are drawn for a step. */
export interface ColumnLoss {
  readonly sampled: true;
  draw(positives: Int32Array, random: Random): Columns;
  /** Weighted mean of the examples. @param queries - [E, D] unit rows / tau; positives [E, D] and candidates [C, D] unit rows. */
  value(
    queries: tf.Tensor2D,
    positives: tf.Tensor2D,
    candidates: tf.Tensor2D,
    columns: Columns,
    examples: LossExamples,
    boosts: ExampleBoosts | undefined,
  ): tf.Scalar;
}

export function stepLoss(
  config: LossConfig,
  items: ItemTable,
  statistics: ItemStatistics,
): CatalogueLoss | ColumnLoss {
  if (config.kind === 'full') return { sampled: false, value: fullSoftmaxLoss };
  const { negatives, hardNegatives, unigramShare } = config;
  const sampler = new ColumnSampler(
    [
      { count: negatives, proposal: new FrequencyProposal(statistics.counts, unigramShare) },
      { count: hardNegatives, proposal: new CategoryProposal(items, statistics.positives) },
    ],
    config.kind === 'sampled' && config.inBatch ? statistics.positives : undefined,
  );
  const draw = (positives: Int32Array, random: Random): Columns => sampler.draw(positives, random);
  if (config.kind === 'sampled')
    return {
      sampled: true,
      draw,
      value: (queries, positives, candidates, columns, examples, boosts) =>
        sampledSoftmaxLoss(queries, positives, candidates, columns, examples, config.logQ, boosts),
    };
  const power = positivePower(negatives + hardNegatives, items.count, config.calibration);
  return {
    sampled: true,
    draw,
    value: (queries, positives, candidates, columns, examples, boosts) =>
      binaryLoss(queries, positives, candidates, columns, examples, power, boosts),
  };
}
