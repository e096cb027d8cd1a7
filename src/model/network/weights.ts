// The names, shapes and initial values of every tensor of the model. Training, bundles and native
// code agree on this list.

import { fusedWidth, type ModelConfig } from '../../bundle/manifest.ts';
import { GAP_BUCKETS, subjectRows, type FeatureSchema } from '../../features/schema.ts';

/** The shape and the initial values of a tensor. */
export interface TensorSpec {
  readonly shape: readonly number[];
  /** A constant, or draws from N(0, deviation^2) with diagonals added to them. */
  readonly initial:
    | { readonly constant: number }
    | {
        readonly deviation: number;
        /** Tensors of one stream start with the same random values. */
        readonly stream?: string;
        readonly diagonals?: readonly Diagonal[];
      };
}

/** A diagonal block: `scale` is added at (row + i, column + i) for 0 <= i < size. */
interface Diagonal {
  readonly row: number;
  readonly column: number;
  readonly size: number;
  readonly scale: number;
}

/**
 * Standard deviation of the initial rows of a table. It is small, so that the first steps of Adam,
 * which have about the size of the learning rate, can change the direction of a row. The towers
 * normalise their output, so mainly the direction of a row counts.
 */
const TABLE_DEVIATION = 0.02;
/**
 * Initial scale of the layers that read a table. It brings small rows to about unit scale, so that
 * they outweigh what untrained Transformer blocks add to the residual stream.
 */
const TABLE_GAIN = 30;
/** Twice TABLE_GAIN for a mean of rows, because a mean has a smaller norm than the rows. */
const MEAN_GAIN = 2 * TABLE_GAIN;
/**
 * Initial scale of the encoder's last layer norm with historyMean. It is small, so that a state
 * starts close to the mean of the history and the Transformer learns a correction to it.
 */
const QUIET_NORM = 0.1;
/**
 * Initial parameters of the history boost, near the best on validation data: w = 0.1 on the scale
 * of the cosine, g = 10.
 */
const LOG_FREQUENCY_WEIGHT = Math.log(0.1);
const LOG_FREQUENCY_GAIN = Math.log(10);
/** Standard deviation of the noise in matrices that start as diagonals or near zero. */
const QUIET_DEVIATION = 0.02;

/**
 * The weight [out, in] of a dense layer with Glorot initialisation: a normal distribution with
 * variance 2 / (in + out), which roughly keeps the variance of the input.
 */
function dense(outputs: number, inputs: number): TensorSpec {
  return { shape: [outputs, inputs], initial: { deviation: Math.sqrt(2 / (inputs + outputs)) } };
}

/**
 * The weight [out, in] of a dense layer that starts as scaled copies of parts of its input, or near
 * zero without diagonals.
 *
 * Query tower and item tower then agree before the first step: a query from an item's history, or
 * with the item's categories as subject, is close to similar items. Training improves these
 * directions instead of finding them.
 */
function copying(outputs: number, inputs: number, ...diagonals: readonly Diagonal[]): TensorSpec {
  return { shape: [outputs, inputs], initial: { deviation: QUIET_DEVIATION, diagonals } };
}

function table(rows: number, width: number, stream?: string): TensorSpec {
  return {
    shape: [rows, width],
    initial: { deviation: TABLE_DEVIATION, ...(stream !== undefined && { stream }) },
  };
}

function constant(value: number, ...shape: number[]): TensorSpec {
  return { shape, initial: { constant: value } };
}

/**
 * Every tensor by name, in a fixed order.
 *
 * The history encoder and the item tower share `items.*`. `encoder.*` belongs to the history
 * encoder, `tower.*` to the item tower, `context.*` to the context layer and `head.*` to the head.
 *
 * encoderId covers `items.*` and `encoder.*`. itemTowerId covers `items.*` and `tower.*`. headId
 * covers `context.*` and `head.*`, and with subjectItem `items.*` as well.
 *
 * @param itemCount - N, items of the catalogue.
 */
