// What the input embeddings of items are made of, for native code: the history encoder reads them, and a head with
// subjectItem.

import type { ItemFeatures } from '../features/item-features.ts';
import type { FeatureSchema } from '../features/schema.ts';
import type { ItemInputWeights } from '../native/binding.ts';
import { BUNDLE_FILES } from './manifest.ts';
import { expectTensor, type Tensor } from './safetensors.ts';

/**
 * The `items.*` tensors under the names of the addon, with each item's rows in them; none is copied.
 *
 * @param width - D. @throws TandemError ERR_BUNDLE_INVALID naming a tensor that is missing or of another shape.
 */
export function itemInputWeights(
  tensors: ReadonlyMap<string, Tensor>,
  width: number,
  schema: FeatureSchema,
  items: ItemFeatures,
): ItemInputWeights {
  const table = (name: string, rows: number): Float32Array =>
    expectTensor(tensors, `items.${name}`, Float32Array, [rows, width], BUNDLE_FILES.weights);
  // As in TwoTower.itemInputs: a table that the schema gives no values adds nothing.
  return {
    itemTable: table('id', items.count),
    ...(schema.categories.length > 0 && {
      categories: {
        table: table('category', schema.categories.length),
        offsets: items.categoryOffsets,
        rows: items.categoryRows,
        weights: items.categoryWeights,
      },
    }),
    ...(schema.advertisers.length > 0 && {
      advertisers: {
        table: table('advertiser', schema.advertisers.length + 1),
        rows: items.advertiserRows,
      },
    }),
    ...(schema.priceBounds.length > 0 && {
      prices: { table: table('price', schema.priceBounds.length + 1), rows: items.priceRows },
    }),
  };
}
