// The reference step of the training benchmark: the history encoder over full histories, a softmax
// at every position over its positive and shared negatives, then Adam. This file has our step;
// peers/training_torch.py has the step of PyTorch and reads the files that this file writes.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Adam } from '../src/backend/adam.ts';
import { logSumExpScores, rowProducts } from '../src/backend/fused.ts';
import { tf } from '../src/backend/tf.ts';
import { buildSchema } from '../src/features/build-schema.ts';
import { buildItemFeatures } from '../src/features/item-features.ts';
import { GAP_BUCKETS } from '../src/features/schema.ts';
import type { HistoryBatch } from '../src/features/sequence.ts';
import { distinctItems } from '../src/model/network/ragged-histories.ts';
import { TwoTower } from '../src/model/network/two-tower.ts';
import { Random } from '../src/random.ts';
import type { ModelConfig } from '../src/bundle/manifest.ts';
import { REFERENCE_MODEL } from './encoder-setup.ts';

const USERS = 128;
const ITEMS = 50_000;
const NEGATIVES = 512;
const ACTIONS = ['view', 'click', 'cart', 'purchase'];
const LEARNING_RATE = 1e-3;
export const REFERENCE_CASE: string =
  `${USERS} users x ${REFERENCE_MODEL.maxHistory} positions, ` +
  `${NEGATIVES} shared negatives of ${ITEMS} items`;

/** The histories of one step and the items that it ranks. */
export interface ReferenceBatch {
  readonly histories: HistoryBatch;
  /** [B * T] catalogue rows: the positive item of every position. */
  readonly positives: Int32Array;
  /** [S] catalogue rows. */
  readonly negatives: Int32Array;
}

/** Makes batch number `index`: random items, actions and gaps; every history is full. */
export function referenceBatch(
  index: number,
  { maxHistory: length }: ModelConfig = REFERENCE_MODEL,
  users: number = USERS,
): ReferenceBatch {
  const random = new Random(31, index);
  const draw = (count: number, bound: number): Int32Array =>
    Int32Array.from({ length: count }, () => random.integer(bound));
  const positions = users * length;
  return {
    histories: {
      offsets: Int32Array.from({ length: users + 1 }, (_, user) => user * length),
      items: draw(positions, ITEMS),
      actions: draw(positions, ACTIONS.length + 1),
      gaps: draw(positions, GAP_BUCKETS),
    },
    positives: draw(positions, ITEMS),
    negatives: draw(NEGATIVES, ITEMS),
  };
}

/** Makes a model whose items have ids and no other features, as the peer's items do. */
export function referenceModel(config: ModelConfig = REFERENCE_MODEL): TwoTower {
  const ids = Array.from({ length: ITEMS }, (_, i) => `item-${i}`);
  const nothing = { advertisers: ids.map(() => ''), prices: new Float64Array(ITEMS).fill(NaN) };
  const schema = buildSchema({
    maxHistory: config.maxHistory,
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
  return new TwoTower({ ...config, fusion: 'none' }, schema, items, { seed: 1 });
}

/** Trains a model's encoder and item table. Its other weights have no part in the loss. */
export class ReferenceTrainer {
  readonly #model: TwoTower;
  readonly #optimiser: Adam;
  #steps = 0;

  constructor(model: TwoTower) {
    this.#model = model;
    this.#optimiser = new Adam(model.variables);
  }

  /** @returns the loss before the update, mean nats over the positions. */
  step({ histories, positives, negatives }: ReferenceBatch): Promise<number> {
    const ranked = new Int32Array(positives.length + negatives.length);
    ranked.set(positives);
    ranked.set(negatives, positives.length);
    const { catalogueRows, indices, alsoIndices } = distinctItems(histories.items, ranked);
    const loss = (leaves: ReadonlyMap<string, tf.Tensor>): tf.Scalar => {
      const inputs = leaves.get('items.id') as tf.Tensor2D;
      const hidden = this.#model.encode(inputs, { ...histories, items: indices });
      const pick = (begin: number, end: number): tf.Tensor2D =>
        tf.gather(inputs, tf.tensor1d(alsoIndices.slice(begin, end), 'int32'));
      const positive = rowProducts(hidden, pick(0, positives.length));
      const others = logSumExpScores(hidden, pick(positives.length, ranked.length));
      // -ln(e^p / (e^p + sum e^n)) = ln(1 + e^(logsumexp(n) - p)).
      return tf.mean<tf.Scalar>(tf.softplus(tf.sub(others, positive)));
    };
    const lookups = new Map([['items.id', catalogueRows]]);
    return this.#optimiser.minimise(() => ({ loss, lookups }), LEARNING_RATE, ++this.#steps);
  }

  dispose(): void {
    this.#optimiser.dispose();
    this.#model.dispose();
  }
}

/**
 * Writes weights and batches for the peer. config.json holds the offset of each tensor in
 * weights.f32; batches.i32 has one row for each batch.
 */
export async function writeReference(
  folder: string,
  model: TwoTower,
  batches: readonly ReferenceBatch[],
): Promise<void> {
  const tensors = [...(await model.weights())].map(([name, { shape, data }]) => ({
    name,
    shape,
    data,
  }));
  let offset = 0;
  const index = tensors.map(({ name, shape, data }) => {
    const entry = { name, shape, offset };
    offset += data.length;
    return entry;
  });
  const weights = new Float32Array(offset);
  for (const [i, { data }] of tensors.entries()) weights.set(data, index[i]!.offset);
  writeFileSync(join(folder, 'weights.f32'), weights);
  const columns = batches.map(({ histories: { items, actions, gaps }, positives, negatives }) => [
    ...items,
    ...actions,
    ...gaps,
    ...positives,
    ...negatives,
  ]);
  writeFileSync(join(folder, 'batches.i32'), Int32Array.from(columns.flat()));
  const { embeddingWidth, heads, blocks, maxHistory } = model.config;
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({
      embeddingWidth,
      heads,
      blocks,
      maxHistory,
      users: USERS,
      batches: batches.length,
      learningRate: LEARNING_RATE,
      tensors: index,
    }),
  );
}
