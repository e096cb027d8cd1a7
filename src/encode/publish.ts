// From a finished training run to a published bundle: items encoded, goldens answered by tfjs, everything into one
// immutable directory.

import { publishBundle, type PublishedBundle } from '../bundle/publish.ts';
import type { GoldenRequest } from '../bundle/manifest.ts';
import type { ItemCatalogue } from '../bundle/catalogue.ts';
import { ContextFeatures, NO_SUBJECT, type SubjectBag } from '../features/context.ts';
import { HeadBatchBuilder } from '../features/head-batch.ts';
import type { FeatureSchema } from '../features/schema.ts';
import { newHistoryBatch, writeHistory } from '../features/sequence.ts';
import { loadCheckpoint, loadModel } from '../model/checkpoint.ts';
import type { TwoTower } from '../model/two-tower.ts';
import { Random } from '../random.ts';
import { encodeItems } from './items.ts';

const GOLDENS = 12;
const GOLDEN_CANDIDATES = 20;
const GOLDEN_SEED = 11;

/**
 * Publishes a finished run; the same run always gives the same bundle.
 *
 * @param directory - checkpoint directory; @param bundlesDirectory - where bundles and `current` lie.
 */
export async function publish(
  directory: string,
  bundlesDirectory: string,
): Promise<PublishedBundle> {
  const { vectors, indexBytes, index } = await encodeItems(directory);
  const { settings, schema, catalogue, weights } = loadCheckpoint(directory);
  const model = await loadModel(directory);
  const goldens = answerGoldens(model, schema, catalogue, vectors);
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
      goldens,
      dataUntilSeconds: settings.dataUntilSeconds,
      datasetName: settings.datasetName,
      datasetDigest: settings.datasetDigest,
    },
    bundlesDirectory,
  );
}

/** Requests that touch every branch of the head (with and without state, each kind of subject, unknowns), answered by tfjs. */
function answerGoldens(
  model: TwoTower,
  schema: FeatureSchema,
  catalogue: ItemCatalogue,
  vectors: Float32Array,
): GoldenRequest[] {
  const width = model.config.embeddingWidth;
  const random = new Random(GOLDEN_SEED);
  const item = (): number => random.integer(catalogue.count);
  const pick = (names: readonly string[]): string | undefined =>
    names[random.integer(names.length)];
  const features = new ContextFeatures(schema);
  const builder = new HeadBatchBuilder(width, GOLDENS);
  const requests: Omit<GoldenRequest, 'embedding' | 'candidates'>[] = [];
  for (let golden = 0; golden < GOLDENS; golden++) {
    const state = golden % 4 === 3 ? undefined : randomState(model, random, item);
    const stateAge = state === undefined ? 0 : random.uniform();
    let subject: GoldenRequest['subject'] = null;
    let bag: SubjectBag = NO_SUBJECT;
    const category = pick(schema.categories);
    if (golden % 3 === 0) {
      const row = item();
      subject = { item: catalogue.ids[row]! };
      bag = features.categoryBag(catalogue.categoryRows(row), catalogue.confidences(row));
    } else if (golden % 3 === 1 && category !== undefined) {
      const interests = [{ category, confidence: 0.75 }];
      subject = { interests };
      bag = features.interestBag(interests);
    } else if (golden % 3 === 2 && golden % 2 === 0 && category !== undefined) {
      subject = { query: category };
      bag = features.queryBag(category);
    }
    const country = pick(schema.countries);
    const gender = pick(schema.genders);
    const demographics =
      golden % 2 === 0
        ? {}
        : {
            age: 20 + 5 * golden,
            ...(country !== undefined && { country }),
            ...(gender !== undefined && { gender }),
          };
    builder.add(state, stateAge, bag, features.demographicRows(demographics));
    requests.push({
      user: `golden-${golden}`,
      ...(state !== undefined && { state: [...state] }),
      stateAge: Math.fround(stateAge),
      subject,
      demographics,
    });
  }
  const embeddings = model.embedQueries(builder.batch());
  const scores = model.scores(embeddings, vectors);
  return requests.map((request, golden) => {
    const row = scores.subarray(golden * catalogue.count, (golden + 1) * catalogue.count);
    const ranked = Array.from(row, (score, slot) => ({ score, slot }))
      .sort((a, b) => b.score - a.score || a.slot - b.slot)
      .slice(0, GOLDEN_CANDIDATES);
    return {
      ...request,
      embedding: [...embeddings.subarray(golden * width, (golden + 1) * width)],
      candidates: ranked.map(({ slot, score }) => ({ item: catalogue.ids[slot]!, score })),
    };
  });
}

/** State of a made-up history: one to ten events a day apart, so that goldens need no dataset. */
function randomState(model: TwoTower, random: Random, item: () => number): Float32Array {
  const length = 1 + random.integer(10);
  const items = Array.from({ length }, item);
  const batch = newHistoryBatch(1, model.config.maxHistory);
  writeHistory(
    batch,
    0,
    { items, actions: items.map(() => 1), times: items.map((_, i) => i * 86_400) },
    0,
    length,
  );
  return model.encodeHistories(batch);
}
