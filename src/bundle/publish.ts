// Publishes a bundle: writes it to a temporary folder, syncs it, renames it into place and then
// makes it current. A published bundle is never rewritten. Old bundles stay, because a rollback
// needs them.

import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { TandemError } from '../errors.ts';
import { catalogueDigest, schemaHash, type FeatureSchema } from '../features/schema.ts';
import { writeFileSynced, writeFolderAtomic } from '../files.ts';
import type { BundleId } from '../ids.ts';
import { canonicalJson, sha256Hex } from '../json.ts';
import type { ItemCatalogue } from './catalogue.ts';
import { encodeCatalogue } from './catalogue-file.ts';
import { activateBundle } from './current.ts';
import { readBundleFiles, readManifest, type BundleFile } from './files.ts';
import { bundleId, encoderId, headId, indexId, itemTowerId } from './identity.ts';
import {
  BUNDLE_FILES,
  BUNDLE_FORMAT,
  BUNDLE_VERSION,
  MANIFEST_FILE,
  manifestText,
  parseGoldens,
  parseManifest,
  parseModelConfig,
  type BundleManifest,
  type GoldenRequest,
  type ModelConfig,
} from './manifest.ts';
import { encodeSafetensors, type Tensor } from './safetensors.ts';
import { checkUnitRows } from './unit-rows.ts';

/** The parts of a bundle, from which its ids follow. */
export interface BundleInput {
  readonly model: ModelConfig;
  readonly schema: FeatureSchema;
  /** Every tensor of tensorSpecs(model, schema, items). */
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly catalogue: ItemCatalogue;
  /** [N, D] unit rows in catalogue order, from the item tower. */
  readonly vectors: Float32Array;
  /** Content of the index file; the index has the same rows as `vectors`. */
  readonly indexBytes: Uint8Array;
  readonly index: BundleManifest['index'];
  readonly stateType: BundleManifest['stateType'];
  readonly goldens: readonly GoldenRequest[];
  /** Unix seconds of the newest training event. */
  readonly dataUntilSeconds: number;
  readonly datasetName: string;
  /** Dataset.digest: 64 hex digits. */
  readonly datasetDigest: string;
}

/** Id and place of a published bundle. */
export interface PublishedBundle {
  readonly bundleId: BundleId;
  /** Absolute path. */
  readonly directory: string;
}

/** Digits of the bundleId that name its directory. */
const DIRECTORY_DIGITS = 16;

/**
 * Writes a bundle to `<bundlesDirectory>/<first 16 hex digits of its id>`.
 *
 * The same content gives the same id: publishing it again writes no bundle file and only changes
 * `current`. After a crash at any point, the old or the new bundle is current, never a mixture; a
 * `.tmp-` folder may be left over.
 *
 * @param activate - whether the bundle becomes current. Default true.
 * @throws TandemError ERR_BUNDLE_INVALID when the parts do not fit together, or when a damaged
 *   bundle has the same name; ERR_NON_FINITE naming the first row that is NaN, infinite or zero;
 *   errors of the file system.
 */
export async function publishBundle(
  input: BundleInput,
  bundlesDirectory: string,
  activate: boolean = true,
): Promise<PublishedBundle> {
  checkInput(input);
  const files = encodeFiles(input);
  const manifest = makeManifest(input, files);
  const name = manifest.bundleId.slice(0, DIRECTORY_DIGITS);
  const root = resolve(bundlesDirectory);
  const directory = join(root, name);
  mkdirSync(root, { recursive: true });
  if (existsSync(directory)) await checkPublished(directory, manifest.bundleId);
  else
    try {
      await writeFolderAtomic(directory, (folder) => {
        for (const key of Object.keys(files) as BundleFile[])
          writeFileSynced(join(folder, BUNDLE_FILES[key]), files[key]);
        writeFileSynced(join(folder, MANIFEST_FILE), manifestText(manifest));
      });
    } catch (error) {
      // Another process published the same content meanwhile, and its files are the same.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
      await checkPublished(directory, manifest.bundleId);
    }
  if (activate) activateBundle(root, name);
  return { bundleId: manifest.bundleId as BundleId, directory };
}

