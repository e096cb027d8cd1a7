// Measures how much a bundle's answers change when user states are stored in fewer bits. It answers
// the same requests from states of every type. `publish --state-type` chooses the type.

import type { Bundle } from '../bundle/load.ts';
import type { Dataset } from '../data/dataset.ts';
import { ContextFeatures } from '../features/context.ts';
import { HeadBatchBuilder } from '../features/head-batch.ts';
import type { EncoderId, UserId } from '../ids.ts';
import { nativeAddon } from '../native/addon.ts';
import { Random } from '../random.ts';
import { newSearchOutput } from '../retrieval/search-plan.ts';
import { MemoryStore } from '../store/memory-store.ts';
import type { StateType } from '../features/user-state.ts';
import { storedAs } from '../store/row-codecs.ts';
import { newStateBatch, stateOf } from '../store/state-batch.ts';
import { encodeUsers } from './users.ts';

export interface StateLoss {
  readonly type: StateType;
  /** Mean cosine of query embeddings to those from f32 states. */
  readonly meanCosine: number;
  /** Smallest such cosine. */
  readonly minCosine: number;
  /** Share of the best 100 items from f32 states that are among the best 100 from this type. */
  readonly recallAt100: number;
}

const K = 100;
/** Number of random users whose states are compared. */
const USERS = 1000;
const SEED = 13;

/**
 * Encodes users of `dataset` and answers one request of each, with a random item as subject.
 *
 * @returns one row per type, f32 first, which is exact.
 * @throws what encodeUsers throws.
 */
export async function measureStateLoss(bundle: Bundle, dataset: Dataset): Promise<StateLoss[]> {
  const { manifest, catalogue, vectors } = bundle;
  const { embeddingWidth: width, fusion, maxHistory } = manifest.model;
  const random = new Random(SEED);
  const users = random.shuffle([...(dataset.users.ids as readonly UserId[])]).slice(0, USERS);
  const store = new MemoryStore();
  await encodeUsers({
    bundle: { ...bundle, manifest: { ...manifest, stateType: 'f32' } },
    dataset,
    store,
  });
  const stored = newStateBatch(users.length, width, maxHistory);
  store.read(manifest.encoderId as EncoderId, users, stored);
  const subjects = users.map(() => random.integer(catalogue.count));

  const features = new ContextFeatures(bundle.schema);
  const addon = nativeAddon();
  const head = new addon.Head(bundle.headWeights);
  const index = new addon.ExactIndex(vectors, width);
  const k = Math.min(K, catalogue.count);
  const answer = (type: StateType): { queries: Float32Array; rows: Int32Array } => {
    const builder = new HeadBatchBuilder(width, users.length, fusion === 'attention');
    for (const [user, item] of subjects.entries()) {
      const state = stateOf(stored, user);
      const bag = features.categoryBag(catalogue.categoryRows(item), catalogue.confidences(item));
      const known = state.length === 0 ? undefined : storedAs(state, width, type);
      builder.add(known, 0, bag, [0, 0, 0], item);
    }
    const queries = new Float32Array(users.length * width);
    head.embed(builder.batch(), queries);
    const found = newSearchOutput(users.length, k);
    index.search(queries, users.length, k, null, found);
    return { queries, rows: found.rows };
  };
  const exact = answer('f32');
  return (['f32', 'bf16', 'int8'] as const).map((type) => {
    const { queries, rows } = answer(type);
    let total = 0;
    let minCosine = 1;
    let kept = 0;
    for (let user = 0; user < users.length; user++) {
      let cosine = 0;
      for (let i = user * width; i < (user + 1) * width; i++)
        cosine += queries[i]! * exact.queries[i]!;
      total += cosine;
      minCosine = Math.min(minCosine, cosine);
      const best = new Set(exact.rows.subarray(user * k, (user + 1) * k));
      for (const row of rows.subarray(user * k, (user + 1) * k)) kept += Number(best.has(row));
    }
    return {
      type,
      meanCosine: total / users.length,
      minCosine,
      recallAt100: kept / (users.length * k),
    };
  });
}
