// The number that stops training, on the same random validation requests at every validation of every run. They are gathered
// shard by shard; their users and histories are what stays.

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
 * How many requests of the validation split are ranked at each validation, and the mean of what decides which weights are best:
 * published tables compare the order of the first ten, which takes more requests to see; a candidate generator is there to
 * find what is ranked later.
 */
const MEASURES = {
  table: { requests: 25_000, of: (ranks: Int32Array) => ndcgAtK(ranks, 10) },
  time: { requests: 1500, of: (ranks: Int32Array) => recallAtK(ranks, 50) },
} as const;

export interface Validation {
  readonly protocol: 'table' | 'time';
  /** Of the queries' users alone. */
  readonly dataset: Dataset;
  /** At least one. */
  readonly queries: readonly EvaluationQuery[];
  /** [N], 1 = ranked. */
  readonly candidates: Uint8Array;
}

/**
 * Gathers random requests of the validation split, up to 25,000 of a table and 1,500 of a cut in time, from each shard in
 * proportion to its users.
 *
 * @param trainingEnds - of the validation split.
 * @throws TandemError ERR_DATASET_INVALID when there are none, or when the protocol does not fit the data.
 */
export async function gatherValidation(
  shards: DatasetShards,
  protocol: 'table' | 'time',
  form: 'all' | 'discovery',
  trainingEnds: TrainingEnds,
): Promise<Validation> {
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
    // What rounding leaves, and what a shard lacks, falls to the next ones.
    const quota = Math.round((MEASURES[protocol].requests * before) / users) - queries.length;
    const sample = new Random(17).shuffle(all).slice(0, quota);
    queries.push(...moved(sample, dataset, gatherer));
  });
  if (queries.length === 0)
    throw new TandemError(
      'ERR_DATASET_INVALID',
      `Expected ${protocol === 'table' ? 'users with at least three events' : 'requests with candidates among their positives before the test period'} to validate on, found none in ${shards.name}. Choose the other protocol, or import requests.`,
    );
  return { protocol, dataset: gatherer.dataset(shards), queries, candidates };
}

/** Queries of a shard as queries of the gathered users. */
function moved(
  queries: readonly EvaluationQuery[],
  from: Dataset,
  gatherer: UserGatherer,
): EvaluationQuery[] {
  const places = new Map<number, { user: number; begin: number }>();
  return queries.map((query) => {
    if (query.user < 0) return query;
    const place = places.get(query.user) ?? gatherer.add(from, query.user);
    places.set(query.user, place);
    return {
      ...query,
      user: place.user,
      historyBegin: place.begin,
      historyEnd: place.begin + query.historyEnd - query.historyBegin,
    };
  });
}

/** Mean over the queries, with real context: NDCG@10 for a table, Recall@50 for a cut in time. */
export async function validationMetric(
  model: TwoTower,
  { protocol, dataset, queries, candidates }: Validation,
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
