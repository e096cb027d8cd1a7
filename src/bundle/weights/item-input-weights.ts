// Turns tensors into the tables of item input embeddings for native code. The history encoder, the
// item tower and a head with subjectItem read these tables.

import type { ItemFeatures } from '../../features/item-features.ts';
import type { CompactSchema } from '../../features/schema.ts';
import type { ItemInputWeights } from '../../native/item-inputs.ts';
import type { ItemTables } from '../../native/item-tower.ts';
import { BUNDLE_FILES } from '../manifest.ts';
import { expectTensor, type Tensor } from '../safetensors.ts';

/**
 * Gives the `items.*` tensors that items share under the names of the addon, without copies.
 *
 * @param width - D.
 * @throws TandemError ERR_BUNDLE_INVALID naming a tensor that is missing or of another shape.
 */
export function itemTables(
  tensors: ReadonlyMap<string, Tensor>,
  width: number,
  schema: CompactSchema,
): ItemTables {
  const { categories, advertisers, priceBounds } = schema;
  const table = (name: string, rows: number): Float32Array =>
    itemTensor(tensors, name, rows, width);
  // As in TwoTower.itemInputs: a feature without values in the schema has no table.
  return {
    ...(categories.length > 0 && { categoryTable: table('category', categories.length) }),
    ...(advertisers.length > 0 && { advertiserTable: table('advertiser', advertisers.length + 1) }),
    ...(priceBounds.length > 0 && { priceTable: table('price', priceBounds.length + 1) }),
  };
}

/**
 * Gives `items.id` [count, width], without a copy.
 *
 * @throws TandemError as itemTables().
 */
export function itemIdTable(
  tensors: ReadonlyMap<string, Tensor>,
  width: number,
  count: number,
): Float32Array {
  return itemTensor(tensors, 'id', count, width);
}

/**
 * Gives all of `items.*`, with each item's rows of the tables, without copies.
 *
 * @throws TandemError as itemTables().
 */
export function itemInputWeights(
  tensors: ReadonlyMap<string, Tensor>,
  width: number,
  schema: CompactSchema,
  items: ItemFeatures,
): ItemInputWeights {
  const { categoryTable, advertiserTable, priceTable } = itemTables(tensors, width, schema);
  return {
    itemTable: itemIdTable(tensors, width, items.count),
    ...(categoryTable && {
      categories: {
        table: categoryTable,
        offsets: items.categoryOffsets,
        rows: items.categoryRows,
        weights: items.categoryWeights,
      },
    }),
    ...(advertiserTable && { advertisers: { table: advertiserTable, rows: items.advertiserRows } }),
    ...(priceTable && { prices: { table: priceTable, rows: items.priceRows } }),
  };
}

function itemTensor(
  tensors: ReadonlyMap<string, Tensor>,
  name: string,
  rows: number,
  width: number,
): Float32Array {
  return expectTensor(tensors, `items.${name}`, Float32Array, [rows, width], BUNDLE_FILES.weights);
}
