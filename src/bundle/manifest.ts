// The manifest of a bundle: the content of an immutable, published model directory, and the ids
// that decide what may be used together.

import { z } from 'zod';
import { TandemError } from '../errors.ts';
import { describeIssue } from '../foreign-errors.ts';
import type { FeatureSchema } from '../features/schema.ts';
import type { StateType } from '../features/user-state.ts';
import { canonicalJson } from '../json.ts';
import type { IndexSettings } from '../retrieval/approximate-index.ts';

export const BUNDLE_FORMAT = 'tandem-bundle';
export const BUNDLE_VERSION = 4;
/** Name of the manifest's file. */
export const MANIFEST_FILE = 'manifest.json';
/** Name of the file that names the bundle to serve, in a directory of bundles. */
export const CURRENT_FILE = 'current';

/** Files of a bundle besides manifest.json; each has its size and digest in the manifest. */
export const BUNDLE_FILES = {
  /** FeatureSchema as canonical JSON. */
  schema: 'schema.json',
  /** Every tensor of the model; docs/reference/bundle-format.md has names and shapes. */
  weights: 'weights.safetensors',
  /** Catalogue: ids, titles, categories, advertisers, prices, target countries, popularity. */
  items: 'items.safetensors',
  /** `vectors` [N, D] f32, unit rows, in catalogue order. */
  vectors: 'vectors.safetensors',
  /** Index over the vectors, with the same rows; its kind is in the manifest. */
  index: 'index.bin',
  /** Requests with their expected query embeddings and exact top k. */
  goldens: 'goldens.json',
} as const;

/** Sizes of the model's layers, with the letters of docs/explanation/model.md. */
export interface ModelConfig {
  /** How state and context are combined; docs/explanation/model.md has the formulas. */
  readonly fusion: 'none' | 'concat' | 'attention';
  /** D: width of user states, query embeddings and item vectors. */
  readonly embeddingWidth: number;
  /** Transformer blocks. */
  readonly blocks: number;
  /** Attention heads; divides D. */
  readonly heads: number;
  /** Width of the feed-forward layer of a block. */
  readonly feedForwardWidth: number;
  /** T: newest events of a history that the encoder reads. */
  readonly maxHistory: number;
  /** Width of the action embedding, which is concatenated with that of the item. */
  readonly actionWidth: number;
  /** E: width of the subject table. */
  readonly subjectWidth: number;
  /** G: width of each demographic embedding. */
  readonly demographicWidth: number;
  /** F: width of the context vector. */
  readonly contextWidth: number;
  /** H: width of the head's hidden layer. */
  readonly hiddenWidth: number;
  /** Whether the mean of the history's item inputs is added to a state, past the Transformer. */
  readonly historyMean: boolean;
  /** Whether the input embedding of the item in view is part of the context. */
  readonly subjectItem: boolean;
  /**
   * Whether items of the user's history get a score boost in addition to the embedding score.
   * Absent means no.
   */
  readonly itemFrequency?: boolean;
}

/** Z: width of the input of the head's layers. */
export function fusedWidth({ fusion, embeddingWidth, contextWidth }: ModelConfig): number {
  if (fusion === 'none') return embeddingWidth;
  return (fusion === 'concat' ? 1 : 2) * embeddingWidth + contextWidth + 1;
}

/**
 * Largest number of items with a history boost in a user state: one per event that the encoder
 * reads.
 */
export function maxBoostedItems({ itemFrequency, maxHistory }: ModelConfig): number {
  return itemFrequency === true ? maxHistory : 0;
}

/**
 * Largest number of rows of a user state: one row, of the newest event, or for fusion attention one
 * row per event, because the context attends over them.
 */
export function maxStateRows({ fusion, maxHistory }: ModelConfig): number {
  return fusion === 'attention' ? maxHistory : 1;
}

/** The content of manifest.json. docs/reference/bundle-format.md explains each member. */
export interface BundleManifest {
  readonly format: 'tandem-bundle';
  readonly version: 4;
  /** Digest over the manifest without this field. */
  readonly bundleId: string;
  /** Digest of encoder weights, their part of the config, and the schema. */
  readonly encoderId: string;
  readonly headId: string;
  readonly itemTowerId: string;
  readonly schemaHash: string;
  readonly indexId: string;
  readonly model: ModelConfig;
  readonly counts: { readonly items: number; readonly categories: number };
  readonly metric: 'inner-product';
  /** Type in which user states of this bundle are stored. */
  readonly stateType: StateType;
  readonly index: IndexSettings;
  /** Unix seconds of the newest event that the model was trained on. */
  readonly dataUntilSeconds: number;
  readonly datasetName: string;
  readonly datasetDigest: string;
  /** Size and SHA-256 of every other file of the directory, by name. */
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const width = z.int().min(1).max(8192);

const modelConfigSchema = z.strictObject({
  fusion: z.enum(['none', 'concat', 'attention']),
  embeddingWidth: width,
  blocks: z.int().min(1).max(32),
  heads: z.int().min(1).max(32),
  feedForwardWidth: width,
  maxHistory: z.int().min(1).max(1024),
  actionWidth: width,
  subjectWidth: width,
  demographicWidth: width,
  contextWidth: width,
  hiddenWidth: width,
  historyMean: z.boolean(),
  subjectItem: z.boolean(),
  itemFrequency: z.boolean().exactOptional(),
});

const manifestSchema = z.strictObject({
  format: z.literal(BUNDLE_FORMAT),
  version: z.literal(BUNDLE_VERSION),
  bundleId: digest,
  encoderId: digest,
  headId: digest,
  itemTowerId: digest,
  schemaHash: digest,
  indexId: digest,
  model: modelConfigSchema,
  counts: z.strictObject({ items: z.int().min(1), categories: z.int().min(0) }),
  metric: z.literal('inner-product'),
  stateType: z.enum(['f32', 'bf16', 'int8']),
  index: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('clusters'),
      clusters: z.int().min(1),
      recallTarget: z.number().min(0).max(1),
      recallAt100: z.number().min(0).max(1),
    }),
    z.strictObject({
      kind: z.literal('hnsw'),
      connectivity: z.int().min(2),
      expansionAdd: z.int().min(1),
      expansionSearch: z.int().min(1),
      recallAt100: z.number().min(0).max(1),
    }),
  ]),
  dataUntilSeconds: z.number(),
  datasetName: z.string(),
  datasetDigest: digest,
  files: z.record(z.string(), z.strictObject({ bytes: z.int().min(0), sha256: digest })),
});

