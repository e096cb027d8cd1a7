// Computes the metric that stops training, on the same random validation requests in every
// validation of every run. Requests are gathered shard by shard; only their users and histories
// stay in memory.

import type { Dataset } from '../data/dataset.ts';
import { UserGatherer } from '../data/gather-users.ts';
import type { DatasetShards } from '../data/shards.ts';
import { TandemError } from '../errors.ts';
import { ndcgAtK, recallAtK } from '../evaluate/metrics.ts';
import { ModelEvaluation } from '../evaluate/model-scorer.ts';
import {
  addItemsBefore,
  heldOutQueries,
  requestQueries,
  validationWindow,
} from '../evaluate/protocols.ts';
import type { EvaluationQuery } from '../evaluate/query.ts';
import { rankAll } from '../evaluate/ranking.ts';
import { eachShard, type TrainingEnds } from '../model/training/training-statistics.ts';
import type { TwoTower } from '../model/network/two-tower.ts';
import { Random } from '../random.ts';

/**
 * How many requests of the validation split each validation ranks, and which metric decides.
 * Published tables compare the order of the first ten, which needs more requests to measure. A
 * candidate generator has to find the items that are ranked later.
 */
const MEASURES = {
  table: {
    requests: 25_000,
    of: (ranks: Int32Array) => ndcgAtK(ranks, 10),
    needs: 'users with at least three events',
  },
  time: {
    requests: 1500,
    of: (ranks: Int32Array) => recallAtK(ranks, 50),
    needs: 'requests with candidates among their positives before the test period',
  },
} as const;

/** The requests that each validation of a run ranks. */
export interface ValidationSet {
  readonly protocol: 'table' | 'time';
  /** Holds only the users of the queries. */
  readonly dataset: Dataset;
  /** At least one. */
  readonly queries: readonly EvaluationQuery[];
  /** [N], 1 = ranked. */
  readonly candidates: Uint8Array;
}

/**
 * Gathers random requests of the validation split, from each shard in proportion to its users: up
 * to 25,000 for the table protocol and 1,500 for the time protocol.
 *
 * @param trainingEnds - of the validation split.
 * @throws TandemError ERR_DATASET_INVALID when there are none, or when the protocol does not fit
 *   the data.
 */
export async function gatherValidation(
  shards: DatasetShards,
  protocol: 'table' | 'time',
  form: 'all' | 'discovery',
  trainingEnds: TrainingEnds,
): Promise<ValidationSet> {
  const candidates = new Uint8Array(shards.items.count);
  if (protocol === 'table') candidates.fill(1);
  else
    await eachShard(shards, 'candidates', async (shard) => {
      const dataset = await shards.read(shard);
      addItemsBefore(candidates, dataset, trainingEnds(dataset));
    });
  const window = protocol === 'time' ? validationWindow(shards) : undefined;
  const gatherer = new UserGatherer();
  const queries: EvaluationQuery[] = [];
  const users = shards.userCounts.reduce((total, count) => total + count, 0);
  let before = 0;
  await eachShard(shards, 'validation requests', async (shard) => {
    const dataset = await shards.read(shard, window);
    const all =
      window === undefined
        ? heldOutQueries(dataset, 'validation')
        : requestQueries(dataset, { form, ...window }, candidates).queries;
    before += shards.userCounts[shard]!;
    // The next shards compensate for rounding, and for shards with too few requests.
    const quota = Math.round((MEASURES[protocol].requests * before) / users) - queries.length;
    const sample = new Random(17).shuffle(all).slice(0, quota);
    queries.push(...moved(sample, dataset, gatherer));
  });
  if (queries.length === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected ${MEASURES[protocol].needs} to validate on, found none in ${shards.name}. ` +
        'Choose the other protocol, or import requests.',
    );
  return { protocol, dataset: gatherer.dataset(shards), queries, candidates };
}

/** Rewrites the rows of users and events in a shard's queries as rows of the gathered dataset. */
function moved(
  queries: readonly EvaluationQuery[],
  from: Dataset,
  gatherer: UserGatherer,
): EvaluationQuery[] {
  const gathered = new Map<number, { user: number; begin: number }>();
  return queries.map((query) => {
    if (query.user < 0) return query;
    const { user, begin } = gathered.get(query.user) ?? gatherer.add(from, query.user);
    gathered.set(query.user, { user, begin });
    return {
      ...query,
      user,
      historyBegin: begin,
      historyEnd: begin + query.historyEnd - query.historyBegin,
    };
  });
}

/**
 * The mean over the queries, with real context: NDCG@10 for the table protocol, Recall@50 for the
 * time protocol.
 */
export async function validationMetric(
  model: TwoTower,
  { protocol, dataset, queries, candidates }: ValidationSet,
): Promise<number> {
  const scorer = new ModelEvaluation(model, dataset).scorer({
    name: 'validation',
    context: 'real',
  });
  let total = 0;
  await rankAll({ queries, candidates }, scorer, 1, (_query, { ranks }) => {
    total += MEASURES[protocol].of(ranks);
  });
  return total / queries.length;
}
