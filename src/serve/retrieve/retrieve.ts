// Retrieval for a micro-batch. Requests with the same filter and candidate count share one search.
// Requests with given items get exact scores. Requests with neither history nor context get popular
// items. Then excluded items are dropped and the best k are kept.

import type { SearchMode } from '../../retrieval/search-plan.ts';
import type { Engine } from '../engine/engine.ts';
import type { LiveFilter } from '../engine/live-items.ts';
import type { Workspace } from '../engine/workspace.ts';
import type { CandidatesRequest, PipelineRequest, ScoreRequest } from '../request/request-types.ts';
import { capAdvertisers } from './advertiser-cap.ts';
import { boostOf } from './history-boost.ts';
import type { Hits } from './hits.ts';
import { searchItems } from './live-search.ts';
import { hasContext, popularHits } from './popular.ts';
import type { ResolvedQuery } from './resolved-query.ts';
import { rowOf } from './row-of.ts';
import { scoreItems } from './score-items.ts';
import { boostsOf } from '../../store/state-batch.ts';
import type { HistoryBoosts } from '../../features/item-frequency.ts';

/** Requests of a micro-batch that share one search. */
interface SearchGroup {
  readonly filter: LiveFilter | undefined;
  readonly candidateCount: number;
  /** Indexes of the requests in the micro-batch. */
  readonly requestIndexes: number[];
}

/**
 * The candidate count grows in steps of 64 excluded items, so that requests with a few of them
 * still share a search.
 */
const EXCLUSION_STEP = 64;
/** Factor by which the candidate count grows when a cap on advertisers leaves fewer than k. */
const WIDENING_FACTOR = 4;
const NO_HITS: Hits = {
  plan: 'none',
  planReason: 'not-asked',
  rows: new Int32Array(0),
  scores: new Float32Array(0),
};

/**
 * Finds the hits of every request. Searches run one after the other.
 *
 * @param embeddings - [B, D] query embeddings.
 * @param workspace - with the states that the embeddings were made of. Do not change either until
 *   the promise resolves.
 * @returns [B] hits, best first; none for requests for embeddings.
 */
export async function retrieveAll(
  engine: Engine,
  requests: readonly ResolvedQuery[],
  embeddings: Float32Array,
  workspace: Workspace,
  mode: SearchMode,
): Promise<Hits[]> {
  const { states } = workspace;
  const hits = new Array<Hits | undefined>(requests.length);
  for (const [i, resolved] of requests.entries()) {
    const { request } = resolved;
    if (request.kind === 'score') {
      const query = rowOf(embeddings, i, engine.width);
      hits[i] = score(engine, request, query, boostsOf(states, i));
    } else if (request.kind === 'candidates' && states.lengths[i] === 0)
      if (!hasContext(engine, resolved)) hits[i] = await popular(engine, resolved, request);
  }
  for (const group of groupBySearch(requests, hits, engine.items.count))
    await searchGroup(engine, requests, group, embeddings, workspace, hits, mode);
  return requests.map((resolved, i) => selectBest(resolved, hits[i] ?? NO_HITS));
}

async function popular(
  engine: Engine,
  resolved: ResolvedQuery,
  request: CandidatesRequest,
): Promise<Hits> {
  const candidateCount = Math.min(engine.items.count, request.k + resolved.excluded.size);
  const hits = popularHits(engine, request, candidateCount);
  const cap = capOf(request);
  if (cap === undefined) return hits;
  return applyCap(engine, resolved, cap, candidateCount, hits, (wider) =>
    popularHits(engine, request, wider),
  );
}

/**
 * Groups the requests without hits that one search can answer. A search finds k items and one more
 * for each of the e excluded items, which are dropped afterwards: the best k + e items without e of
 * them contain the best k.
 */
function groupBySearch(
  requests: readonly ResolvedQuery[],
  found: readonly (Hits | undefined)[],
  items: number,
): SearchGroup[] {
  const groups: SearchGroup[] = [];
  for (const [i, { request, filter, excluded }] of requests.entries()) {
    if (request.kind !== 'candidates' || found[i] !== undefined) continue;
    const extra =
      excluded.size <= 1 ? 1 : Math.ceil(excluded.size / EXCLUSION_STEP) * EXCLUSION_STEP;
    const candidateCount = Math.min(items, request.k + extra);
    const group = groups.find(
      (other) => other.filter === filter && other.candidateCount === candidateCount,
    );
    if (group === undefined) groups.push({ filter, candidateCount, requestIndexes: [i] });
    else group.requestIndexes.push(i);
  }
  return groups;
}