async function checkPublished(directory: string, id: string): Promise<void> {
  const manifest = await readManifest(directory);
  if (manifest.bundleId !== id)
    throw unfit(`bundle ${id} in ${directory}`, `bundle ${manifest.bundleId}`);
  await readBundleFiles(directory, manifest);
}

function encodeFiles(input: BundleInput): Record<BundleFile, Uint8Array> {
  const { vectors, catalogue, model } = input;
  const shape = [catalogue.count, model.embeddingWidth];
  return {
    schema: Buffer.from(canonicalJson(input.schema)),
    weights: encodeSafetensors(input.tensors, { format: 'tandem-weights', version: '1' }),
    items: encodeCatalogue(catalogue),
    vectors: encodeSafetensors(new Map([['vectors', { shape, data: vectors }]])),
    index: input.indexBytes,
    goldens: Buffer.from(canonicalJson(input.goldens)),
  };
}

function makeManifest(input: BundleInput, files: Record<BundleFile, Uint8Array>): BundleManifest {
  const { model, tensors, index } = input;
  const hash = schemaHash(input.schema);
  const rest: Omit<BundleManifest, 'bundleId'> = {
    format: BUNDLE_FORMAT,
    version: BUNDLE_VERSION,
    encoderId: encoderId(tensors, model, hash),
    headId: headId(tensors, model, hash),
    itemTowerId: itemTowerId(tensors, model, hash),
    schemaHash: hash,
    indexId: indexId(files.index),
    model,
    counts: { items: input.catalogue.count, categories: input.schema.categories.length },
    metric: 'inner-product',
    stateType: input.stateType,
    index,
    dataUntilSeconds: input.dataUntilSeconds,
    datasetName: input.datasetName,
    datasetDigest: input.datasetDigest,
    files: Object.fromEntries(
      (Object.keys(files) as BundleFile[]).map((key) => [
        BUNDLE_FILES[key],
        { bytes: files[key].length, sha256: sha256Hex(files[key]) },
      ]),
    ),
  };
  return parseManifest({ ...rest, bundleId: bundleId(rest) });
}

function checkInput(input: BundleInput): void {
  const { model, schema, catalogue, vectors, tensors } = input;
  parseModelConfig(model);
  parseGoldens(input.goldens);
  if (catalogue.count === 0) throw unfit('a catalogue of at least one item', 'none');
  if (model.maxHistory !== schema.maxHistory)
    throw unfit(
      `maxHistory ${model.maxHistory} of the model in the schema`,
      `${schema.maxHistory}`,
    );
  if (catalogueDigest(catalogue.ids) !== schema.catalogueDigest)
    throw unfit('the catalogue that the schema was built from', 'other ids, or another order');
  const length = catalogue.count * model.embeddingWidth;
  if (vectors.length !== length)
    throw unfit(
      `${length} vector values (${catalogue.count} items x ${model.embeddingWidth})`,
      `${vectors.length}`,
    );
  checkUnitRows(vectors, model.embeddingWidth, (row) => catalogue.id(row));
  for (const [name, { data }] of tensors)
    for (let i = 0; i < data.length; i++)
      if (!Number.isFinite(data[i]))
        throw new TandemError(
          'ERR_NON_FINITE',
          `Expected finite weights, received ${data[i]!} at position ${i} of tensor "${name}". ` +
            'Train again with a lower learning rate.',
          { details: { tensor: name, position: i } },
        );
}

function unfit(expected: string, received: string): TandemError {
  return new TandemError(
    'ERR_BUNDLE_INVALID',
    `Expected ${expected} for a bundle, received ${received}. ` +
      'Build all parts from one checkpoint and one dataset.',
    { details: { expected, received } },
  );
}
