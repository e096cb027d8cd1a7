// Publishing: a bundle is written aside, synced, renamed into place and only then pointed at. Nothing published is ever
// rewritten, and nothing is deleted here: older bundles are what a rollback needs.

import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { TandemError } from '../errors.ts';
import { catalogueDigest, schemaHash, type FeatureSchema } from '../features/schema.ts';
import { writeFileSynced, writeFolderAtomic } from '../files.ts';
import type { BundleId } from '../ids.ts';
import { canonicalJson, sha256Hex } from '../json.ts';
import { encodeCatalogue, type ItemCatalogue } from './catalogue.ts';
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

/** All that a bundle is made of; the ids follow from it. */
export interface BundleInput {
  readonly model: ModelConfig;
  readonly schema: FeatureSchema;
  /** Every tensor of tensorSpecs(model, schema, items). */
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly catalogue: ItemCatalogue;
  /** [N, D] unit rows in catalogue order: what the item tower gives. */
  readonly vectors: Float32Array;
  /** File of the index, rows = rows. */
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

export interface PublishedBundle {
  readonly bundleId: BundleId;
  /** Absolute. */
  readonly directory: string;
}

/** Digits of the bundleId that name its directory. */
const DIRECTORY_DIGITS = 16;

/**
 * Writes a bundle to `<bundlesDirectory>/<first 16 hex of its id>` and, unless it is to wait, makes it current.
 *
 * The same content gives the same id: publishing it again writes no bundle file and only flips `current`. A crash at
 * any point leaves the old bundle or the new one current, never a mixture; what it may leave besides is a `.tmp-` folder.
 *
 * @throws TandemError ERR_BUNDLE_INVALID when the parts do not fit together, or a damaged bundle is in the way;
 *   ERR_NON_FINITE naming the first row that is NaN, infinite or zero. Errors of the file system come as they are.
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
      // Another process published the same content in between: its files are as good as ours.
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
          `Expected finite weights, received ${data[i]!} at position ${i} of tensor "${name}". Train again with a lower learning rate.`,
          { details: { tensor: name, position: i } },
        );
}

function unfit(expected: string, received: string): TandemError {
  return new TandemError(
    'ERR_BUNDLE_INVALID',
    `Expected ${expected} for a bundle, received ${received}. Build all parts from one checkpoint and one dataset.`,
    { details: { expected, received } },
  );
}
