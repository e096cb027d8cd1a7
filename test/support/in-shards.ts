// Cuts a dataset in memory into shards like those that the reader of an imported dataset returns.

import type { Dataset } from '../../src/data/dataset.ts';
import { UserGatherer } from '../../src/data/gather-users.ts';
import { oneShard, type DatasetShards } from '../../src/data/shards.ts';

/** @param cuts - the first users of all shards but the first, ascending. */
export function inShards(dataset: Dataset, cuts: readonly number[]): DatasetShards {
  const begins = [0, ...cuts];
  const whole = oneShard(dataset);
  const end = (shard: number): number => begins[shard + 1] ?? dataset.users.count;
  return {
    ...whole,
    userCounts: begins.map((begin, shard) => end(shard) - begin),
    shardEvents: cuts.length === 0 ? undefined : 1000,
    read: (shard, requests) => {
      const begin = begins[shard]!;
      const gatherer = new UserGatherer();
      for (let user = begin; user < end(shard); user++) gatherer.add(dataset, user);
      return Promise.resolve({
        ...gatherer.dataset(whole),
        requests: dataset.requests
          .filter(({ user, time }) => user >= begin && user < end(shard) && inside(time, requests))
          .map((request) => ({ ...request, user: request.user - begin })),
      });
    },
  };
}

function inside(time: number, range: { from: number; until: number } | undefined): boolean {
  return range !== undefined && time >= range.from && time < range.until;
}
