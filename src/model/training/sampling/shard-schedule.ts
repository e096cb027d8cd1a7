// Which shard a step draws from. A pure function of (seed, step), so a resumed run goes where an uninterrupted one went.

import { Random } from '../../../random.ts';
import type { TrainConfig } from '../../train-config.ts';
import type { TrainingStatistics } from '../training-statistics.ts';

/** Steps [firstStep, endStep) in a row that draw from one shard. */
export interface ShardVisit {
  readonly shard: number;
  readonly firstStep: number;
  readonly endStep: number;
}

/**
 * Every round visits all shards in an order of its own, for steps in proportion to what their training users weigh; there
 * are as many rounds as the steps of the run go through all users, at least one.
 *
 * @param statistics - weights are whole numbers, not all 0.
 * @returns visits by step, which cover steps 1 to config.steps; a shard that weighs too little for a step has none.
 */
export function shardVisits(
  { users, weightOfShards }: Pick<TrainingStatistics, 'users' | 'weightOfShards'>,
  { seed, steps, usersPerStep }: Pick<TrainConfig, 'seed' | 'steps' | 'usersPerStep'>,
): ShardVisit[] {
  const all = weightOfShards.reduce((total, weight) => total + weight, 0);
  const rounds = Math.min(steps, Math.max(1, Math.round((steps * usersPerStep) / users)));
  const visits: ShardVisit[] = [];
  for (let round = 0; round < rounds; round++) {
    const begin = 1 + Math.floor((round * steps) / rounds);
    const length = 1 + Math.floor(((round + 1) * steps) / rounds) - begin;
    let before = 0;
    for (const shard of new Random(seed, 3, round).shuffle([...weightOfShards.keys()])) {
      const firstStep = begin + Math.floor((before * length) / all);
      before += weightOfShards[shard]!;
      const endStep = begin + Math.floor((before * length) / all);
      const last = visits.at(-1);
      if (firstStep === endStep) continue;
      // Two rounds that meet at a shard stay there.
      if (last?.shard === shard) visits.splice(-1, 1, { ...last, endStep });
      else visits.push({ shard, firstStep, endStep });
    }
  }
  return visits;
}