/** Searches for a group of requests and writes their hits into `hits`. */
async function searchGroup(
  engine: Engine,
  requests: readonly ResolvedQuery[],
  { filter, candidateCount, requestIndexes }: SearchGroup,
  embeddings: Float32Array,
  workspace: Workspace,
  hits: (Hits | undefined)[],
  mode: SearchMode,
): Promise<void> {
  const { width } = engine;
  let queries = embeddings;
  if (requestIndexes.length * width !== embeddings.length) {
    queries = workspace.queriesFor(requestIndexes.length);
    for (const [q, i] of requestIndexes.entries())
      queries.set(rowOf(embeddings, i, width), q * width);
  }
  const historyBoosts = requestIndexes.map((i) => boostsOf(workspace.states, i));
  const found = await searchItems(engine, filter, queries, historyBoosts, candidateCount, mode);
  for (const [q, i] of requestIndexes.entries()) {
    const resolved = requests[i]!;
    const cap = capOf(resolved.request);
    hits[i] = found[q]!;
    if (cap === undefined) continue;
    const query = rowOf(queries, q, width);
    hits[i] = await applyCap(engine, resolved, cap, candidateCount, found[q]!, async (wider) => {
      const boosts = [historyBoosts[q]!];
      const [widerHits] = await searchItems(engine, filter, query, boosts, wider, mode);
      return widerHits!;
    });
  }
}

/** The cap of a request: k candidates, at most `maxEach` of one advertiser. */
interface AdvertiserCap {
  readonly k: number;
  readonly maxEach: number;
}

/** @returns undefined if the request has no cap. */
function capOf(request: PipelineRequest): AdvertiserCap | undefined {
  if (request.kind !== 'candidates') return undefined;
  const maxEach = request.filter?.advertisers?.max_each;
  return maxEach === undefined ? undefined : { k: request.k, maxEach };
}

/**
 * The hits under a cap on advertisers. It searches wider until there are k hits or no more items.
 */
async function applyCap(
  engine: Engine,
  { excluded }: ResolvedQuery,
  { k, maxEach }: AdvertiserCap,
  firstCount: number,
  firstHits: Hits,
  searchWider: (candidateCount: number) => Hits | Promise<Hits>,
): Promise<Hits> {
  const items = engine.items.count;
  let candidateCount = firstCount;
  let hits = firstHits;
  for (;;) {
    const { rows, scores } = capAdvertisers(engine.items, hits, maxEach, excluded);
    const seenAll = hits.rows.length < candidateCount || candidateCount === items;
    if (rows.length >= k || seenAll)
      return { plan: hits.plan, planReason: hits.planReason, rows, scores };
    candidateCount = Math.min(items, candidateCount * WIDENING_FACTOR);
    hits = await searchWider(candidateCount);
  }
}

/**
 * Scores the items of a request, in its order. An item that the bundle lacks gets row -1 and score
 * NaN.
 */
function score(
  engine: Engine,
  { items }: ScoreRequest,
  query: Float32Array,
  historyBoosts: HistoryBoosts,
): Hits {
  const rows = Int32Array.from(items, (id) => engine.items.row(id));
  const known = rows.filter((row) => row >= 0);
  const knownScores = scoreItems(engine, query, known);
  let next = 0;
  const scores = Float32Array.from(rows, (row) =>
    row < 0 ? Number.NaN : knownScores[next++]! + boostOf(historyBoosts, engine.items.baseRow(row)),
  );
  return { plan: 'exact', planReason: 'given-items', rows, scores };
}

/** The best k hits that are not excluded. It overwrites the arrays of `hits`. */
function selectBest({ request, excluded }: ResolvedQuery, hits: Hits): Hits {
  if (request.kind !== 'candidates') return hits;
  const { plan, planReason, rows, scores } = hits;
  let kept = 0;
  for (let i = 0; i < rows.length && kept < request.k; i++) {
    if (excluded.has(rows[i]!)) continue;
    rows[kept] = rows[i]!;
    scores[kept++] = scores[i]!;
  }
  return { plan, planReason, rows: rows.subarray(0, kept), scores: scores.subarray(0, kept) };
}
