// Encodes the catalogue with the item tower, and builds an index over the vectors. Both are written
// beside the weights of their run, each atomically: a job that was killed continues after the last
// finished part.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ItemCatalogue } from '../bundle/catalogue.ts';
import { decodeSafetensors, encodeSafetensors, expectTensor } from '../bundle/safetensors.ts';
import { writeFileSynced, writeFolderAtomic } from '../files.ts';
import type { FeatureSchema } from '../features/schema.ts';
import { loadCheckpoint, loadModel } from '../model/training/checkpoint.ts';
import type { TwoTower } from '../model/network/two-tower.ts';
import { Random } from '../random.ts';
import type { IndexSettings } from '../retrieval/approximate-index.ts';
import type { IndexKind } from '../retrieval/search-plan.ts';
import { buildIndex } from '../retrieval/build-index.ts';
import { startProgress } from '../telemetry.ts';
import { makeRequests } from './made-up-requests.ts';

export interface EncodedItems {
  /** [N, D] f32 unit rows in catalogue order. */
  readonly vectors: Float32Array;
  /** Content of the index file. */
  readonly indexBytes: Uint8Array;
  readonly index: IndexSettings;
}

/**
 * Number of queries that calibrate an index. One half sets how much of the index a search scans;
 * the other half measures the recall with that setting.
 */
const CALIBRATION_QUERIES = 512;
const CALIBRATION_SEED = 12;

const VECTORS = 'item-vectors';
/** Each kind of index has its own folder, so that a run can have both. */
const indexFolder = (kind: IndexKind): string => `item-index-${kind}`;

/**
 * Returns the item vectors and the index of a finished run, and computes them when they are
 * missing.
 *
 * @param directory - checkpoint directory.
 * @param kind - kind of the index.
 * @throws TandemError ERR_CHECKPOINT_INVALID when the run is not finished.
 */
export async function encodeItems(
  directory: string,
  kind: IndexKind = 'clusters',
): Promise<EncodedItems> {
  const { catalogue, schema, settings } = loadCheckpoint(directory);
  const width = settings.config.model.embeddingWidth;
  const vectorsFile = join(directory, VECTORS, 'vectors.safetensors');
  if (!existsSync(vectorsFile)) {
    const model = await loadModel(directory);
    const progress = startProgress('encode items', catalogue.count, 'items');
    const vectors = await model.itemVectors();
    model.dispose();
    progress.update(catalogue.count);
    progress.end();
    await writeFolderAtomic(join(directory, VECTORS), (folder) => {
      writeFileSynced(
        join(folder, 'vectors.safetensors'),
        encodeSafetensors(
          new Map([['vectors', { shape: [catalogue.count, width], data: vectors }]]),
        ),
      );
    });
  }
  const vectors = expectTensor(
    decodeSafetensors(readFileSync(vectorsFile), vectorsFile).tensors,
    'vectors',
    Float32Array,
    [catalogue.count, width],
    vectorsFile,
  );

  const folderOfIndex = join(directory, indexFolder(kind));
  const indexFile = join(folderOfIndex, 'index.bin');
  const settingsFile = join(folderOfIndex, 'index.json');
  if (!existsSync(indexFile)) {
    const model = await loadModel(directory);
    const queries = await calibrationQueries(model, schema, catalogue);
    model.dispose();
    const progress = startProgress('build index', catalogue.count, 'items');
    const { bytes, settings: built } = await buildIndex(vectors, width, {
      kind,
      queries,
      onProgress: (share) => {
        progress.update(Math.floor(share * catalogue.count));
      },
    });
    progress.update(catalogue.count);
    progress.end(`${kind}, recall@100 ${built.recallAt100.toFixed(4)}`);
    await writeFolderAtomic(folderOfIndex, (folder) => {
      writeFileSynced(join(folder, 'index.bin'), bytes);
      writeFileSynced(join(folder, 'index.json'), JSON.stringify(built));
    });
  }
  return {
    vectors,
    indexBytes: readFileSync(indexFile),
    index: JSON.parse(readFileSync(settingsFile, 'utf8')) as IndexSettings,
  };
}

/**
 * [CALIBRATION_QUERIES, D] query embeddings of made-up requests. Unlike noisy item vectors, they
 * are distributed as the query tower distributes them.
 */
async function calibrationQueries(
  model: TwoTower,
  schema: FeatureSchema,
  catalogue: ItemCatalogue,
): Promise<Float32Array> {
  const random = new Random(CALIBRATION_SEED);
  return model.embedQueries(
    (await makeRequests(model, schema, catalogue, CALIBRATION_QUERIES, random)).batch,
  );
}
