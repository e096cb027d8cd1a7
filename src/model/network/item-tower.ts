// The item tower, and the input embeddings of items, which it shares with the history encoder.

import { tf } from '../../backend/tf.ts';
import type { ItemFeatures } from '../../features/item-features.ts';
import type { FeatureSchema } from '../../features/schema.ts';
import { categoryBags } from './bags.ts';
import { dense, unitRows, weightedBag, type WeightOf } from './layers.ts';

/**
 * Input embeddings of items: the sum of the embeddings of id, categories (weighted by confidence),
 * advertiser and price band.
 *
 * @param weightOf - looks up the tensors `items.*`.
 * @param catalogueRows - [n] items, or undefined for the whole catalogue of N items.
 * @param idRows - [n, D] the rows of `items.id` for `catalogueRows`. A caller passes them to get
 *   gradients with respect to these rows only. They are looked up when absent.
 * @returns [n, D], or [N, D] for the whole catalogue.
 */
export function itemInputs(
  { categories, advertisers, priceBounds }: FeatureSchema,
  items: ItemFeatures,
  weightOf: WeightOf,
  catalogueRows?: Int32Array,
  idRows?: tf.Tensor,
): tf.Tensor2D {
  const lookUp = (name: string, rows: Int32Array): tf.Tensor =>
    tf.gather(weightOf(name), tf.tensor1d(rows, 'int32'));
  const pick = (column: Int32Array): Int32Array =>
    catalogueRows === undefined ? column : catalogueRows.map((row) => column[row]!);
  const parts: tf.Tensor[] = [
    catalogueRows === undefined
      ? weightOf('items.id')
      : (idRows ?? lookUp('items.id', catalogueRows)),
  ];
  // A table with the unknown row alone would add the same vector to every item.
  if (categories.length > 0)
    parts.push(weightedBag(weightOf('items.category'), categoryBags(items, catalogueRows)));
  if (advertisers.length > 0) parts.push(lookUp('items.advertiser', pick(items.advertiserRows)));
  if (priceBounds.length > 0) parts.push(lookUp('items.price', pick(items.priceRows)));
  return parts.reduce((sum, part) => tf.add(sum, part)) as tf.Tensor2D;
}

/**
 * Item vectors: v = normalise(x + MLP(x)). The MLP has one hidden layer with relu.
 *
 * @param weightOf - looks up the tensors `tower.*`.
 * @param x - [n, D] input embeddings.
 * @returns [n, D] unit rows.
 */
export function embedItems(weightOf: WeightOf, x: tf.Tensor2D): tf.Tensor2D {
  const hidden = dense(x, weightOf('tower.hiddenWeight'), weightOf('tower.hiddenBias'), 'relu');
  const update = dense(hidden, weightOf('tower.outputWeight'), weightOf('tower.outputBias'));
  return unitRows(tf.add(x, update));
}
