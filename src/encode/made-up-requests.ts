// Made-up requests with every kind of state, subject and demographics over a bundle's own
// catalogue. They become goldens and calibrate the index, so that publishing needs no dataset.

import type { GoldenRequest } from '../bundle/manifest.ts';
import type { ItemCatalogue } from '../bundle/catalogue.ts';
import { ContextFeatures, NO_SUBJECT, type SubjectBag } from '../features/context.ts';
import { HeadBatchBuilder, type HeadBatch } from '../features/head-batch.ts';
import type { FeatureSchema } from '../features/schema.ts';
import { HistoryBatchBuilder } from '../features/sequence.ts';
import type { TwoTower } from '../model/network/two-tower.ts';
import type { Random } from '../random.ts';
import { DAY_SECONDS } from '../time.ts';

export type MadeUpRequest = Omit<GoldenRequest, 'embedding' | 'candidates'>;

/**
 * Makes requests that reach every branch of the head: with and without state, each kind of subject.
 */
export async function makeRequests(
  model: TwoTower,
  schema: FeatureSchema,
  catalogue: ItemCatalogue,
  count: number,
  random: Random,
): Promise<{ requests: MadeUpRequest[]; batch: HeadBatch }> {
  const item = (): number => random.integer(catalogue.count);
  const pick = (names: readonly string[]): string | undefined =>
    names[random.integer(names.length)];
  const features = new ContextFeatures(schema);
  const { embeddingWidth, fusion } = model.config;
  const builder = new HeadBatchBuilder(embeddingWidth, count, fusion === 'attention');
  const requests: MadeUpRequest[] = [];
  for (let i = 0; i < count; i++) {
    const state = i % 4 === 3 ? undefined : await randomState(model, random, item);
    const stateAge = state === undefined ? 0 : random.uniform();
    let subject: GoldenRequest['subject'] = null;
    let bag: SubjectBag = NO_SUBJECT;
    let subjectItem = -1;
    const category = pick(schema.categories);
    if (i % 3 === 0) {
      subjectItem = item();
      subject = { item: catalogue.id(subjectItem) };
      bag = features.categoryBag(
        catalogue.categoryRows(subjectItem),
        catalogue.confidences(subjectItem),
      );
    } else if (i % 3 === 1 && category !== undefined) {
      const interests = [{ category, confidence: 0.75 }];
      subject = { interests };
      bag = features.interestBag(interests);
    } else if (i % 3 === 2 && i % 2 === 0 && category !== undefined) {
      subject = { query: category };
      bag = features.queryBag(category);
    }
    const country = pick(schema.countries);
    const gender = pick(schema.genders);
    const demographics =
      i % 2 === 0
        ? {}
        : {
            age: 20 + ((5 * i) % 60),
            ...(country !== undefined && { country }),
            ...(gender !== undefined && { gender }),
          };
    builder.add(state, stateAge, bag, features.demographicRows(demographics), subjectItem);
    requests.push({
      user: `golden-${i}`,
      ...(state !== undefined && { state: [...state] }),
      stateAge: Math.fround(stateAge),
      subject,
      demographics,
    });
  }
  return { requests, batch: builder.batch() };
}

/** The state of a made-up history of one to ten events, a day apart. */
async function randomState(
  model: TwoTower,
  random: Random,
  item: () => number,
): Promise<Float32Array> {
  const length = 1 + random.integer(10);
  const items = Array.from({ length }, item);
  const batch = new HistoryBatchBuilder(model.config.maxHistory);
  const times = items.map((_, i) => i * DAY_SECONDS);
  batch.add({ items, actions: items.map(() => 1), times }, 0, length);
  return (await model.encodeHistories(batch.batch()))[0]!;
}
