// From query embeddings to hits: one search for the requests that share one, exact scores for given items, the popular for
// those of whom nothing is known; then excluded items fall away and the best k stay.

import type { SearchMode } from '../../retrieval/search-plan.ts';
import type { HistoryBoosts } from '../../features/item-frequency.ts';
import { boostsOf } from '../../store/state-batch.ts';
import { capAdvertisers } from './advertiser-cap.ts';
import type { Engine, ResolvedSubject } from '../engine/engine.ts';
import type { LiveFilter } from '../engine/live-items.ts';
import { boostOf } from './history-boost.ts';
import { searchItems } from './live-search.ts';
import { hasContext, popularHits } from './popular.ts';
import { rowOf } from './row-of.ts';
import { scoreItems } from './score-items.ts';
import type { Workspace } from '../engine/workspace.ts';
import type { Hits } from './hits.ts';
import type { CandidatesRequest, PipelineRequest, ScoreRequest } from '../request/request-types.ts';
import type { ResolvedQuery } from './resolved-query.ts';

/** Retrieval of some rows of a micro-batch that share filter and number of hits. */
interface Group {
  readonly filter: LiveFilter | undefined;
  readonly candidateCount: number;
  readonly rows: number[];
}

/** Hits beyond k are fetched in these steps, so that requests with a few excluded items still share a search. */
const EXCLUSION_STEP = 64;
/** How many times more hits are fetched when a cap on advertisers leaves fewer than k. */
const WIDER = 4;
const NO_HITS: Hits = {
  plan: 'none',
  planReason: 'not-asked',
  rows: new Int32Array(0),
  scores: new Float32Array(0),
};

/**
 * The hits of every request, best first; none for embeddings. Searches run one after the other.
 *
 * @param embeddings - [B, D] queries; @param workspace - with the states that they were made of. Leave both alone until it resolves.
 */
export async function retrieveAll(
  engine: Engine,
  requests: readonly ResolvedQuery[],
  embeddings: Float32Array,
  workspace: Workspace,
  mode: SearchMode,
): Promise<Hits[]> {
  const hits = new Array<Hits | undefined>(requests.length);
  for (const [row, asked] of requests.entries()) {
    const { request } = asked;
    if (request.kind === 'score')
      hits[row] = score(
        engine,
        request,
        rowOf(embeddings, row, engine.width),
        boostsOf(workspace.states, row),
      );
    else if (request.kind === 'candidates' && workspace.states.lengths[row] === 0)
      if (!hasContext(engine, asked)) hits[row] = await popular(engine, asked, request);
  }
  for (const group of groupBySearch(requests, hits, engine.items.count))
    await retrieve(engine, requests, group, embeddings, workspace, hits, mode);
  return requests.map((asked, row) => select(asked, hits[row] ?? NO_HITS));
}

async function popular(
  engine: Engine,
  asked: ResolvedQuery,
  request: CandidatesRequest,
): Promise<Hits> {
  const candidateCount = Math.min(engine.items.count, request.k + asked.excluded.size);
  const hits = popularHits(engine, request, candidateCount);
  const cap = capOf(request);
  if (cap === undefined) return hits;
  return spread(engine, asked, cap, candidateCount, hits, (wider) =>
    popularHits(engine, request, wider),
  );
}

/**
 * Requests without hits that can be searched in one call. Excluded items are fetched and dropped afterwards: the best k + e
 * of the items that pass, less e of them, are the best k.
 */
function groupBySearch(
  requests: readonly ResolvedQuery[],
  found: readonly (Hits | undefined)[],
  items: number,
): Group[] {
  const groups: Group[] = [];
  for (const [row, { request, filter, excluded }] of requests.entries()) {
    if (request.kind !== 'candidates' || found[row] !== undefined) continue;
    const extra =
      excluded.size <= 1 ? 1 : Math.ceil(excluded.size / EXCLUSION_STEP) * EXCLUSION_STEP;
    const candidateCount = Math.min(items, request.k + extra);
    const group = groups.find(
      (other) => other.filter === filter && other.candidateCount === candidateCount,
    );
    if (group === undefined) groups.push({ filter, candidateCount, rows: [row] });
    else group.rows.push(row);
  }
  return groups;
}

async function retrieve(
  engine: Engine,
  requests: readonly ResolvedQuery[],
  { filter, candidateCount, rows }: Group,
  embeddings: Float32Array,
  workspace: Workspace,
  hits: (Hits | undefined)[],
  mode: SearchMode,
): Promise<void> {
  const { width } = engine;
  let queries = embeddings;
  if (rows.length * width !== embeddings.length) {
    queries = workspace.queriesFor(rows.length);
    for (const [i, row] of rows.entries())
      queries.set(embeddings.subarray(row * width, (row + 1) * width), i * width);
  }
  const lists = rows.map((row) => boostsOf(workspace.states, row));
  const found = await searchItems(engine, filter, queries, lists, candidateCount, mode);
  for (const [i, row] of rows.entries()) {
    const asked = requests[row]!;
    const cap = capOf(asked.request);
    hits[row] = found[i]!;
    if (cap === undefined) continue;
    const query = rowOf(queries, i, width);
    hits[row] = await spread(engine, asked, cap, candidateCount, found[i]!, async (wider) => {
      const [hit] = await searchItems(engine, filter, query, [lists[i]!], wider, mode);
      return hit!;
    });
  }
}

/** k candidates, of each advertiser so many at most. */
interface Cap {
  readonly k: number;
  readonly maxEach: number;
}

/** Undefined where a request does not ask for one. */
function capOf(request: PipelineRequest): Cap | undefined {
  if (request.kind !== 'candidates') return undefined;
  const maxEach = request.filter?.advertisers?.max_each;
  return maxEach === undefined ? undefined : { k: request.k, maxEach };
}

/** Hits under the request's cap on advertisers, looked for further down as long as there are fewer than k and more to see. */
async function spread(
  engine: Engine,
  { excluded }: ResolvedQuery,
  { k, maxEach }: Cap,
  firstCount: number,
  firstHits: Hits,
  searchWider: (candidateCount: number) => Hits | Promise<Hits>,
): Promise<Hits> {
  const items = engine.items.count;
  let candidateCount = firstCount;
  let hits = firstHits;
  for (;;) {
    const kept = capAdvertisers(engine.items, hits, maxEach, excluded);
    const seenAll = hits.rows.length < candidateCount || candidateCount === items;
    if (kept.rows.length >= k || seenAll) return { ...hits, ...kept };
    candidateCount = Math.min(items, candidateCount * WIDER);
    hits = await searchWider(candidateCount);
  }
}

/** Scores of the items that a request names, in its order; an item that the bundle lacks has row -1 and score NaN. */
function score(
  engine: Engine,
  { items }: ScoreRequest,
  query: Float32Array,
  list: HistoryBoosts,
): Hits {
  const rows = Int32Array.from(items, (id) => engine.items.row(id));
  const known = rows.filter((row) => row >= 0);
  const knownScores = scoreItems(engine, query, known);
  let next = 0;
  const scores = Float32Array.from(rows, (row) =>
    row < 0 ? Number.NaN : knownScores[next++]! + boostOf(list, engine.items.baseRow(row)),
  );
  return { plan: 'exact', planReason: 'given-items', rows, scores };
}

/** The best k of the hits that are not excluded, in the place of the hits. */
function select({ request, excluded }: ResolvedQuery, hits: Hits): Hits {
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