export function tensorSpecs(
  config: ModelConfig,
  schema: FeatureSchema,
  itemCount: number,
): Map<string, TensorSpec> {
  const { embeddingWidth: width, feedForwardWidth, actionWidth, hiddenWidth } = config;
  const specs = new Map<string, TensorSpec>();
  specs.set('items.id', table(itemCount, width));
  specs.set('items.category', table(Math.max(1, schema.categories.length), width, 'categories'));
  specs.set('items.advertiser', table(schema.advertisers.length + 1, width));
  specs.set('items.price', table(schema.priceBounds.length + 1, width));
  specs.set('encoder.action', table(schema.actions.length + 1, actionWidth));
  specs.set('encoder.gap', { shape: [GAP_BUCKETS, width], initial: { deviation: 0.02 } });
  specs.set('encoder.position', {
    shape: [config.maxHistory, width],
    initial: { deviation: 0.02 },
  });
  specs.set(
    'encoder.input.weight',
    copying(width, width + actionWidth, { row: 0, column: 0, size: width, scale: TABLE_GAIN }),
  );
  specs.set('encoder.input.bias', constant(0, width));
  for (let block = 0; block < config.blocks; block++) {
    const prefix = `encoder.blocks.${block}`;
    specs.set(`${prefix}.attentionNorm.scale`, constant(1, width));
    specs.set(`${prefix}.attentionNorm.offset`, constant(0, width));
    for (const part of ['query', 'key', 'value']) {
      specs.set(`${prefix}.${part}.weight`, dense(width, width));
      specs.set(`${prefix}.${part}.bias`, constant(0, width));
    }
    specs.set(`${prefix}.attentionOutput.weight`, copying(width, width));
    specs.set(`${prefix}.attentionOutput.bias`, constant(0, width));
    specs.set(`${prefix}.feedForwardNorm.scale`, constant(1, width));
    specs.set(`${prefix}.feedForwardNorm.offset`, constant(0, width));
    specs.set(`${prefix}.feedForward.weight`, dense(feedForwardWidth, width));
    specs.set(`${prefix}.feedForward.bias`, constant(0, feedForwardWidth));
    specs.set(`${prefix}.feedForwardOutput.weight`, copying(width, feedForwardWidth));
    specs.set(`${prefix}.feedForwardOutput.bias`, constant(0, width));
  }
  specs.set('encoder.norm.scale', constant(config.historyMean ? QUIET_NORM : 1, width));
  specs.set('encoder.norm.offset', constant(0, width));
  if (config.historyMean)
    specs.set(
      'encoder.meanWeight',
      copying(width, width, { row: 0, column: 0, size: width, scale: MEAN_GAIN }),
    );
  if (config.itemFrequency) {
    specs.set('encoder.frequencyWeight', constant(LOG_FREQUENCY_WEIGHT, 1));
    specs.set('encoder.frequencyGain', constant(LOG_FREQUENCY_GAIN, 1));
  }
  specs.set('tower.hiddenWeight', dense(hiddenWidth, width));
  specs.set('tower.hiddenBias', constant(0, hiddenWidth));
  specs.set('tower.outputWeight', copying(width, hiddenWidth));
  specs.set('tower.outputBias', constant(0, width));

  const fused = fusedWidth(config);
  specs.set('head.coldStart', table(1, width));
  specs.set('head.hiddenWeight', dense(hiddenWidth, fused));
  specs.set('head.hiddenBias', constant(0, hiddenWidth));
  specs.set('head.outputWeight', copying(width, hiddenWidth));
  specs.set('head.outputBias', constant(0, width));
  // The attended vector comes before the state and starts with the same weight.
  const at = config.fusion === 'attention' ? width : 0;
  const state: Diagonal = { row: 0, column: at, size: width, scale: 1 };
  if (config.fusion === 'none') {
    specs.set('head.skipWeight', copying(width, fused, state));
    return specs;
  }

  const { subjectWidth, demographicWidth, contextWidth } = config;
  // relu(s) - relu(-s) = s: if there is room for both halves, the subject passes the context layer
  // unchanged.
  const size = contextWidth >= 2 * subjectWidth ? Math.min(subjectWidth, width) : 0;
  specs.set(
    'head.skipWeight',
    copying(
      width,
      fused,
      { row: 0, column: 0, size: at, scale: 1 },
      state,
      { row: 0, column: at + width, size, scale: 1 },
      { row: 0, column: at + width + subjectWidth, size, scale: -1 },
    ),
  );
  specs.set('context.subjectTable', table(subjectRows(schema), subjectWidth, 'categories'));
  specs.set('context.noSubject', table(1, subjectWidth));
  specs.set('context.ageTable', table(schema.ageBounds.length + 1, demographicWidth));
  specs.set('context.countryTable', table(schema.countries.length + 1, demographicWidth));
  specs.set('context.genderTable', table(schema.genders.length + 1, demographicWidth));
  // With subjectItem, the item in view comes after the demographics and starts with the subject's
  // weights.
  const items = subjectWidth + 3 * demographicWidth;
  specs.set(
    'context.contextWeight',
    copying(
      contextWidth,
      config.subjectItem ? items + width : items,
      ...(config.subjectItem ? [0, items] : [0]).flatMap((column) => [
        { row: 0, column, size, scale: TABLE_GAIN },
        { row: subjectWidth, column, size, scale: -TABLE_GAIN },
      ]),
    ),
  );
  specs.set('context.contextBias', constant(0, contextWidth));
  if (config.fusion === 'concat') return specs;

  // Events similar to the subject get higher attention scores from the first step on.
  specs.set(
    'head.queryWeight',
    copying(
      width,
      contextWidth,
      { row: 0, column: 0, size, scale: 1 },
      { row: 0, column: subjectWidth, size, scale: -1 },
    ),
  );
  const whole: Diagonal = { row: 0, column: 0, size: width, scale: 1 };
  for (const part of ['key', 'value', 'attentionOutput'])
    specs.set(`head.${part}Weight`, copying(width, width, whole));
  return specs;
}
