// The two-tower model. The query tower (history-encoder.ts, query-head.ts) embeds a user with a
// context; the item tower (item-tower.ts) embeds the catalogue. This file holds the weights and
// runs the towers in blocks for inference. weights.ts lists the tensors; train.ts trains them.

import { tf, valuesOf } from '../../backend/tf.ts';
import { maxStateRows, type ModelConfig } from '../../bundle/manifest.ts';
import type { HeadBatch } from '../../features/head-batch.ts';
import type { ItemFeatures } from '../../features/item-features.ts';
import type { FrequencyWeights } from '../../features/item-frequency.ts';
import type { FeatureSchema } from '../../features/schema.ts';
import type { HistoryBatch } from '../../features/sequence.ts';
import { TandemError } from '../../errors.ts';
import type { HistoryStates } from './context-attention.ts';
import { encodeEvents } from './history-encoder.ts';
import { initialWeights } from './initial-weights.ts';
import { embedItems, itemInputs } from './item-tower.ts';
import type { TrainingNoise, WeightOf } from './layers.ts';
import { embedRequests } from './query-head.ts';
import { compactHistories, lengthBlocks, newestRows } from './ragged-histories.ts';
import { tensorSpecs } from './weights.ts';

/** Weights by tensor name, as plain f32 arrays outside of tfjs. */
export type WeightMap = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly data: Float32Array }
>;

/** Number of catalogue rows that are embedded at once; bounds the memory of a large catalogue. */
const ITEM_BLOCK = 8192;

/** One model: its weights as tfjs variables, its towers, and inference in blocks. */
export class TwoTower {
  readonly config: ModelConfig;
  readonly schema: FeatureSchema;
  readonly items: ItemFeatures;
  readonly variables: ReadonlyMap<string, tf.Variable>;
  readonly #weightOf: WeightOf = (name) => this.variables.get(name)!;

  /**
   * @param items - features of the N items of the catalogue.
   * @param weights - the values of every tensor, copied; or a seed to draw them from.
   * @throws TandemError ERR_CHECKPOINT_INVALID when a tensor is missing or has another shape.
   */
  constructor(
    config: ModelConfig,
    schema: FeatureSchema,
    items: ItemFeatures,
    weights: WeightMap | { readonly seed: number },
  ) {
    this.config = config;
    this.schema = schema;
    this.items = items;
    const specs = tensorSpecs(config, schema, items.count);
    const values = 'seed' in weights ? initialWeights(specs, weights.seed) : weights;
    this.variables = new Map(
      [...specs].map(([name, { shape }]) => {
        const tensor = values.get(name);
        if (tensor === undefined || String(tensor.shape) !== String(shape))
          throw new TandemError(
            'ERR_CHECKPOINT_INVALID',
            `Expected tensor ${name} of shape [${String(shape)}], received ` +
              `${tensor === undefined ? 'none' : `[${String(tensor.shape)}]`}. ` +
              'The weights belong to another config or catalogue: train again.',
          );
        // A copy: training changes variables in place.
        return [name, variableOf(tensor.data.slice(), shape)];
      }),
    );
  }

  /** Copies of all weights by name. */
  async weights(): Promise<Map<string, { shape: number[]; data: Float32Array }>> {
    const weights = new Map<string, { shape: number[]; data: Float32Array }>();
    for (const [name, variable] of this.variables)
      weights.set(name, { shape: [...variable.shape], data: await valuesOf(variable) });
    return weights;
  }

  dispose(): void {
    for (const variable of this.variables.values()) variable.dispose();
  }

