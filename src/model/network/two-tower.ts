// The two-tower model. The query tower is history encoder, context layer, fusion and head; the item
// tower embeds the catalogue. This file connects the layers: layers.ts computes them, weights.ts
// lists the tensors, train.ts finds their values.

import { causalAttention } from '../../backend/fused.ts';
import { tf, valuesOf } from '../../backend/tf.ts';
import { stateRows, type ModelConfig } from '../../bundle/manifest.ts';
import type { HeadBatch } from '../../features/head-batch.ts';
import type { ItemFeatures } from '../../features/item-features.ts';
import type { FrequencyWeights } from '../../features/item-frequency.ts';
import type { FeatureSchema } from '../../features/schema.ts';
import type { HistoryBatch } from '../../features/sequence.ts';
import { TandemError } from '../../errors.ts';
import type { Random } from '../../random.ts';
import { attendContext, type HistoryStates } from './context-attention.ts';
import { initialWeights } from './initial-weights.ts';
import { categoryBags, subjectBags } from './bags.ts';
import { dense, dropout, layerNorm, unitRows, weightedBag } from './layers.ts';
import { compactHistories, lengthBlocks, newestRows, positionRows } from './ragged-histories.ts';
import { tensorSpecs } from './weights.ts';

/** Weights by tensor name, outside of tfjs. */
export type WeightMap = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly data: Float32Array }
>;

/** Dropout rates of a training step. Absent at inference. */
export interface TrainingNoise {
  readonly random: Random;
  /**
   * Dropout rate inside the history encoder, and share of events left out of the mean of a history.
   */
  readonly encoderRate: number;
  /** Dropout rate of the input of the head's hidden layer. */
  readonly headRate: number;
  /** Dropout rate of the context vector. */
  readonly contextRate: number;
}

/** Catalogue rows that itemVectors computes at once; bounds the memory of a large catalogue. */
const ITEM_BLOCK = 8192;

export class TwoTower {
  readonly config: ModelConfig;
  readonly schema: FeatureSchema;
  readonly items: ItemFeatures;
  readonly variables: ReadonlyMap<string, tf.Variable>;

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

