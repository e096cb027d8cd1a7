// Checks all that can be checked about a bundle: its files, the index, and the goldens, which are
// replayed with the native head and the exact scan at every instruction set of this machine.

import { TandemError } from '../errors.ts';
import { ContextFeatures, NO_SUBJECT, type SubjectBag } from '../features/context.ts';
import { HeadBatchBuilder } from '../features/head-batch.ts';
import type { FeatureSchema } from '../features/schema.ts';
import { nativeAddon } from '../native/addon.ts';
import type { NativeExactIndex } from '../native/exact-index.ts';
import type { NativeHead } from '../native/head.ts';
import type { Isa } from '../native/isa.ts';
import { newSearchOutput } from '../retrieval/search-plan.ts';
import { openIndex } from '../retrieval/approximate-index.ts';
import { measureRecall } from '../retrieval/build-index.ts';
import type { ItemCatalogue } from './catalogue.ts';
import { loadBundle, type Bundle } from './load.ts';
import type { GoldenRequest, ModelConfig } from './manifest.ts';

/** Largest difference of a query embedding from tfjs, in any value and in 1 - cosine. */
export const EMBEDDING_TOLERANCE = 1e-4;
/**
 * Items with scores this close may swap positions: the order of a sum decides the last bits of a
 * score.
 */
const SCORE_TOLERANCE = 1e-5;

/** How the golden requests of a bundle went at one instruction set. */
export interface GoldenReport {
  readonly isa: Isa;
  readonly goldens: number;
  /** Largest difference of any value of any embedding; 0 is identical. */
  readonly maxAbsoluteError: number;
  /** Smallest cosine of any embedding; 1 is identical. */
  readonly minCosine: number;
  /** Differences, at most one line per golden; empty when all goldens passed. */
  readonly failures: readonly string[];
}

/** The result of all checks of a bundle. */
export interface VerifyReport {
  readonly directory: string;
  readonly bundleId: string;
  readonly encoderId: string;
  readonly items: number;
  /** Whether every golden passed at every instruction set. Any other failure throws. */
  readonly passed: boolean;
  readonly loadMs: number;
  /**
   * Recall of the index against the exact scan, for the embeddings and k of goldens; 1 without
   * goldens.
   */
  readonly indexRecall: number;
  readonly isas: readonly GoldenReport[];
}

/**
 * Verifies a bundle, as `tandem verify` does.
 *
 * @param path - a bundle directory, or a directory of bundles.
 * @returns a report, also when goldens differ.
 * @throws TandemError as loadBundle() does; ERR_INDEX_INVALID for an index that native code
 *   refuses.
 */
export async function verifyBundle(path: string): Promise<VerifyReport> {
  const started = performance.now();
  const bundle = await loadBundle(path);
  const loadMs = performance.now() - started;
  const { manifest, vectors } = bundle;
  const addon = nativeAddon();
  const width = manifest.model.embeddingWidth;
  const index = await openIndex(manifest.index, bundle.indexBytes, vectors, width);
  if (index.size !== manifest.counts.items)
    throw new TandemError(
      'ERR_INDEX_INVALID',
      `Expected ${manifest.counts.items} items in the index of ${bundle.directory}, ` +
        `received ${index.size}. Build the index again and publish.`,
      { details: { expected: manifest.counts.items, received: index.size } },
    );
  const isas = addon.availableIsas.map((isa) =>
    replayGoldens(bundle, new addon.Head(bundle.headWeights, isa)),
  );
  const k = Math.max(0, ...bundle.goldens.map(({ candidates }) => candidates.length));
  const queries = Float32Array.from(bundle.goldens.flatMap(({ embedding }) => embedding));
  return {
    directory: bundle.directory,
    bundleId: manifest.bundleId,
    encoderId: manifest.encoderId,
    items: manifest.counts.items,
    passed: isas.every(({ failures }) => failures.length === 0),
    loadMs,
    indexRecall: k === 0 ? 1 : await measureRecall(index, vectors, queries, k),
    isas,
  };
}

/**
 * Replays a bundle's goldens at the instruction set of a head. A server also does this before it
 * serves a bundle.
 */
export function replayGoldens(
  bundle: Bundle,
  head: Pick<NativeHead, 'embed' | 'isa'>,
): GoldenReport {
  const { goldens, catalogue, vectors, manifest } = bundle;
  const width = manifest.model.embeddingWidth;
  const index = new (nativeAddon().ExactIndex)(vectors, width, head.isa);
  const embeddings = embedGoldens(bundle, head);
  let maxAbsoluteError = 0;
  let minCosine = 1;
  const failures: string[] = [];
  for (const [i, golden] of goldens.entries()) {
    const embedding = embeddings.subarray(i * width, (i + 1) * width);
    const { error, cosine } = compare(embedding, golden.embedding);
    maxAbsoluteError = Math.max(maxAbsoluteError, error);
    minCosine = Math.min(minCosine, cosine);
    const label = `golden ${i} (user "${golden.user}")`;
    if (!(error <= EMBEDDING_TOLERANCE && 1 - cosine <= EMBEDDING_TOLERANCE))
      failures.push(
        `${label}: expected an embedding within ${EMBEDDING_TOLERANCE}, ` +
          `received one ${error.toExponential(2)} away (cosine ${cosine.toFixed(6)})`,
      );
    else {
      const difference = compareCandidates(golden, embedding, index, catalogue);
      if (difference !== undefined) failures.push(`${label}: ${difference}`);
    }
  }
  return { isa: head.isa, goldens: goldens.length, maxAbsoluteError, minCosine, failures };
}

