// Turns the tensors of a bundle into the weights of the native head, and checks every shape.

import { subjectRows, type FeatureSchema } from '../../features/schema.ts';
import type { ContextWeights, HeadWeights } from '../../native/head.ts';
import type { ItemCatalogue } from '../catalogue.ts';
import { catalogueItemFeatures } from './item-features.ts';
import { itemInputWeights } from './item-input-weights.ts';
import { BUNDLE_FILES, fusedWidth, type ModelConfig } from '../manifest.ts';
import { expectTensor, type Tensor } from '../safetensors.ts';

/**
 * Copies the `head.*` and `context.*` tensors, so that the other weights can be freed. With
 * subjectItem the result also refers to `items.*`, which are not copied.
 *
 * @param catalogue - source of item features; read only with subjectItem.
 * @throws TandemError ERR_BUNDLE_INVALID naming a tensor that is missing or of another shape.
 */
export function headWeights(
  tensors: ReadonlyMap<string, Tensor>,
  config: ModelConfig,
  schema: FeatureSchema,
  catalogue: ItemCatalogue,
): HeadWeights {
  const { fusion, embeddingWidth: width, hiddenWidth, contextWidth } = config;
  const copy = (name: string, ...shape: number[]): Float32Array =>
    expectTensor(tensors, name, Float32Array, shape, BUNDLE_FILES.weights).slice();
  const fused = fusedWidth(config);
  const head = {
    fusion,
    embeddingWidth: width,
    hiddenWidth,
    coldStart: copy('head.coldStart', 1, width),
    hiddenWeight: copy('head.hiddenWeight', hiddenWidth, fused),
    hiddenBias: copy('head.hiddenBias', hiddenWidth),
    outputWeight: copy('head.outputWeight', width, hiddenWidth),
    outputBias: copy('head.outputBias', width),
    skipWeight: copy('head.skipWeight', width, fused),
  };
  if (fusion === 'none') return head;

  const { subjectWidth, demographicWidth, subjectItem } = config;
  // Row 0 is for unknown values, one more row for each known value.
  const demographic = (name: string, values: readonly unknown[]): Float32Array =>
    copy(`context.${name}`, values.length + 1, demographicWidth);
  const inputs = subjectWidth + 3 * demographicWidth + (subjectItem ? width : 0);
  const context: ContextWeights = {
    contextWidth,
    subjectWidth,
    demographicWidth,
    subjectTable: copy('context.subjectTable', subjectRows(schema), subjectWidth),
    noSubject: copy('context.noSubject', 1, subjectWidth),
    ageTable: demographic('ageTable', schema.ageBounds),
    countryTable: demographic('countryTable', schema.countries),
    genderTable: demographic('genderTable', schema.genders),
    contextWeight: copy('context.contextWeight', contextWidth, inputs),
    contextBias: copy('context.contextBias', contextWidth),
    ...(subjectItem && {
      subjectItems: itemInputWeights(
        tensors,
        width,
        schema,
        catalogueItemFeatures(schema, catalogue),
      ),
    }),
  };
  if (fusion === 'concat') return { ...head, context };
  const attention = {
    heads: config.heads,
    queryWeight: copy('head.queryWeight', width, contextWidth),
    keyWeight: copy('head.keyWeight', width, width),
    valueWeight: copy('head.valueWeight', width, width),
    outputWeight: copy('head.attentionOutputWeight', width, width),
  };
  return { ...head, context, attention };
}
