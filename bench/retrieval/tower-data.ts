// Makes vectors as serving sees them: the item vectors of a model that is trained on a synthetic
// world of the wanted size, and the query embeddings of its held-out requests, with the states and
// contexts that these requests would have had.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { useBackend } from '../../src/backend/select.ts';
import { buildCatalogue } from '../../src/bundle/catalogue.ts';
import { catalogueItemFeatures } from '../../src/bundle/weights/item-features.ts';
import { WORLD_DEMO } from '../../src/cli/demo/demo-settings.ts';
import type { Dataset } from '../../src/data/dataset.ts';
import { readDataset } from '../../src/data/read-dataset.ts';
import { oneShard } from '../../src/data/shards.ts';
import { generateWorld } from '../../src/world/generate.ts';
import { evaluationSet } from '../../src/evaluate/evaluate.ts';
import { ModelEvaluation } from '../../src/evaluate/model-scorer.ts';
import { buildSchema } from '../../src/features/build-schema.ts';
import { ContextFeatures } from '../../src/features/context.ts';
import { TrainingSampler } from '../../src/model/training/sampling/sampler.ts';
import { Trainer } from '../../src/model/training/trainer.ts';
import type { TrainConfig } from '../../src/model/train-config.ts';
import { trainingStatistics } from '../../src/model/training/training-statistics.ts';
import { TwoTower } from '../../src/model/network/two-tower.ts';
import { Random } from '../../src/random.ts';
import { say } from '../harness.ts';
import type { RawData } from '../vectors.ts';

/**
 * Gives about 2,600 held-out requests. The cost of a world depends on its items, not on its users.
 */
const USERS = 6_000;
const STEPS = 300;

/**
 * Trains the model and embeds its items and held-out requests.
 *
 * It uses the demo's settings, but sampled negatives: a full softmax over a million items would
 * take minutes for each step.
 */
export async function towerData(size: number): Promise<RawData> {
  const dataset = await makeWorld(size);
  await useBackend('native');
  const config: TrainConfig = {
    ...WORLD_DEMO.training,
    model: { ...WORLD_DEMO.training.model, fusion: 'concat' },
    loss: {
      kind: 'sampled',
      inBatch: true,
      negatives: 512,
      unigramShare: 0.5,
      hardNegatives: 0,
      logQ: 'negativesOnly',
    },
    steps: STEPS,
  };
  const held = evaluationSet({ dataset, protocol: 'time', form: 'all', split: 'test' });
  const model = await trainedModel(dataset, config, held.trainEnd);

  // The evaluator makes the embeddings as for any report; this model stores them and ranks nothing.
  const embedded: Float32Array[] = [];
  const scorer = new ModelEvaluation(
    {
      config: model.config,
      schema: model.schema,
      encodeHistories: (batch) => model.encodeHistories(batch),
      embedQueries: async (batch) => {
        const queries = await model.embedQueries(batch);
        embedded.push(queries);
        return queries;
      },
      frequencyWeights: () => Promise.resolve(undefined),
      itemVectors: () => Promise.resolve(new Float32Array()),
      scores: () => Promise.resolve(new Float32Array()),
    },
    dataset,
  ).scorer({ name: 'queries', context: 'real' });
  // In random order, so that calibration and test both get requests of all days.
  await scorer.score(new Random(5).shuffle([...held.queries]), new Float32Array());

  const vectors = await model.itemVectors();
  model.dispose();
  const width = config.model.embeddingWidth;
  const queries = new Float32Array(held.queries.length * width);
  let at = 0;
  for (const part of embedded) {
    queries.set(part, at);
    at += part.length;
  }
  return { vectors, queries };
}

async function trainedModel(
  dataset: Dataset,
  config: TrainConfig,
  trainEnd: Int32Array,
): Promise<TwoTower> {
  const { items, users, events } = dataset;
  const schema = buildSchema({
    maxHistory: config.model.maxHistory,
    actionNames: events.actionNames,
    itemIds: items.ids,
    titles: dataset.items.titles,
    categoryNames: items.categoryNames,
    advertisers: items.advertisers,
    prices: items.prices,
    genders: users.genders,
    countries: users.countries,
  });
  const catalogue = buildCatalogue(items, schema.categories, new Float32Array(items.count));
  const features = catalogueItemFeatures(schema, catalogue);
  const model = new TwoTower(config.model, schema, features, { seed: config.seed });
  const statistics = await trainingStatistics(oneShard(dataset), () => trainEnd, config);
  const sampler = new TrainingSampler(
    dataset,
    new ContextFeatures(schema),
    config,
    trainEnd,
    statistics.untilSeconds,
  );
  const trainer = new Trainer(model, items, statistics.items, config);
  const startMs = performance.now();
  for (let step = 1; step <= config.steps; step++) {
    const loss = await trainer.step(step, sampler.sample(step));
    if (step !== 1 && step % 50 !== 0) continue;
    const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
    say(
      `training for item vectors: step ${step} of ${config.steps}, ` +
        `loss ${loss.toFixed(2)}, ${seconds} s`,
    );
  }
  trainer.dispose();
  return model;
}

async function makeWorld(items: number): Promise<Dataset> {
  const folder = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
  try {
    const outputDirectory = join(folder, 'world');
    await generateWorld({ users: USERS, items, seed: 1, outputDirectory });
    return await readDataset(outputDirectory);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