  #weight(name: string): tf.Variable {
    return this.variables.get(name)!;
  }

  /**
   * Input embeddings of items: the sum of id, weighted categories, advertiser and price band.
   * History encoder and item tower share them.
   *
   * @param catalogueRows - [n] items, or undefined for the whole catalogue.
   * @param idRows - [n, D] rows of `items.id` for `catalogueRows`, when gradients are wanted
   *   towards these rows alone; looked up when absent.
   * @returns [n, D], or [N, D] for the whole catalogue.
   */
  itemInputs(catalogueRows?: Int32Array, idRows?: tf.Tensor): tf.Tensor2D {
    const { items } = this;
    const pick = (column: Int32Array): Int32Array =>
      catalogueRows === undefined ? column : catalogueRows.map((row) => column[row]!);
    const parts: tf.Tensor[] = [
      catalogueRows === undefined
        ? this.#weight('items.id')
        : (idRows ?? tf.gather(this.#weight('items.id'), tf.tensor1d(catalogueRows, 'int32'))),
    ];
    // A table with the unknown row alone would add the same vector to every item.
    if (this.schema.categories.length > 0)
      parts.push(weightedBag(this.#weight('items.category'), categoryBags(items, catalogueRows)));
    if (this.schema.advertisers.length > 0)
      parts.push(
        tf.gather(
          this.#weight('items.advertiser'),
          tf.tensor1d(pick(items.advertiserRows), 'int32'),
        ),
      );
    if (this.schema.priceBounds.length > 0)
      parts.push(
        tf.gather(this.#weight('items.price'), tf.tensor1d(pick(items.priceRows), 'int32')),
      );
    return parts.reduce((sum, part) => tf.add(sum, part)) as tf.Tensor2D;
  }

  /**
   * The item tower: v = normalise(x + MLP(x)).
   *
   * @param x - [n, D] input embeddings.
   * @returns [n, D] unit rows.
   */
  itemTower(x: tf.Tensor2D): tf.Tensor2D {
    const hidden = dense(
      x,
      this.#weight('tower.hiddenWeight'),
      this.#weight('tower.hiddenBias'),
      'relu',
    );
    const update = dense(
      hidden,
      this.#weight('tower.outputWeight'),
      this.#weight('tower.outputBias'),
    );
    return unitRows(tf.add(x, update));
  }

  /**
   * The history encoder: hidden states of B histories. An event attends to itself and to earlier
   * events of its history. Positions count back from the newest event.
   *
   * @param inputs - [M, D] input embeddings of items.
   * @param batch - R events; `items` are rows of `inputs`, not of the catalogue.
   * @returns [R, D], one row per event.
   */
  encode(inputs: tf.Tensor2D, batch: HistoryBatch, noise?: TrainingNoise): tf.Tensor2D {
    const { heads, blocks, embeddingWidth, maxHistory } = this.config;
    if (batch.items.length === 0) return tf.zeros([0, embeddingWidth]);
    const rate = noise?.encoderRate ?? 0;
    const items = tf.gather<tf.Tensor2D>(inputs, tf.tensor1d(batch.items, 'int32'));
    const events = tf.concat(
      [items, tf.gather(this.#weight('encoder.action'), tf.tensor1d(batch.actions, 'int32'))],
      1,
    ) as tf.Tensor2D;
    const projected = dense(
      events,
      this.#weight('encoder.input.weight'),
      this.#weight('encoder.input.bias'),
    );
    const gaps = tf.gather(this.#weight('encoder.gap'), tf.tensor1d(batch.gaps, 'int32'));
    const positions = tf.gather(
      this.#weight('encoder.position'),
      tf.tensor1d(positionRows(batch.offsets, maxHistory), 'int32'),
    );
    const embedded = tf.add<tf.Tensor2D>(tf.add(projected, gaps), positions);
    let x = dropout(embedded, rate, noise?.random);
    for (let block = 0; block < blocks; block++) {
      const weight = (name: string): tf.Variable => this.#weight(`encoder.blocks.${block}.${name}`);
      const normed = layerNorm(x, weight('attentionNorm.scale'), weight('attentionNorm.offset'));
      const project = (part: string): tf.Tensor2D =>
        dense(normed, weight(`${part}.weight`), weight(`${part}.bias`));
      const attended = causalAttention(
        project('query'),
        project('key'),
        project('value'),
        batch.offsets,
        heads,
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
    const states = layerNorm(
      x,
      this.#weight('encoder.norm.scale'),
      this.#weight('encoder.norm.offset'),
    );
    return this.config.historyMean
      ? tf.add(states, this.#historyMeans(items, batch.offsets, noise))
      : states;
  }

  /**
   * History boosts: w ln(1 + g n), which is added to scores, in units of the cosine. Has gradients
   * towards w and g.
   *
   * @param counts - [P] n: how often a user has had an item.
   * @returns [P].
   */
  frequencyBoost(counts: Float32Array): tf.Tensor1D {
    const gain = tf.exp(this.#weight('encoder.frequencyGain'));
    const grown = tf.log1p(tf.mul(gain, tf.tensor1d(counts)));
    return tf.mul(tf.exp(this.#weight('encoder.frequencyWeight')), grown);
  }

  /** The learned parameters of the history boost; undefined for a model without itemFrequency. */
  async frequencyWeights(): Promise<FrequencyWeights | undefined> {
    if (this.config.itemFrequency !== true) return undefined;
    const [logWeight] = await valuesOf(this.#weight('encoder.frequencyWeight'));
    const [logGain] = await valuesOf(this.#weight('encoder.frequencyGain'));
    return { logWeight: logWeight!, logGain: logGain! };
  }

  /**
   * Wm times the mean of the inputs up to each event. In training, a random share of the events is
   * left out of the means.
   *
   * @param items - [R, D] input embeddings by event.
   * @returns [R, D].
   */
  #historyMeans(items: tf.Tensor2D, offsets: Int32Array, noise?: TrainingNoise): tf.Tensor2D {
    const kept = dropout(tf.ones([items.shape[0], 1]), noise?.encoderRate ?? 0, noise?.random);
    // A mean is an attention whose scores are all equal.
    const equal = tf.zerosLike(items);
    const means = causalAttention(equal, equal, tf.mul(items, kept), offsets, 1);
    return dense(means, this.#weight('encoder.meanWeight'), undefined);
  }

  /**
   * Query embeddings: u = normalise(Wo relu(Wh z + bh) + bo + Ws z). z is h for fusion `none`, [h ;
   * c ; stateAge] for `concat` and [a ; h ; c ; stateAge] for `attention`: h is the state, c the
   * context vector and a the history that the context attends to.
   *
   * @param histories - hidden states, and which of them belong to the B requests.
   * @param batch - contexts of the requests; its states and sequences are not read.
   * @param subjectInputs - [B, D] input embeddings of the items in view, for a caller that needs
   *   gradients towards them; computed when absent.
   * @returns [B, D] unit rows.
   */
  fuse(
    histories: HistoryStates,
    batch: HeadBatch,
    noise?: TrainingNoise,
    subjectInputs?: tf.Tensor2D,
  ): tf.Tensor2D {
    const known = tf.tensor2d(
      Float32Array.from(histories.newest, (row) => (row < 0 ? 0 : 1)),
      [batch.count, 1],
    );
    // Row 0 is the cold-start vector.
    const state = tf.gather(
      tf.concat([this.#weight('head.coldStart') as tf.Tensor2D, histories.hidden]),
      tf.tensor1d(
        histories.newest.map((row) => row + 1),
        'int32',
      ),
    );
    const fused =
      this.config.fusion === 'none'
        ? state
        : this.#withContext(histories, state, known, batch, noise, subjectInputs);
    // No dropout on the linear path Ws z.
    const hidden = dense(
      dropout(fused, noise?.headRate ?? 0, noise?.random),
      this.#weight('head.hiddenWeight'),
      this.#weight('head.hiddenBias'),
      'relu',
    );
    const output = tf.add<tf.Tensor2D>(
      dense(hidden, this.#weight('head.outputWeight'), this.#weight('head.outputBias')),
      dense(fused, this.#weight('head.skipWeight'), undefined),
    );
    return unitRows(output);
  }

  /**
   * The head's input: [h ; c ; stateAge], or [a ; h ; c ; stateAge] for fusion `attention`.
   *
   * @param state - [B, D] h, the cold-start vector where there is no state.
   * @param known - [B, 1]: 1 where there is a state.
   * @returns [B, fusedWidth].
   */
  #withContext(
    histories: HistoryStates,
    state: tf.Tensor2D,
    known: tf.Tensor2D,
    batch: HeadBatch,
    noise: TrainingNoise | undefined,
    subjectInputs: tf.Tensor2D | undefined,
  ): tf.Tensor2D {
    const context = dropout(
      this.#context(batch, subjectInputs),
      noise?.contextRate ?? 0,
      noise?.random,
    );
    const parts = [state, context, tf.tensor2d(maskedAges(batch), [batch.count, 1])];
    if (this.config.fusion === 'attention')
      parts.unshift(
        attendContext(histories, context, known, {
          heads: this.config.heads,
          query: this.#weight('head.queryWeight'),
          key: this.#weight('head.keyWeight'),
          value: this.#weight('head.valueWeight'),
          output: this.#weight('head.attentionOutputWeight'),
          coldStart: this.#weight('head.coldStart'),
        }),
      );
    return tf.concat(parts, 1);
  }

  /**
   * The context layer: c = relu(Wc [bag(subject) ; age ; country ; gender ; item in view] + bc).
   * The item in view is an input only with subjectItem.
   *
   * @returns [B, F].
   */
  #context(batch: HeadBatch, subjectInputs?: tf.Tensor2D): tf.Tensor2D {
    const { bags, empty } = subjectBags(batch);
    const subject = tf.add(
      weightedBag(this.#weight('context.subjectTable'), bags),
      tf.mul(tf.tensor2d(empty, [batch.count, 1]), this.#weight('context.noSubject')),
    );
    const demographic = (name: string, column: number): tf.Tensor =>
      tf.gather(
        this.#weight(name),
        tf.tensor1d(
          Int32Array.from({ length: batch.count }, (_, i) => batch.demographics[3 * i + column]!),
          'int32',
        ),
      );
    const inputs = tf.concat(
      [
        subject,
        demographic('context.ageTable', 0),
        demographic('context.countryTable', 1),
        demographic('context.genderTable', 2),
        ...(this.config.subjectItem ? [this.#subjectItems(batch, subjectInputs)] : []),
      ],
      1,
    ) as tf.Tensor2D;
    return dense(
      inputs,
      this.#weight('context.contextWeight'),
      this.#weight('context.contextBias'),
      'relu',
    );
  }

  /** Input embeddings of the items in view, [B, D]; zeros for requests without one. */
  #subjectItems(batch: HeadBatch, subjectInputs: tf.Tensor2D | undefined): tf.Tensor2D {
    const rows = Int32Array.from({ length: batch.count }, (_, b) => batch.subjectItems?.[b] ?? -1);
    const present = Float32Array.from(rows, (row) => (row < 0 ? 0 : 1));
    return tf.mul(
      subjectInputs ?? this.itemInputs(rows.map((row) => Math.max(0, row))),
      tf.tensor2d(present, [batch.count, 1]),
    );
  }

  /**
   * User states of histories, as the feature store keeps them. Computed in blocks of histories of
   * similar length.
   *
   * The backend gets the first block before this returns its promise, and each block is read while
   * the next one is computed. This keeps a GPU busy.
   *
   * @param batch - items are catalogue rows.
   * @returns one array per history: the hidden state of its newest event [1, D], or for fusion
   *   `attention` those of all its events [L, D], oldest first. An empty history has an empty
   *   array.
   */
  async encodeHistories(batch: HistoryBatch): Promise<Float32Array[]> {
    const { embeddingWidth: width, heads, feedForwardWidth } = this.config;
    const most = stateRows(this.config);
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

  /** Query embeddings of a micro-batch of B requests with their states: [B, D] unit rows. */
  async embedQueries(batch: HeadBatch): Promise<Float32Array> {
    return tidyValues(() => this.fuse(this.#statesOf(batch), batch));
  }

  /**
   * The states inside a batch, as one history per request. For fusion `attention` a history is the
   * request's sequence of states; otherwise it is its one state.
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

  /** The same as a tensor [N, D] on the backend. The caller disposes it. */
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
 * The values of a tensor. `compute` runs before this returns its promise. It returns a tensor,
 * because tf.tidy would walk an array element by element.
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

/** [B] state ages; 0 for requests without a state, whatever the batch holds there. */
function maskedAges(batch: HeadBatch): Float32Array {
  return batch.stateAge.map((age, i) => (batch.hasState[i] === 1 ? age : 0));
}
