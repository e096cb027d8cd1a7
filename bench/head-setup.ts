// Makes a query tower of the default model with random weights, and a micro-batch of requests for
// it.

import { catalogueItemFeatures } from '../src/bundle/weights/item-features.ts';
import { headWeights } from '../src/bundle/weights/head-weights.ts';
import { ContextFeatures } from '../src/features/context.ts';
import { HeadBatchBuilder, type HeadBatch } from '../src/features/head-batch.ts';
import type { ItemFeatures } from '../src/features/item-features.ts';
import type { FeatureSchema } from '../src/features/schema.ts';
import { DEFAULT_MODEL } from '../src/model/train-config.ts';
import type { WeightMap } from '../src/model/network/two-tower.ts';
import { tensorSpecs } from '../src/model/network/weights.ts';
import type { HeadWeights } from '../src/native/head.ts';
import { Random } from '../src/random.ts';
import { buildCatalogue } from '../src/bundle/catalogue.ts';
import { buildSchema } from '../src/features/build-schema.ts';

export interface HeadSetup {
  readonly weights: HeadWeights;
  readonly tensors: WeightMap;
  readonly schema: FeatureSchema;
  readonly items: ItemFeatures;
  /** All users have states and demographics. Half of them look at categories, half search. */
  readonly batch: HeadBatch;
}

const CATEGORIES = 200;

export function headSetup(requests: number): HeadSetup {
  const random = new Random(11);
  const names = Array.from({ length: CATEGORIES }, (_, i) => `category-${i}`);
  const columns = {
    ids: ['item'],
    titles: ['Item'],
    advertisers: ['advertiser'],
    prices: Float64Array.of(1),
    categoryNames: names,
    categoryOffsets: Int32Array.of(0, 1),
    categoryValues: Int32Array.of(0),
    categoryConfidences: Float32Array.of(1),
    countries: [[]],
  };
  const schema = buildSchema({
    maxHistory: DEFAULT_MODEL.maxHistory,
    actionNames: ['conversion'],
    itemIds: columns.ids,
    titles: ['red shoes'],
    categoryNames: names,
    advertisers: columns.advertisers,
    prices: columns.prices,
    genders: ['f', 'm'],
    countries: ['DE', 'FR', 'US'],
  });
  const catalogue = buildCatalogue(columns, schema.categories, new Float32Array(1));
  const tensors = new Map(
    [...tensorSpecs(DEFAULT_MODEL, schema, 1)].map(([name, { shape, initial }]) => {
      const size = shape.reduce((product, length) => product * length, 1);
      const draw = (): number =>
        'constant' in initial ? initial.constant : initial.deviation * random.normal();
      return [
        name,
        { shape: [...shape], data: Float32Array.from({ length: size }, draw) },
      ] as const;
    }),
  );
  return {
    weights: headWeights(tensors, DEFAULT_MODEL, schema, catalogue),
    tensors,
    schema,
    items: catalogueItemFeatures(schema, catalogue),
    batch: makeBatch(schema, requests, random),
  };
}

/** Makes the same for fusion attention, with the states of `events` events for each user. */
export function attentionSetup(
  requests: number,
  events: number,
): { readonly weights: HeadWeights; readonly batch: HeadBatch } {
  const { weights, batch } = headSetup(requests);
  const { embeddingWidth: width, hiddenWidth } = weights;
  const { heads, contextWidth } = DEFAULT_MODEL;
  const random = new Random(12);
  const normal = (length: number, deviation: number): Float32Array =>
    Float32Array.from({ length }, () => deviation * random.normal());
  const fused = 2 * width + contextWidth + 1;
  const dense = (outputs: number, inputs: number): Float32Array =>
    normal(outputs * inputs, 1 / Math.sqrt(inputs));
  return {
    weights: {
      ...weights,
      fusion: 'attention',
      hiddenWeight: dense(hiddenWidth, fused),
      skipWeight: dense(width, fused),
      attention: {
        heads,
        queryWeight: dense(width, contextWidth),
        keyWeight: dense(width, width),
        valueWeight: dense(width, width),
        outputWeight: dense(width, width),
      },
    },
    batch: {
      ...batch,
      sequenceOffsets: Int32Array.from({ length: requests + 1 }, (_, b) => b * events),
      sequenceRows: normal(requests * events * width, 1),
    },
  };
}

function makeBatch(schema: FeatureSchema, requests: number, random: Random): HeadBatch {
  const features = new ContextFeatures(schema);
  const { embeddingWidth } = DEFAULT_MODEL;
  const builder = new HeadBatchBuilder(embeddingWidth, requests);
  for (let i = 0; i < requests; i++) {
    const categories = Array.from({ length: 3 }, () => random.integer(CATEGORIES));
    builder.add(
      Float32Array.from({ length: embeddingWidth }, () => random.normal()),
      random.uniform(),
      i % 2 === 0
        ? features.categoryBag(categories, [1, 0.7, 0.4])
        : features.queryBag(`red shoes ${i}`),
      features.demographicRows({ age: 20 + (i % 50), country: 'DE', gender: 'f' }),
    );
  }
  return builder.batch();
}
