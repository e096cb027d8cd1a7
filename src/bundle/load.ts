// Loads a bundle: checks every file against the manifest, and that all parts fit together.

import { TandemError } from '../errors.ts';
import { catalogueDigest, schemaHash, type FeatureSchema } from '../features/schema.ts';
import type { ItemCatalogue } from './catalogue.ts';
import { decodeCatalogue } from './catalogue-file.ts';
import { resolveBundle } from './current.ts';
import { readBundleFileSync, readBundleFiles, readManifest } from './files.ts';
import { headWeights } from './weights/head-weights.ts';
import { encoderId, headId, itemTowerId } from './identity.ts';
import {
  BUNDLE_FILES,
  parseGoldens,
  parseSchema,
  maxStateRows,
  type BundleManifest,
  type GoldenRequest,
} from './manifest.ts';
import { decodeSafetensors, expectTensor, type Tensor } from './safetensors.ts';
import { checkUnitRows } from './unit-rows.ts';
import type { HeadWeights } from '../native/head.ts';

/** A checked bundle in memory. Changes on disk do not change it. */
export interface Bundle {
  /** Absolute path. */
  readonly directory: string;
  readonly manifest: BundleManifest;
  readonly schema: FeatureSchema;
  readonly catalogue: ItemCatalogue;
  /** [N, D] f32 unit rows in catalogue order. */
  readonly vectors: Float32Array;
  /** Content of the index file; manifest.index has its kind. */
  readonly indexBytes: Uint8Array;
  readonly goldens: readonly GoldenRequest[];
  /**
   * Weights of the head. With subjectItem they refer to all of `items.*`: do not keep them once the
   * head is made.
   */
  readonly headWeights: HeadWeights;
  /**
   * Reads and checks every weight again at each call, because a server keeps only the weights of
   * the head in memory.
   *
   * @throws TandemError ERR_BUNDLE_INVALID when the file has changed since loading.
   */
  tensors(): ReadonlyMap<string, Tensor>;
}

/**
 * Reads and checks a bundle: sizes, digests, formats, counts, schema hash, and every id.
 *
 * This function does not check the content of the index file and does not replay the goldens.
 * verifyBundle and a server do both.
 *
 * @param path - a bundle directory, or a directory of bundles.
 * @throws TandemError ERR_BUNDLE_NOT_FOUND; ERR_BUNDLE_INVALID naming the file, the expected value
 *   and the received value; ERR_NON_FINITE for item vectors that are not unit rows.
 */
export async function loadBundle(path: string): Promise<Bundle> {
  const directory = resolveBundle(path);
  const manifest = await readManifest(directory);
  const files = await readBundleFiles(directory, manifest);
  const { model, counts } = manifest;

  const schema = parseSchema(parseJson(files.schema, BUNDLE_FILES.schema));
  const hash = schemaHash(schema);
  same(BUNDLE_FILES.schema, 'schemaHash', manifest.schemaHash, hash);
  same(BUNDLE_FILES.schema, 'maxHistory', model.maxHistory, schema.maxHistory);
  same(BUNDLE_FILES.schema, 'categories', counts.categories, schema.categories.length);

  const weights = decodeSafetensors(files.weights, BUNDLE_FILES.weights).tensors;
  same(BUNDLE_FILES.weights, 'encoderId', manifest.encoderId, encoderId(weights, model, hash));
  same(BUNDLE_FILES.weights, 'headId', manifest.headId, headId(weights, model, hash));
  same(
    BUNDLE_FILES.weights,
    'itemTowerId',
    manifest.itemTowerId,
    itemTowerId(weights, model, hash),
  );

  const catalogue = decodeCatalogue(files.items);
  same(BUNDLE_FILES.items, 'item count', counts.items, catalogue.count);
  same(
    BUNDLE_FILES.items,
    'catalogueDigest of the schema',
    schema.catalogueDigest,
    catalogueDigest(catalogue.ids),
  );
  for (const row of catalogue.categories.values)
    if (row >= counts.categories)
      same(BUNDLE_FILES.items, 'category rows below', counts.categories, row);

  const vectors = expectTensor(
    decodeSafetensors(files.vectors, BUNDLE_FILES.vectors).tensors,
    'vectors',
    Float32Array,
    [counts.items, model.embeddingWidth],
    BUNDLE_FILES.vectors,
  );
  checkUnitRows(vectors, model.embeddingWidth, (row) => catalogue.id(row));
  // The id of an index is the digest of its file, which was checked above. The file may have
  // gigabytes, so it is not digested again.
  same(BUNDLE_FILES.index, 'indexId', manifest.indexId, manifest.files[BUNDLE_FILES.index]!.sha256);
  const goldens = parseGoldens(parseJson(files.goldens, BUNDLE_FILES.goldens));
  for (const golden of goldens) {
    const width = model.embeddingWidth;
    const label = `for user "${golden.user}"`;
    same(BUNDLE_FILES.goldens, `width ${label}`, width, golden.embedding.length);
    const rows = (golden.state?.length ?? width) / width;
    const fit = Math.min(maxStateRows(model), Math.max(1, Math.ceil(rows)));
    same(BUNDLE_FILES.goldens, `rows of a state ${label}`, fit, rows);
  }
  return {
    directory,
    manifest,
    schema,
    catalogue,
    vectors,
    indexBytes: files.index,
    goldens,
    headWeights: headWeights(weights, model, schema, catalogue),
    tensors: () => bundleTensors(directory, manifest),
  };
}

/**
 * Reads and checks every weight of a bundle again.
 *
 * @throws TandemError ERR_BUNDLE_INVALID when the file has changed.
 */
export function bundleTensors(
  directory: string,
  manifest: BundleManifest,
): ReadonlyMap<string, Tensor> {
  const bytes = readBundleFileSync(directory, manifest, 'weights');
  return decodeSafetensors(bytes, BUNDLE_FILES.weights).tensors;
}

function parseJson(bytes: Uint8Array, file: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new TandemError(
      'ERR_BUNDLE_INVALID',
      `Expected JSON in ${file}: ${String(cause)}. Publish the bundle again.`,
      { cause, details: { file } },
    );
  }
}

/**
 * Compares a value of the manifest or the schema with that of a file.
 *
 * @throws TandemError ERR_BUNDLE_INVALID when they differ.
 */
function same(
  file: string,
  what: string,
  expected: string | number,
  received: string | number,
): void {
  if (expected === received) return;
  throw new TandemError(
    'ERR_BUNDLE_INVALID',
    `Expected ${what} ${expected} of ${file}, received ${received}. ` +
      'Its parts are of different models: publish the bundle again from one checkpoint.',
    { details: { file, expected, received } },
  );
}
