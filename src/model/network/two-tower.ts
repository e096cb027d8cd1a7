// The two-tower model: history encoder, context layer, fusion and head (the query tower), and the item tower.
// This file says how the layers connect; layers.ts what they compute; train.ts how their weights are found.

import { causalAttention } from '../../backend/fused.ts';
import { tf, valuesOf } from '../../backend/tf.ts';
import { maxStateRows, type ModelConfig } from '../../bundle/manifest.ts';
import type { HeadBatch } from '../../features/head-batch.ts';
import type { ItemFeatures } from '../../features/item-features.ts';
import type { FrequencyWeights } from '../../features/item-frequency.ts';
import type { FeatureSchema } from '../../features/schema.ts';
import type { HistoryBatch } from '../../features/sequence.ts';
import { TandemError } from '../../errors.ts';
import type { Random } from '../../random.ts';
import { attendContext, type StateRows } from './context-attention.ts';
import { initialWeights } from './initial-weights.ts';
import { dense, dropout, layerNorm, unitRows, weightedBag, type Bags } from './layers.ts';
import { tensorSpecs } from './weights.ts';

/** Plain weights by tensor name. */
export type WeightMap = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly data: Float32Array }
>;

/** Dropout while training; absent everywhere else. */
export interface TrainingNoise {
  readonly random: Random;
  /** Share of units dropped inside the history encoder, and of events from the mean of a history. */
  readonly encoderRate: number;
  /** Share of units dropped from what the head's hidden layer reads. */
  readonly headRate: number;
  /** Share of units dropped from the context vector. */
  readonly contextRate: number;
}

/** Rows that embedQueries, encodeHistories and itemVectors push through tfjs at once. */
const INFERENCE_ROWS = 512;
const TENSOR_BYTES = 128 * 1024 * 1024;

export class TwoTower {
  readonly config: ModelConfig;
  readonly schema: FeatureSchema;
  readonly items: ItemFeatures;
  readonly variables: ReadonlyMap<string, tf.Variable>;

