// From the tensors of a bundle to the weights that the native head takes, with every shape checked on the way.

import { subjectRows, type FeatureSchema } from '../features/schema.ts';
import type { ContextWeights, HeadWeights } from '../native/binding.ts';
import { BUNDLE_FILES, fusedWidth, type ModelConfig } from './manifest.ts';
import { expectTensor, type Tensor } from './safetensors.ts';

/** Rows that the schema gives each context table; without it any number of rows is taken. */
type Rows = Pick<
  FeatureSchema,
  'categories' | 'queryNgrams' | 'ageBounds' | 'countries' | 'genders'
>;

/**
 * Copies the `head.*` and `context.*` tensors out, so that the rest of the weights can be freed.
 *
 * @param schema - gives the rows of the context tables; leave it out only where there is none.
 * @throws TandemError ERR_BUNDLE_INVALID naming a tensor that is missing or of another shape.
 */
export function headWeights(
  tensors: ReadonlyMap<string, Tensor>,
  config: ModelConfig,
  schema?: Rows,
): HeadWeights {
  const { fusion, embeddingWidth: width, hiddenWidth, contextWidth } = config;
  const copy = (name: string, ...shape: (number | null)[]): Float32Array =>
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

  const { subjectWidth, demographicWidth } = config;
  const context: ContextWeights = {
    contextWidth,
    subjectWidth,
    demographicWidth,
    subjectTable: copy(
      'context.subjectTable',
      schema === undefined ? null : subjectRows(schema),
      subjectWidth,
    ),
    noSubject: copy('context.noSubject', 1, subjectWidth),
    ageTable: copy('context.ageTable', rowsFor(schema?.ageBounds), demographicWidth),
    countryTable: copy('context.countryTable', rowsFor(schema?.countries), demographicWidth),
    genderTable: copy('context.genderTable', rowsFor(schema?.genders), demographicWidth),
    contextWeight: copy('context.contextWeight', contextWidth, subjectWidth + 3 * demographicWidth),
    contextBias: copy('context.contextBias', contextWidth),
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

/** A row for each value and row 0 for the unknown one. */
function rowsFor(values: readonly unknown[] | undefined): number | null {
  return values === undefined ? null : values.length + 1;
}
