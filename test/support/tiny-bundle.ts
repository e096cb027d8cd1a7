// Makes a valid bundle with random weights that is small enough to publish in a test.

import { maxStateRows, type ModelConfig } from '../../src/bundle/manifest.ts';
import { buildCatalogue } from '../../src/bundle/catalogue.ts';
import { publishBundle, type BundleInput, type PublishedBundle } from '../../src/bundle/publish.ts';
import type { Tensor } from '../../src/bundle/safetensors.ts';
import { buildSchema } from '../../src/features/build-schema.ts';
import { embedGoldens } from '../../src/bundle/verify.ts';
import { headWeights } from '../../src/bundle/weights/head-weights.ts';
import type { GoldenRequest } from '../../src/bundle/manifest.ts';
import { tensorSpecs } from '../../src/model/network/weights.ts';
import { nativeAddon } from '../../src/native/addon.ts';
import { Random } from '../../src/random.ts';
import { buildIndex } from '../../src/retrieval/build-index.ts';
import { newSearchOutput } from '../../src/retrieval/search-plan.ts';

export interface TinyBundleOptions {
  readonly items?: number;
  readonly fusion?: ModelConfig['fusion'];
  readonly subjectItem?: boolean;
  readonly stateType?: BundleInput['stateType'];
  readonly actions?: readonly string[];
  readonly width?: number;
  readonly hiddenWidth?: number;
  /** Another seed gives another model over the same catalogue. */
  readonly seed?: number;
  /** [items, width] f32 unit rows; random ones when absent. */
  readonly vectors?: Float32Array;
}

export const TINY_CATEGORIES: readonly string[] = ['books', 'games', 'garden', 'music', 'shoes'];
export const TINY_COUNTRIES: readonly string[] = ['DE', 'FR', 'US'];
export const TINY_ADVERTISERS: readonly string[] = ['acme', 'globex', 'initech', 'umbrella'];

/** Makes item i. Every seventh item has no price, every third targets every country. */
export function tinyItem(i: number): {
  readonly id: string;
  readonly title: string;
  readonly advertiser: string;
  readonly price: number;
  readonly categories: readonly [number, number];
  readonly countries: readonly string[];
} {
  return {
    id: `item-${String(i).padStart(6, '0')}`,
    title: `Item "${i}"`,
    advertiser: TINY_ADVERTISERS[i % TINY_ADVERTISERS.length]!,
    price: i % 7 === 0 ? Number.NaN : i,
    categories: [i % TINY_CATEGORIES.length, (i + 1) % TINY_CATEGORIES.length],
    countries: i % 3 === 0 ? [] : [TINY_COUNTRIES[i % 2]!],
  };
}

/** Publishes a tiny bundle into `bundlesDirectory` and makes it current. */
export async function publishTinyBundle(
  bundlesDirectory: string,
  options: TinyBundleOptions = {},
): Promise<PublishedBundle> {
  return publishBundle(await tinyBundleInput(options), bundlesDirectory);
}

