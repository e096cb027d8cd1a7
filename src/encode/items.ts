// Items: the catalogue through the item tower, and the vectors into a graph. Both lie beside the weights that they come
// from, each whole or absent; a job that was killed continues after the last whole part.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeSafetensors, encodeSafetensors, expectTensor } from '../bundle/safetensors.ts';
import type { BundleManifest } from '../bundle/manifest.ts';
import { writeFileSynced, writeFolderAtomic } from '../files.ts';
import { loadCheckpoint, loadModel } from '../model/checkpoint.ts';
import { buildHnsw } from '../retrieval/build-index.ts';
import { startProgress } from '../telemetry.ts';

export interface EncodedItems {
  /** [N, D] f32 unit rows in catalogue order. */
  readonly vectors: Float32Array;
  /** usearch's bytes. */
  readonly indexBytes: Uint8Array;
  readonly index: BundleManifest['index'];
}

const VECTORS = 'item-vectors';
const INDEX = 'item-index';

/**
 * Vectors and index of a finished run, computed where they are missing.
 *
 * @param directory - checkpoint directory. @throws TandemError ERR_CHECKPOINT_INVALID when the run is not finished.
 */
export async function encodeItems(directory: string): Promise<EncodedItems> {
  const { catalogue, settings } = loadCheckpoint(directory);
  const width = settings.config.model.embeddingWidth;
  const vectorsFile = join(directory, VECTORS, 'vectors.safetensors');
  if (!existsSync(vectorsFile)) {
    const model = await loadModel(directory);
    const progress = startProgress('encode items', catalogue.count, 'items');
    const vectors = model.itemVectors();
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

  const indexFile = join(directory, INDEX, 'index.usearch');
  const settingsFile = join(directory, INDEX, 'index.json');
  if (!existsSync(indexFile)) {
    const progress = startProgress('build index', catalogue.count, 'items');
    const built = await buildHnsw(vectors, width, (added) => {
      progress.update(added);
    });
    progress.update(catalogue.count);
    progress.end(
      `recall@100 ${built.recallAt100.toFixed(4)} at expansion ${built.expansionSearch}`,
    );
    const { connectivity, expansionAdd, expansionSearch, recallAt100 } = built;
    await writeFolderAtomic(join(directory, INDEX), (folder) => {
      writeFileSynced(join(folder, 'index.usearch'), built.bytes);
      writeFileSynced(
        join(folder, 'index.json'),
        JSON.stringify({ connectivity, expansionAdd, expansionSearch, recallAt100 }),
      );
    });
  }
  return {
    vectors,
    indexBytes: readFileSync(indexFile),
    index: JSON.parse(readFileSync(settingsFile, 'utf8')) as BundleManifest['index'],
  };
}
