// Makes the reference encoder of the benchmark, with random weights, and histories for it.

import type { ModelConfig } from '../src/bundle/manifest.ts';
import { encoderWeights } from '../src/bundle/weights/encoder-weights.ts';
import { buildSchema } from '../src/features/build-schema.ts';
import { buildItemFeatures } from '../src/features/item-features.ts';
import { GAP_BUCKETS } from '../src/features/schema.ts';
import { DEFAULT_MODEL } from '../src/model/train-config.ts';
import { tensorSpecs } from '../src/model/network/weights.ts';
import type { HistoryBatch } from '../src/features/sequence.ts';
import type { EncoderWeights } from '../src/native/encoder.ts';
import { Random } from '../src/random.ts';

/**
 * A size that others report figures for: two pre-norm blocks of width 64; 24.8 MFLOP for a user of
 * 100 events.
 */
export const REFERENCE_MODEL: ModelConfig = {
  ...DEFAULT_MODEL,
  embeddingWidth: 64,
  blocks: 2,
  heads: 2,
  feedForwardWidth: 256,
  maxHistory: 100,
};
/** A size for GPUs: eight blocks of width 256; 7.5 GFLOP for a user of 512 events. */
export const LARGE_MODEL: ModelConfig = {
  ...REFERENCE_MODEL,
  embeddingWidth: 256,
  blocks: 8,
  heads: 4,
  feedForwardWidth: 1024,
  maxHistory: 512,
};
const ITEMS = 50_000;
const ACTIONS = ['view', 'click', 'cart', 'purchase'];

/** Items have ids and no other features, as in exported graphs of sequence models. */
export function referenceEncoder(): EncoderWeights {
  const random = new Random(21);
  const ids = Array.from({ length: ITEMS }, (_, i) => `item-${i}`);
  const nothing = { advertisers: ids.map(() => ''), prices: new Float64Array(ITEMS).fill(NaN) };
  const schema = buildSchema({
    maxHistory: REFERENCE_MODEL.maxHistory,
    actionNames: ACTIONS,
    itemIds: ids,
    titles: [],
    categoryNames: [],
    ...nothing,
    genders: [],
    countries: [],
  });
  const items = buildItemFeatures(schema, {
    count: ITEMS,
    categoryOffsets: new Int32Array(ITEMS + 1),
    categoryRows: new Int32Array(0),
    categoryConfidences: new Float32Array(0),
    ...nothing,
  });
  const tensors = new Map(
    [...tensorSpecs(REFERENCE_MODEL, schema, ITEMS)].map(([name, { shape, initial }]) => {
      const size = shape.reduce((product, length) => product * length, 1);
      const draw = (): number =>
        'constant' in initial
          ? initial.constant + 0.1 * random.normal()
          : Math.max(0.05, initial.deviation) * random.normal();
      return [
        name,
        { shape: [...shape], data: Float32Array.from({ length: size }, draw) },
      ] as const;
    }),
  );
  return encoderWeights(tensors, REFERENCE_MODEL, schema, items);
}

/** Makes random histories of the given lengths. */
export function histories(lengths: readonly number[], seed: number): HistoryBatch {
  const random = new Random(seed);
  const offsets = new Int32Array(lengths.length + 1);
  for (const [user, length] of lengths.entries()) offsets[user + 1] = offsets[user]! + length;
  const total = offsets[lengths.length]!;
  const draw = (rows: number): Int32Array =>
    Int32Array.from({ length: total }, () => random.integer(rows));
  return {
    offsets,
    items: draw(ITEMS),
    actions: draw(ACTIONS.length + 1),
    gaps: draw(GAP_BUCKETS),
  };
}

export interface EncoderCase {
  readonly lengths: readonly number[];
  readonly seed: number;
}

/** The batches that are encoded, by name. */
export function casesOf(): Readonly<Record<'full' | 'mixed' | 'one', EncoderCase>> {
  return {
    full: { lengths: new Array<number>(128).fill(REFERENCE_MODEL.maxHistory), seed: 1 },
    mixed: { lengths: mixedLengths(512), seed: 2 },
    one: { lengths: [REFERENCE_MODEL.maxHistory], seed: 3 },
  };
}

/**
 * Lengths as in a shop: most users have few events, and few users have the maximum. Median 10, mean
 * 20.
 */
function mixedLengths(users: number): number[] {
  const random = new Random(4);
  return Array.from({ length: users }, () =>
    Math.min(REFERENCE_MODEL.maxHistory, Math.floor(5 / (1 - random.uniform()))),
  );
}