/** Makes the parts of a tiny bundle, so that a test can change them before it publishes. */
export async function tinyBundleInput(options: TinyBundleOptions = {}): Promise<BundleInput> {
  const { items = 200, fusion = 'concat', width = 16, hiddenWidth = 16, seed = 1 } = options;
  const { stateType = 'f32', subjectItem = false } = options;
  const random = new Random(seed);
  const model: ModelConfig = {
    fusion,
    embeddingWidth: width,
    blocks: 1,
    heads: 2,
    feedForwardWidth: 16,
    maxHistory: 8,
    actionWidth: 4,
    subjectWidth: 8,
    demographicWidth: 4,
    contextWidth: 8,
    hiddenWidth,
    historyMean: false,
    subjectItem,
  };
  const rows = Array.from({ length: items }, (_, i) => tinyItem(i));
  const columns = {
    ids: rows.map(({ id }) => id),
    titles: rows.map(({ title }) => title),
    advertisers: rows.map(({ advertiser }) => advertiser),
    prices: Float64Array.from(rows, ({ price }) => price),
    categoryNames: TINY_CATEGORIES,
    categoryOffsets: Int32Array.from({ length: items + 1 }, (_, i) => 2 * i),
    categoryValues: Int32Array.from(rows.flatMap(({ categories }) => categories)),
    categoryConfidences: Float32Array.from({ length: 2 * items }, (_, i) =>
      i % 2 === 0 ? 1 : 0.5,
    ),
    countries: rows.map(({ countries }) => countries),
  };
  const schema = buildSchema({
    maxHistory: model.maxHistory,
    actionNames: options.actions ?? ['click', 'purchase'],
    itemIds: columns.ids,
    titles: columns.titles,
    categoryNames: TINY_CATEGORIES,
    advertisers: columns.advertisers,
    prices: columns.prices,
    genders: ['f', 'm'],
    countries: TINY_COUNTRIES,
  });
  const catalogue = buildCatalogue(columns, schema.categories, new Float32Array(items));
  const tensors = new Map<string, Tensor>();
  for (const [name, { shape, initial }] of tensorSpecs(model, schema, items)) {
    const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
    const draw = (): number =>
      'constant' in initial ? initial.constant : initial.deviation * random.normal();
    tensors.set(name, { shape: [...shape], data: data.map(draw) });
  }
  const vectors = options.vectors ?? unitRows(random, items, width);
  const built = await buildIndex(vectors, width);
  const input: BundleInput = {
    model,
    schema,
    tensors,
    catalogue,
    vectors,
    indexBytes: built.bytes,
    index: built.settings,
    stateType,
    goldens: [],
    dataUntilSeconds: 1_700_000_000,
    datasetName: 'tiny',
    datasetDigest: '0'.repeat(64),
  };
  return withGoldens(input, random);
}

/** Adds goldens that the scalar kernels compute; training takes them from tfjs instead. */
export function withGoldens(input: BundleInput, random: Random): BundleInput {
  return { ...input, goldens: tinyGoldens(input, random) };
}

function tinyGoldens(input: BundleInput, random: Random): GoldenRequest[] {
  const { model, schema, catalogue, tensors, vectors } = input;
  const width = model.embeddingWidth;
  const rows = Math.min(3, maxStateRows(model));
  const state = Array.from({ length: rows * width }, () => Math.fround(random.normal()));
  const requests: Pick<
    GoldenRequest,
    'user' | 'state' | 'stateAge' | 'subject' | 'demographics'
  >[] = [
    { user: 'cold', stateAge: 0, subject: null, demographics: {} },
    {
      user: 'a',
      state,
      stateAge: 0.25,
      subject: { item: 'item-000003' },
      demographics: { age: 30 },
    },
    {
      user: 'b',
      state,
      stateAge: 1,
      subject: { query: 'red shoes' },
      demographics: { country: 'FR' },
    },
  ];
  const { Head, ExactIndex } = nativeAddon();
  const goldens = requests.map((request) => ({ ...request, embedding: [], candidates: [] }));
  const head = new Head(headWeights(tensors, model, schema, catalogue), 'scalar');
  const embeddings = embedGoldens({ goldens, catalogue, schema, manifest: { model } }, head);
  const index = new ExactIndex(vectors, width, 'scalar');
  return goldens.map((golden, row) => {
    const embedding = embeddings.slice(row * width, (row + 1) * width);
    const k = Math.min(10, catalogue.count);
    const found = newSearchOutput(1, k);
    index.search(embedding, 1, k, null, found);
    return {
      ...golden,
      embedding: [...embedding],
      candidates: Array.from(found.rows, (row, i) => ({
        item: catalogue.id(row),
        score: found.scores[i]!,
      })),
    };
  });
}

function unitRows(random: Random, count: number, width: number): Float32Array {
  const vectors = new Float32Array(count * width).map(() => random.normal());
  for (let row = 0; row < count; row++) {
    const vector = vectors.subarray(row * width, (row + 1) * width);
    const norm = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
    for (let i = 0; i < width; i++) vector[i]! /= norm;
  }
  return vectors;
}
