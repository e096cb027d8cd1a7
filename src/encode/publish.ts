// From a finished training run to a published bundle: encodes items, lets tfjs answer goldens, and
// writes everything into one immutable directory.

import { publishBundle, type PublishedBundle } from '../bundle/publish.ts';
import type { GoldenRequest } from '../bundle/manifest.ts';
import type { ItemCatalogue } from '../bundle/catalogue.ts';
import type { FeatureSchema } from '../features/schema.ts';
import { loadCheckpoint, loadModel } from '../model/training/checkpoint.ts';
import type { TwoTower } from '../model/network/two-tower.ts';
import { Random } from '../random.ts';
import type { IndexKind } from '../retrieval/search-plan.ts';
import type { StateType } from '../features/user-state.ts';
import { encodeItems } from './items.ts';
import { makeRequests } from './made-up-requests.ts';

const GOLDENS = 12;
const GOLDEN_CANDIDATES = 20;
const GOLDEN_SEED = 11;

/**
 * Publishes a finished run. The same run always gives the same bundle.
 *
 * @param directory - checkpoint directory.
 * @param bundlesDirectory - directory of bundles and of `current`.
 * @param kind - kind of the index. Default clusters.
 * @param stateType - type in which user states are stored.
 * @param activate - whether the bundle becomes current.
 */
export async function publish(
  directory: string,
  bundlesDirectory: string,
  kind?: IndexKind,
  stateType: StateType = 'f32',
  activate: boolean = true,
): Promise<PublishedBundle> {
  const { settings, schema, catalogue, weights } = loadCheckpoint(directory);
  const { vectors, indexBytes, index } = await encodeItems(directory, kind);
  const model = await loadModel(directory);
  const goldens = await answerGoldens(model, schema, catalogue, vectors);
  model.dispose();
  return publishBundle(
    {
      model: settings.config.model,
      schema,
      tensors: weights,
      catalogue,
      vectors,
      indexBytes,
      index,
      stateType,
      goldens,
      dataUntilSeconds: settings.dataUntilSeconds,
      datasetName: settings.datasetName,
      datasetDigest: settings.datasetDigest,
    },
    bundlesDirectory,
    activate,
  );
}

/** Makes requests and answers them with tfjs. */
async function answerGoldens(
  model: TwoTower,
  schema: FeatureSchema,
  catalogue: ItemCatalogue,
  vectors: Float32Array,
): Promise<GoldenRequest[]> {
  const width = model.config.embeddingWidth;
  const { requests, batch } = await makeRequests(
    model,
    schema,
    catalogue,
    GOLDENS,
    new Random(GOLDEN_SEED),
  );
  const embeddings = await model.embedQueries(batch);
  const scores = await model.scores(embeddings, vectors);
  return requests.map((request, golden) => {
    const row = scores.subarray(golden * catalogue.count, (golden + 1) * catalogue.count);
    const ranked = Array.from(row, (score, itemRow) => ({ score, itemRow }))
      .sort((a, b) => b.score - a.score || a.itemRow - b.itemRow)
      .slice(0, GOLDEN_CANDIDATES);
    return {
      ...request,
      embedding: [...embeddings.subarray(golden * width, (golden + 1) * width)],
      candidates: ranked.map(({ itemRow, score }) => ({ item: catalogue.id(itemRow), score })),
    };
  });
}