  /**
   * Input embeddings of items, see item-tower.ts.
   *
   * @param catalogueRows - [n] items, or undefined for the whole catalogue of N items.
   * @param idRows - [n, D] the rows of `items.id` for `catalogueRows`. A caller passes them to get
   *   gradients with respect to these rows only. They are looked up when absent.
   * @returns [n, D], or [N, D] for the whole catalogue.
   */
  itemInputs(catalogueRows?: Int32Array, idRows?: tf.Tensor): tf.Tensor2D {
    return itemInputs(this.schema, this.items, this.#weightOf, catalogueRows, idRows);
  }

  /** The item tower: maps input embeddings [n, D] to item vectors [n, D], which are unit rows. */
  itemTower(x: tf.Tensor2D): tf.Tensor2D {
    return embedItems(this.#weightOf, x);
  }

  /**
   * The history encoder, see history-encoder.ts.
   *
   * @param inputs - [M, D] input embeddings of items.
   * @param batch - B histories with R events in total; `items` are rows of `inputs`, not of the
   *   catalogue.
   * @param noise - dropout of a training step; absent at inference.
   * @returns [R, D] hidden states, one row per event.
   */
  encode(inputs: tf.Tensor2D, batch: HistoryBatch, noise?: TrainingNoise): tf.Tensor2D {
    return encodeEvents(this.config, this.#weightOf, inputs, batch, noise);
  }

  /**
   * The history boosts w ln(1 + g n), which are added to cosine scores. The result has gradients
   * with respect to w and g, through their logarithms.
   *
   * @param counts - [P] n: the decayed number of a user's events with an item; see
   *   item-frequency.ts.
   * @returns [P] boosts, >= 0.
   */
  frequencyBoost(counts: Float32Array): tf.Tensor1D {
    const gain = tf.exp(this.#weightOf('encoder.frequencyGain'));
    const grown = tf.log1p(tf.mul(gain, tf.tensor1d(counts)));
    return tf.mul(tf.exp(this.#weightOf('encoder.frequencyWeight')), grown);
  }

  /** The learned parameters of the history boost; undefined for a model without itemFrequency. */
  async frequencyWeights(): Promise<FrequencyWeights | undefined> {
    if (this.config.itemFrequency !== true) return undefined;
    const [logWeight] = await valuesOf(this.#weightOf('encoder.frequencyWeight'));
    const [logGain] = await valuesOf(this.#weightOf('encoder.frequencyGain'));
    return { logWeight: logWeight!, logGain: logGain! };
  }

  /**
   * The context layer, the fusion and the head; see query-head.ts.
   *
   * @param histories - hidden states, and which of them belong to the B requests.
   * @param batch - the contexts of the B requests; its states and sequences are not read.
   * @param noise - dropout of a training step; absent at inference.
   * @param subjectInputs - [B, D] input embeddings of the items in view. A caller passes them to
   *   get gradients with respect to them. They are computed when absent.
   * @returns [B, D] unit query embeddings.
   */
  fuse(
    histories: HistoryStates,
    batch: HeadBatch,
    noise?: TrainingNoise,
    subjectInputs?: tf.Tensor2D,
  ): tf.Tensor2D {
    return embedRequests(
      this.config,
      this.#weightOf,
      histories,
      batch,
      (catalogueRows) => subjectInputs ?? this.itemInputs(catalogueRows),
      noise,
    );
  }

  /**
   * Computes the user states of histories, as the feature store keeps them, in blocks of histories
   * of similar length.
   *
   * The backend gets the first block before this method returns its promise. Each block is read
   * while the backend computes the next one, which keeps a GPU busy.
   *
   * @param batch - its items are catalogue rows.
   * @returns one array per history: [1, D] the hidden state of its newest event, or for fusion
   *   `attention` [L, D] the hidden states of all its events, oldest first. An empty history has an
   *   empty array.
   */
  async encodeHistories(batch: HistoryBatch): Promise<Float32Array[]> {
    const { embeddingWidth: width, heads, feedForwardWidth } = this.config;
    const most = maxStateRows(this.config);
    const states = Array.from({ length: batch.offsets.length - 1 }, () => new Float32Array(0));
    const submit = (histories: Int32Array): (() => Promise<void>) => {
      const { catalogueRows, part } = compactHistories(batch, histories);
      const { rows, offsets } = newestRows(part.offsets, most);
      const read = tidyValues(() =>
        tf.gather(this.encode(this.itemInputs(catalogueRows), part), tf.tensor1d(rows, 'int32')),
      );
      return async () => {
        const hidden = await read;
        for (const [i, history] of histories.entries())
          states[history] = hidden.slice(offsets[i]! * width, offsets[i + 1]! * width);
      };
    };
    let collect: (() => Promise<void>) | undefined;
    for (const histories of lengthBlocks(batch.offsets, heads, feedForwardWidth)) {
      const next = submit(histories);
      await collect?.();
      collect = next;
    }
    await collect?.();
    return states;
  }

  /** Query embeddings of a micro-batch of B requests, from the states in it: [B, D] unit rows. */
  async embedQueries(batch: HeadBatch): Promise<Float32Array> {
    return tidyValues(() => this.fuse(this.#statesOf(batch), batch));
  }

  /**
   * The states in a batch, as one history per request. For fusion `attention` the history of a
   * request is its sequence of hidden states; for other fusions it is its single state.
   */
  #statesOf(batch: HeadBatch): HistoryStates {
    const { embeddingWidth: width, fusion } = this.config;
    const { count, states, hasState, sequenceOffsets, sequenceRows } = batch;
    const histories = Int32Array.from({ length: count }, (_, i) => i);
    if (fusion !== 'attention')
      return {
        hidden: tf.tensor2d(states, [count, width]),
        offsets: Int32Array.from({ length: count + 1 }, (_, i) => i),
        histories,
        newest: histories.map((i) => (hasState[i] === 1 ? i : -1)),
      };
    return {
      hidden: tf.tensor2d(sequenceRows!, [sequenceOffsets![count]!, width]),
      offsets: sequenceOffsets!,
      histories,
      newest: histories.map((i) => (hasState[i] === 1 ? sequenceOffsets![i + 1]! - 1 : -1)),
    };
  }

  /** Item vectors of the whole catalogue, [N, D] unit rows. */
  async itemVectors(): Promise<Float32Array> {
    const { embeddingWidth } = this.config;
    const out = new Float32Array(this.items.count * embeddingWidth);
    for (const rows of this.#catalogueBlocks()) {
      const vectors = await tidyValues(() => this.itemTower(this.itemInputs(rows)));
      out.set(vectors, rows[0]! * embeddingWidth);
    }
    return out;
  }

  /**
   * Item vectors of the whole catalogue as a tensor [N, D] of unit rows. The caller disposes it.
   */
  itemVectorTable(): tf.Tensor2D {
    const blocks = this.#catalogueBlocks().map((rows) =>
      tf.tidy(() => this.itemTower(this.itemInputs(rows))),
    );
    const table = tf.concat(blocks);
    tf.dispose(blocks);
    return table;
  }

  /** All catalogue rows, in ascending blocks of consecutive rows. */
  #catalogueBlocks(): Int32Array[] {
    const { count } = this.items;
    const blocks: Int32Array[] = [];
    for (let begin = 0; begin < count; begin += ITEM_BLOCK) {
      const length = Math.min(ITEM_BLOCK, count - begin);
      blocks.push(Int32Array.from({ length }, (_, i) => begin + i));
    }
    return blocks;
  }

  /**
   * Inner products of query embeddings and item vectors.
   *
   * @param queries - [Q, D].
   * @param vectors - [N, D].
   * @returns [Q, N].
   */
  async scores(queries: Float32Array, vectors: Float32Array): Promise<Float32Array> {
    const { embeddingWidth } = this.config;
    return tidyValues(() =>
      tf.matMul(
        tf.tensor2d(queries, [queries.length / embeddingWidth, embeddingWidth]),
        tf.tensor2d(vectors, [vectors.length / embeddingWidth, embeddingWidth]),
        false,
        true,
      ),
    );
  }
}

/**
 * Runs `compute` in tf.tidy and reads the values of its tensor. `compute` runs before this function
 * returns its promise. It returns a tensor and not an array, because tf.tidy would walk an array
 * element by element.
 */
async function tidyValues(compute: () => tf.Tensor): Promise<Float32Array> {
  const tensor = tf.tidy(compute);
  try {
    return await valuesOf(tensor);
  } finally {
    tensor.dispose();
  }
}

function variableOf(values: Float32Array, shape: readonly number[]): tf.Variable {
  return tf.tidy(() => tf.variable(tf.tensor(values, [...shape])));
}