const names = z.array(z.string());
const finite = z.number();

const featureSchemaSchema = z.strictObject({
  version: z.literal(1),
  maxHistory: z.int().min(1),
  actions: names,
  categories: names,
  queryNgrams: names,
  maxSubjectCategories: z.int().min(1),
  ageBounds: z.array(finite),
  countries: names,
  genders: names,
  advertisers: names,
  priceBounds: z.array(finite),
  catalogueDigest: digest,
});

const goldenSchema = z.strictObject({
  user: z.string(),
  state: z.array(finite).exactOptional(),
  stateAge: finite,
  subject: z.union([
    z.null(),
    z.strictObject({ item: z.string() }),
    z.strictObject({
      interests: z.array(z.strictObject({ category: z.string(), confidence: finite })),
    }),
    z.strictObject({ query: z.string() }),
  ]),
  demographics: z.strictObject({
    age: finite.exactOptional(),
    country: z.string().exactOptional(),
    gender: z.string().exactOptional(),
  }),
  embedding: z.array(finite),
  candidates: z.array(z.strictObject({ item: z.string(), score: finite })),
});

/**
 * Checks a parsed manifest.
 *
 * @throws TandemError ERR_BUNDLE_INVALID naming the first field that is wrong.
 */
export function parseManifest(value: unknown): BundleManifest {
  return parseOrThrow(manifestSchema, value, MANIFEST_FILE);
}

/** The canonical text of a manifest. A manifest file that differs from it was edited. */
export function manifestText(manifest: BundleManifest): string {
  return `${JSON.stringify(JSON.parse(canonicalJson(manifest)), null, 2)}\n`;
}

/**
 * Checks a parsed feature schema.
 *
 * @throws TandemError ERR_BUNDLE_INVALID naming the first field that is wrong.
 */
export function parseSchema(value: unknown): FeatureSchema {
  return parseOrThrow(featureSchemaSchema, value, BUNDLE_FILES.schema);
}

/**
 * Checks parsed goldens.
 *
 * @throws TandemError ERR_BUNDLE_INVALID naming the first field that is wrong.
 */
export function parseGoldens(value: unknown): GoldenRequest[] {
  return parseOrThrow(z.array(goldenSchema), value, BUNDLE_FILES.goldens);
}

/**
 * Checks a parsed model config.
 *
 * @throws TandemError ERR_CONFIG_INVALID naming the first field that is wrong, or heads that do not
 *   divide the width.
 */
export function parseModelConfig(value: unknown): ModelConfig {
  const parsed = modelConfigSchema.safeParse(value);
  if (!parsed.success)
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected a valid model config: ${firstIssue(parsed.error)}.`,
    );
  const { embeddingWidth, heads } = parsed.data;
  if (embeddingWidth % heads !== 0)
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected heads to divide embeddingWidth, received ${heads} heads for width ` +
        `${embeddingWidth}. Choose a divisor of ${embeddingWidth}.`,
    );
  return parsed.data;
}

function parseOrThrow<T>(schema: z.ZodType<T>, value: unknown, file: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new TandemError(
    'ERR_BUNDLE_INVALID',
    `Expected a valid ${file}: ${firstIssue(parsed.error)}. ` +
      'The bundle is damaged or of another version: publish it again.',
    { details: { file } },
  );
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0]!;
  return `${issue.path.join('.') || '(root)'}: ${describeIssue(issue)}`;
}

/** A request whose answer is known, replayed on tfjs, at every instruction set and by servers. */
export interface GoldenRequest {
  readonly user: string;
  /** [D], or [L, D] for fusion attention, oldest event first; absent for a cold start. */
  readonly state?: readonly number[];
  readonly stateAge: number;
  readonly subject:
    | { readonly item: string }
    | { readonly interests: readonly { readonly category: string; readonly confidence: number }[] }
    | { readonly query: string }
    | null;
  readonly demographics: {
    readonly age?: number;
    readonly country?: string;
    readonly gender?: string;
  };
  /** [D] as computed by tfjs. */
  readonly embedding: readonly number[];
  /** Best first. */
  readonly candidates: readonly { readonly item: string; readonly score: number }[];
}
