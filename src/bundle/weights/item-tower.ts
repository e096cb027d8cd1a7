// The item tower of a bundle on the native addon, without tfjs: for items that the catalogue does
// not have yet, or has with other features.

import {
  buildItemFeatures,
  type ItemColumns,
  type ItemFeatures,
} from '../../features/item-features.ts';
import type { CompactSchema } from '../../features/schema.ts';
import { Vocabulary } from '../../features/vocabulary.ts';
import { nativeAddon } from '../../native/addon.ts';
import type { Isa } from '../../native/isa.ts';
import type { ItemTowerWeights, NativeItemTower } from '../../native/item-tower.ts';
import { itemIdTable, itemTables } from './item-input-weights.ts';
import type { Bundle } from '../load.ts';
import { BUNDLE_FILES, type ModelConfig } from '../manifest.ts';
import { expectTensor, type Tensor } from '../safetensors.ts';

/** Computes the same vectors as TwoTower.itemTower on TwoTower.itemInputs, to within 1e-5. */
export class ItemTower {
  /** D. */
  readonly embeddingWidth: number;
  readonly #schema: CompactSchema;
  readonly #advertisers: Vocabulary;
  readonly #native: NativeItemTower;
  readonly #readIds: () => Float32Array;
  #ids: Float32Array | undefined;
  readonly #items: number;
  /** [D] mean of the learned id rows, for items that training never saw. */
  readonly #unseen: Float32Array;

  /**
   * @param ids - `items.id` [N, D]; only its mean is kept.
   * @param readIds - reads `items.id` again, when vectors() first needs a row of it.
   * @throws RangeError or ERR_NON_FINITE naming the weight that is wrong.
   */
  constructor(
    weights: ItemTowerWeights,
    schema: CompactSchema,
    ids: Float32Array,
    readIds: () => Float32Array,
    isa?: Isa,
  ) {
    this.embeddingWidth = weights.embeddingWidth;
    this.#schema = schema;
    this.#advertisers = new Vocabulary(schema.advertisers);
    this.#native = new (nativeAddon().ItemTower)(weights, isa);
    this.#readIds = readIds;
    this.#items = ids.length / weights.embeddingWidth;
    this.#unseen = meanRow(ids, weights.embeddingWidth);
  }

  /**
   * Embeds items into the space of the bundle's vectors, on the threads of the addon's pool, while
   * the caller waits: about 2 us per item. A vector depends on its item alone, to the last bit.
   *
   * Categories and advertisers that the schema does not know and unknown prices add nothing.
   *
   * @param columns - N items.
   * @param idRows - [N] for each item, the catalogue row whose learned id row it uses; -1 for an
   *   item that training never saw, which uses the mean of all.
   * @returns [N, D] f32, unit rows.
   * @throws RangeError naming the position of a value out of range; ERR_NON_FINITE naming the first
   *   item whose vector has no direction; ERR_BUNDLE_INVALID when the file of `items.id` has
   *   changed.
   */
  vectors(columns: ItemColumns, idRows: Int32Array): Float32Array {
    const { embeddingWidth: width } = this;
    const features: ItemFeatures = buildItemFeatures(this.#schema, columns, this.#advertisers);
    if (idRows.length !== features.count)
      throw new RangeError(
        `Expected Int32Array of length ${features.count} (items) for idRows, ` +
          `received length ${idRows.length}.`,
      );
    if (idRows.some((row) => row >= 0)) this.#ids ??= this.#readIds();
    const rows = new Float32Array(features.count * width);
    for (const [item, row] of idRows.entries()) {
      if (row < -1 || row >= this.#items)
        throw new RangeError(
          `Expected rows of the catalogue from 0 to ${this.#items - 1}, or -1 for an item that ` +
            `it does not have, in idRows, received ${row} at ${item}.`,
        );
      const source = row < 0 ? this.#unseen : this.#ids!.subarray(row * width, (row + 1) * width);
      rows.set(source, item * width);
    }
    const out = new Float32Array(rows.length);
    this.#native.embed(features, rows, out);
    return out;
  }
}

/**
 * Makes the item tower of a bundle.
 *
 * The table of learned id rows is as large as the vectors. It is read when vectors() first needs a
 * row of it, and stays in memory then.
 *
 * @throws TandemError ERR_BUNDLE_INVALID; what the constructor throws.
 */
export function bundleItemTower(
  bundle: Pick<Bundle, 'manifest' | 'tensors'> & { readonly schema: CompactSchema },
  isa?: Isa,
): ItemTower {
  const { model, counts } = bundle.manifest;
  const width = model.embeddingWidth;
  const tensors = bundle.tensors();
  const ids = (of: typeof tensors): Float32Array => itemIdTable(of, width, counts.items);
  return new ItemTower(
    itemTowerWeights(tensors, model, bundle.schema),
    bundle.schema,
    ids(tensors),
    // A copy: the tensor is a view, which would keep the whole file in memory.
    () => ids(bundle.tensors()).slice(),
    isa,
  );
}

/**
 * Gives the `tower.*` tensors and the tables of `items.*` under the names of the addon, without
 * copies.
 *
 * @throws TandemError ERR_BUNDLE_INVALID naming a tensor that is missing or of another shape.
 */
export function itemTowerWeights(
  tensors: ReadonlyMap<string, Tensor>,
  config: ModelConfig,
  schema: CompactSchema,
): ItemTowerWeights {
  const { embeddingWidth: width, hiddenWidth } = config;
  const get = (name: string, ...shape: number[]): Float32Array =>
    expectTensor(tensors, `tower.${name}`, Float32Array, shape, BUNDLE_FILES.weights);
  return {
    embeddingWidth: width,
    hiddenWidth,
    hiddenWeight: get('hiddenWeight', hiddenWidth, width),
    hiddenBias: get('hiddenBias', hiddenWidth),
    outputWeight: get('outputWeight', width, hiddenWidth),
    outputBias: get('outputBias', width),
    ...itemTables(tensors, width, schema),
  };
}

/** Mean of the rows of a table [N, width], summed in f64. */
function meanRow(table: Float32Array, width: number): Float32Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < table.length; i += width)
    for (let j = 0; j < width; j++) sums[j]! += table[i + j]!;
  return Float32Array.from(sums, (sum) => (sum * width) / table.length);
}