/** The parts of a bundle that are needed to embed its goldens. */
export interface GoldenSource {
  readonly goldens: readonly GoldenRequest[];
  readonly catalogue: ItemCatalogue;
  readonly schema: FeatureSchema;
  readonly manifest: { readonly model: ModelConfig };
}

/**
 * Embeds the requests of goldens with a native head; does not read their expected answers.
 *
 * @returns [goldens, D].
 */
export function embedGoldens(
  source: GoldenSource,
  head: Pick<NativeHead, 'embed' | 'isa'>,
): Float32Array {
  const { goldens, schema, catalogue, manifest } = source;
  const width = manifest.model.embeddingWidth;
  const features = new ContextFeatures(schema);
  const sequences = manifest.model.fusion === 'attention';
  const builder = new HeadBatchBuilder(width, Math.max(1, goldens.length), sequences);
  for (const { state, stateAge, subject, demographics } of goldens) {
    let bag: SubjectBag = NO_SUBJECT;
    let subjectItem = -1;
    if (subject !== null && 'query' in subject) bag = features.queryBag(subject.query);
    else if (subject !== null && 'interests' in subject)
      bag = features.interestBag([...subject.interests]);
    else if (subject !== null) {
      subjectItem = catalogue.row(subject.item);
      if (subjectItem < 0)
        throw new TandemError(
          'ERR_BUNDLE_INVALID',
          'Expected the subject of a golden to be in the catalogue, ' +
            `received "${subject.item}". Publish the bundle again.`,
          { details: { item: subject.item } },
        );
      bag = features.categoryBag(
        catalogue.categoryRows(subjectItem),
        catalogue.confidences(subjectItem),
      );
    }
    builder.add(
      state === undefined ? undefined : Float32Array.from(state),
      stateAge,
      bag,
      features.demographicRows(demographics),
      subjectItem,
    );
  }
  const out = new Float32Array(goldens.length * width);
  if (goldens.length > 0) head.embed(builder.batch(), out);
  return out;
}

function compare(
  received: Float32Array,
  expected: readonly number[],
): { error: number; cosine: number } {
  let error = 0;
  let dot = 0;
  let squares = 0;
  let expectedSquares = 0;
  for (let i = 0; i < received.length; i++) {
    error = Math.max(error, Math.abs(received[i]! - expected[i]!));
    dot += received[i]! * expected[i]!;
    squares += received[i]! ** 2;
    expectedSquares += expected[i]! ** 2;
  }
  return { error, cosine: dot / Math.sqrt(squares * expectedSquares) };
}

/** The first difference, position by position; undefined when only near ties differ. */
function compareCandidates(
  golden: GoldenRequest,
  embedding: Float32Array,
  index: NativeExactIndex,
  catalogue: ItemCatalogue,
): string | undefined {
  const { candidates } = golden;
  if (candidates.length === 0) return undefined;
  const rows = Int32Array.from(candidates, ({ item }) => catalogue.row(item));
  const unknown = rows.indexOf(-1);
  if (unknown >= 0)
    return (
      `expected "${candidates[unknown]!.item}" at position ${unknown}, ` +
      'which the catalogue does not have'
    );
  if (candidates.length > catalogue.count)
    return `expected ${candidates.length} candidates of ${catalogue.count} items`;
  const scores = new Float32Array(rows.length);
  index.score(embedding, rows, scores);
  const found = newSearchOutput(1, rows.length);
  index.search(embedding, 1, rows.length, null, found);
  for (const [position, { item, score }] of candidates.entries()) {
    const received = scores[position]!;
    if (!(Math.abs(received - score) <= EMBEDDING_TOLERANCE))
      return `expected score ${score.toFixed(6)} for "${item}", received ${received.toFixed(6)}`;
    const best = found.scores[position]!;
    const nearTie = Math.abs(best - received) <= SCORE_TOLERANCE;
    if (found.rows[position] !== rows[position] && !nearTie)
      return (
        `expected "${item}" (${received.toFixed(6)}) at position ${position}, ` +
        `received "${catalogue.id(found.rows[position]!)}" (${best.toFixed(6)})`
      );
  }
  return undefined;
}