  /**
   * @param weights - values of every tensor, or a seed to draw them from.
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
            `Expected tensor ${name} of shape [${String(shape)}], received ${tensor === undefined ? 'none' : `[${String(tensor.shape)}]`}. The weights belong to another config or catalogue: train again.`,
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
   * Input embeddings of items: id + weighted categories + advertiser + price band. Shared by encoder and item tower.
   *
   * @param itemRows - items, or undefined for the whole catalogue.
   * @param idRows - [itemRows, D] rows of `items.id`, where gradients towards them alone are wanted; else they are looked up.
   * @returns [itemRows or N, D].
   */
  itemInputs(itemRows?: Int32Array, idRows?: tf.Tensor): tf.Tensor2D {
    const { items } = this;
    const pick = (column: Int32Array): Int32Array =>
      itemRows === undefined ? column : itemRows.map((itemRow) => column[itemRow]!);
    const parts: tf.Tensor[] = [
      itemRows === undefined
        ? this.#weight('items.id')
        : (idRows ?? tf.gather(this.#weight('items.id'), tf.tensor1d(itemRows, 'int32'))),
    ];
    // A table of one row is the unknown row alone: it would add the same vector to every item.
    if (this.schema.categories.length > 0)
      parts.push(weightedBag(this.#weight('items.category'), categoryBags(items, itemRows)));
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

  /** Item vectors from input embeddings: v = normalise(x + MLP(x)). [n, D] to [n, D], unit rows. */
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
   * Hidden states of histories, every event seeing itself and the past. Positions count from the newest event of a history.
   *
   * @param inputs - [M, D] input embeddings; @param batch.items - rows of `inputs`.
   * @returns [offsets[B], D], a row an event.
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

  /** What frequencies [n] add to scores, in units of the cosine: w ln(1 + g n), with gradients towards w and g. */
  frequencyBoost(counts: Float32Array): tf.Tensor1D {
    const gain = tf.exp(this.#weight('encoder.frequencyGain'));
    const grown = tf.log1p(tf.mul(gain, tf.tensor1d(counts)));
    return tf.mul(tf.exp(this.#weight('encoder.frequencyWeight')), grown);
  }

  /** The numbers of the boost; undefined where item frequency adds nothing. */
  async frequencyWeights(): Promise<FrequencyWeights | undefined> {
    if (this.config.itemFrequency !== true) return undefined;
    const [logWeight] = await valuesOf(this.#weight('encoder.frequencyWeight'));
    const [logGain] = await valuesOf(this.#weight('encoder.frequencyGain'));
    return { logWeight: logWeight!, logGain: logGain! };
  }

  /** Wm times the mean of the items up to each event, [n, D]; in training without a share of the events. */
  #historyMeans(items: tf.Tensor2D, offsets: Int32Array, noise?: TrainingNoise): tf.Tensor2D {
    const kept = dropout(tf.ones([items.shape[0], 1]), noise?.encoderRate ?? 0, noise?.random);
    // A mean is an attention in which all scores are equal.
    const equal = tf.zerosLike(items);
    const means = causalAttention(equal, equal, tf.mul(items, kept), offsets, 1);
    return dense(means, this.#weight('encoder.meanWeight'), undefined);
  }

  /**
   * Query embeddings: u = normalise(Wo relu(Wh z + bh) + bo + Ws z), z = h, [h ; c ; stateAge] or [a ; h ; c ; stateAge].
   *
   * @param rows - hidden states of the histories, and which are those of the batch's requests.
   * @param batch - its states and sequences are not read.
   * @param subjectInputs - [B, D] input embeddings of the items in view, where the caller has them, for gradients.
   * @returns [B, D], unit rows.
   */
  fuse(
    rows: StateRows,
    batch: HeadBatch,
    noise?: TrainingNoise,
    subjectInputs?: tf.Tensor2D,
  ): tf.Tensor2D {
    const known = tf.tensor2d(
      Float32Array.from(rows.newest, (row) => (row < 0 ? 0 : 1)),
      [batch.count, 1],
    );
    const history = tf.gather(
      tf.concat([this.#weight('head.coldStart') as tf.Tensor2D, rows.hidden]),
      tf.tensor1d(
        rows.newest.map((row) => row + 1),
        'int32',
      ),
    );
    const fused =
      this.config.fusion === 'none'
        ? history
        : this.#withContext(rows, history, known, batch, noise, subjectInputs);
    // The linear path stays clean.
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

  /** [h ; c ; stateAge], for fusion attention [a ; h ; c ; stateAge]. */
  #withContext(
    rows: StateRows,
    history: tf.Tensor2D,
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
    const parts = [history, context, tf.tensor2d(maskedAges(batch), [batch.count, 1])];
    if (this.config.fusion === 'attention')
      parts.unshift(
        attendContext(rows, context, known, {
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

  /** c = relu(Wc [bag(subject) ; age ; country ; gender ; item in view] + bc), [B, F]; the item with subjectItem alone. */
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

  /** Input embeddings of the items in view, [B, D]; 0 where there is none. */
  #subjectItems(batch: HeadBatch, subjectInputs: tf.Tensor2D | undefined): tf.Tensor2D {
    const itemRows = Int32Array.from(
      { length: batch.count },
      (_, b) => batch.subjectItems?.[b] ?? -1,
    );
    const seen = Float32Array.from(itemRows, (itemRow) => (itemRow < 0 ? 0 : 1));
    return tf.mul(
      subjectInputs ?? this.itemInputs(itemRows.map((itemRow) => Math.max(0, itemRow))),
      tf.tensor2d(seen, [batch.count, 1]),
    );
  }

  /**
   * User states of histories, computed in blocks of users of like length: what the feature store keeps of them.
   *
   * The work of the first block is handed to the backend before this returns its promise, and a block is read while the next
   * one is computed, so that a GPU is kept busy.
   *
   * @param batch - items are catalogue rows.
   * @returns for each history the hidden state of its newest event [1, D], for fusion attention those of all its events
   *   [L, D], oldest first; an empty history has an empty state.
   */
  async encodeHistories(batch: HistoryBatch): Promise<Float32Array[]> {
    const { embeddingWidth: width, heads, feedForwardWidth } = this.config;
    const most = maxStateRows(this.config);
    const states = Array.from({ length: batch.offsets.length - 1 }, () => new Float32Array(0));
    const submit = (histories: Int32Array): (() => Promise<void>) => {
      const { itemRows, part } = compacted(batch, histories);
      const { rows, offsets } = newestRows(part.offsets, most);
      const read = tidyValues(() =>
        tf.gather(this.encode(this.itemInputs(itemRows), part), tf.tensor1d(rows, 'int32')),
      );
      return async () => {
        const hidden = await read;
        for (const [i, history] of histories.entries())
          states[history] = hidden.slice(offsets[i]! * width, offsets[i + 1]! * width);
      };
    };
    let collect: (() => Promise<void>) | undefined;
    for (const histories of likeLengths(batch.offsets, heads, feedForwardWidth)) {
      const next = submit(histories);
      await collect?.();
      collect = next;
    }
    await collect?.();
    return states;
  }

  /** Query embeddings of a micro-batch, [B, D] unit rows. */
  async embedQueries(batch: HeadBatch): Promise<Float32Array> {
    return tidyValues(() => this.fuse(this.#rowsOf(batch), batch));
  }

  /** The states that a batch brings along, one history a request: its sequences where the context attends to them. */
  #rowsOf(batch: HeadBatch): StateRows {
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
    for (const itemRows of this.#slotBlocks()) {
      const vectors = await tidyValues(() => this.itemTower(this.itemInputs(itemRows)));
      out.set(vectors, itemRows[0]! * embeddingWidth);
    }
    return out;
  }

  /** The same where the backend keeps its tensors; the caller disposes it. */
  itemVectorTable(): tf.Tensor2D {
    const blocks = this.#slotBlocks().map((itemRows) =>
      tf.tidy(() => this.itemTower(this.itemInputs(itemRows))),
    );
    const table = tf.concat(blocks);
    tf.dispose(blocks);
    return table;
  }

  /** All catalogue rows in ascending runs. */
  #slotBlocks(): Int32Array[] {
    const rows = INFERENCE_ROWS * 16;
    const blocks: Int32Array[] = [];
    for (let begin = 0; begin < this.items.count; begin += rows)
      blocks.push(
        Int32Array.from({ length: Math.min(rows, this.items.count - begin) }, (_, i) => begin + i),
      );
    return blocks;
  }

  /** Inner products of queries [Q, D] with item vectors [N, D], as [Q, N]. */
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

/** Values of what is computed before this returns. tf.tidy walks what it gets back element by element: it gets the tensor. */
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

/** The age of a state that is not there is 0, whatever the array holds. */
function maskedAges(batch: HeadBatch): Float32Array {
  return batch.stateAge.map((age, i) => (batch.hasState[i] === 1 ? age : 0));
}

/** Category bags of the whole catalogue, or of some items. */
function categoryBags(items: ItemFeatures, itemRows: Int32Array | undefined): Bags {
  const { categoryOffsets, categoryRows, categoryWeights } = items;
  if (itemRows === undefined)
    return { offsets: categoryOffsets, rows: categoryRows, weights: categoryWeights };
  const offsets = new Int32Array(itemRows.length + 1);
  for (const [i, itemRow] of itemRows.entries())
    offsets[i + 1] = offsets[i]! + categoryOffsets[itemRow + 1]! - categoryOffsets[itemRow]!;
  const rows = new Int32Array(offsets[itemRows.length]!);
  const weights = new Float32Array(offsets[itemRows.length]!);
  for (const [i, itemRow] of itemRows.entries()) {
    const begin = categoryOffsets[itemRow]!;
    const end = categoryOffsets[itemRow + 1]!;
    rows.set(categoryRows.subarray(begin, end), offsets[i]);
    weights.set(categoryWeights.subarray(begin, end), offsets[i]);
  }
  return { offsets, rows, weights };
}

/** Subject bags with weights that sum to 1, and a flag where they sum to 0. */
function subjectBags(batch: HeadBatch): { bags: Bags; empty: Float32Array } {
  const { count, subjectOffsets, subjectRows, subjectWeights } = batch;
  const weights = new Float32Array(subjectWeights.length);
  const empty = new Float32Array(count);
  for (let b = 0; b < count; b++) {
    const begin = subjectOffsets[b]!;
    const end = subjectOffsets[b + 1]!;
    let total = 0;
    for (let i = begin; i < end; i++) total += subjectWeights[i]!;
    if (total === 0) empty[b] = 1;
    else for (let i = begin; i < end; i++) weights[i] = subjectWeights[i]! / total;
  }
  return { bags: { offsets: subjectOffsets, rows: subjectRows, weights }, empty };
}

/** Row of the position table of every event: the newest of a history has the last one. */
function positionRows(offsets: Int32Array, maxHistory: number): Int32Array {
  const rows = new Int32Array(offsets.at(-1)!);
  for (const [b, end] of offsets.subarray(1).entries())
    for (let i = offsets[b]!; i < end; i++) rows[i] = maxHistory - end + i;
  return rows;
}

/**
 * Histories that have events, in blocks of like length, longest first: a backend without ragged attention pads a block to its longest.
 *
 * A block has at most 512 histories, and no tensor of more than 128 MiB when padded (the scores of attention, the hidden
 * layer): the most that WebGPU promises for one binding, and little enough for any GPU.
 */
function likeLengths(offsets: Int32Array, heads: number, feedForwardWidth: number): Int32Array[] {
  const lengthOf = (history: number): number => offsets[history + 1]! - offsets[history]!;
  const order = Int32Array.from({ length: offsets.length - 1 }, (_, i) => i)
    .filter((history) => lengthOf(history) > 0)
    .sort((a, b) => lengthOf(b) - lengthOf(a));
  const blocks: Int32Array[] = [];
  for (let begin = 0; begin < order.length; begin += blocks.at(-1)!.length) {
    const longest = lengthOf(order[begin]!);
    const bytes = 4 * longest * Math.max(heads * longest, feedForwardWidth);
    const most = Math.max(1, Math.min(INFERENCE_ROWS, Math.floor(TENSOR_BYTES / bytes)));
    blocks.push(order.subarray(begin, begin + most));
  }
  return blocks;
}

/** The newest `most` rows of each history: their rows, and where those of a history begin among them. */
function newestRows(offsets: Int32Array, most: number): { rows: Int32Array; offsets: Int32Array } {
  const rows: number[] = [];
  const starts = new Int32Array(offsets.length);
  for (const [b, end] of offsets.subarray(1).entries()) {
    for (let row = Math.max(offsets[b]!, end - most); row < end; row++) rows.push(row);
    starts[b + 1] = rows.length;
  }
  return { rows: Int32Array.from(rows), offsets: starts };
}

/** Some histories over the items that occur in them: `itemRows` lists those, part.items points into it. */
function compacted(
  batch: HistoryBatch,
  histories: Int32Array,
): { itemRows: Int32Array; part: HistoryBatch } {
  const offsets = new Int32Array(histories.length + 1);
  for (const [i, history] of histories.entries())
    offsets[i + 1] = offsets[i]! + batch.offsets[history + 1]! - batch.offsets[history]!;
  const gathered = (column: Int32Array): Int32Array => {
    const out = new Int32Array(offsets[histories.length]!);
    for (const [i, history] of histories.entries())
      out.set(column.subarray(batch.offsets[history], batch.offsets[history + 1]), offsets[i]);
    return out;
  };
  const { itemRows, rows } = localiseItems(gathered(batch.items));
  const part = {
    offsets,
    items: rows,
    actions: gathered(batch.actions),
    gaps: gathered(batch.gaps),
  };
  return { itemRows, part };
}

/**
 * Distinct items of `items` and the same array re-pointed into them.
 *
 * @param also - further catalogue rows to include. @returns itemRows (at least one), rows (index into itemRows), and where each of `also`
 *   lies in itemRows.
 */
export function localiseItems(
  items: Int32Array,
  also: Int32Array = new Int32Array(0),
): { itemRows: Int32Array; rows: Int32Array; alsoRows: Int32Array } {
  // A table over itemRows and no Map: it is read once for every event of a step.
  const rowOf = new Int32Array(1 + Math.max(largest(items), largest(also))).fill(-1);
  const itemRows = new Int32Array(Math.max(1, items.length + also.length));
  let count = 0;
  const locateAll = (wanted: Int32Array): Int32Array => {
    const rows = new Int32Array(wanted.length);
    for (let i = 0; i < wanted.length; i++) {
      const itemRow = wanted[i]!;
      if (rowOf[itemRow] === -1) {
        rowOf[itemRow] = count;
        itemRows[count++] = itemRow;
      }
      rows[i] = rowOf[itemRow]!;
    }
    return rows;
  };
  const rows = locateAll(items);
  const alsoRows = locateAll(also);
  return { itemRows: itemRows.slice(0, Math.max(1, count)), rows, alsoRows };
}

function largest(itemRows: Int32Array): number {
  let most = 0;
  for (let i = 0; i < itemRows.length; i++) most = Math.max(most, itemRows[i]!);
  return most;
}
